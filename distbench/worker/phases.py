"""The phase ladder as callables: the same weights and the same batch, each phase priced by itself.

Each callable returns everything that it is timed for. TensorFlow prunes what nobody consumes: a
"forward-backward" that returned only its loss would run no backward pass at all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from distbench.config import SELF_ALLREDUCE
from distbench.worker.network import Network
from distbench.worker.reducing import BY_DEFAULT, Reducer, Reducing, Reduction
from distbench.worker.replica import Replica

KEEP_PROB_INFERENCE = 1.0
KEEP_PROB_TRAINING = 0.5
# Small enough for Σ fc8² / 2 to fall slowly at any batch size; no time depends on its value.
LEARNING_RATE = 1e-6
MOMENTUM = 0.9


@dataclass(frozen=True)
class Phase:
    """One rung of the ladder.

    `run` is the callable that is timed; `prepare` comes before a block of it, outside of the timed span:
    momenta are zero when a training starts, and `allreduce` carries the gradients of one real step, as
    that of a training job does. Preflight proves what the very same compiled function computes by what
    `run` leaves open: `with_keep_prob` takes the dropout's `keep_prob`, and `fill_inputs` puts other
    values in the place of what `allreduce` carries, until the next `prepare`. `function` is the compiled
    function itself, whose graph tells which settings are in use. Allreduces inside of XLA's code cannot
    be counted (`is_countable`).
    """

    name: str
    run: Callable[[], Any]
    images_per_step: int
    allreduces_per_step: int
    changes_parameters: bool = False
    with_keep_prob: Callable[[Any], Any] | None = None
    prepare: Callable[[], None] = lambda: None
    fill_inputs: Callable[[Iterable[Any]], None] | None = None
    function: Any = None
    is_countable: bool = True


class PhaseLadder:
    """Builds the phases of one replica at one batch size, for each group that it is in.

    `hvd` is `horovod.tensorflow`. Phases without communication are traced once for all groups. With
    one rank Horovod runs no allreduce, neither in its tape nor here, but for the control
    SELF_ALLREDUCE: the expected count is then 0.

    `xla` is 'off', 'compute' (forward and backward are compiled as one, and the gradients are reduced
    when all are there) or 'all'. A network that is fed gets its images anew in every call.
    """

    def __init__(
        self,
        network: Network,
        hvd: Any,
        replica: Replica,
        reducing: Reducing = BY_DEFAULT,
        xla: str = "off",
    ) -> None:
        import tensorflow as tf

        self._network = network
        self._reducer = Reducer(hvd, reducing)
        self._replica = replica
        self._xla = xla
        self._batch_size = int(network.images.shape[0])
        self._keep_prob_spec = tf.TensorSpec([], tf.float32)
        self._built: dict[tuple[str, Reduction], Phase] = {}

    def build(self, names: Sequence[str], reduction: Reduction) -> dict[str, Phase]:
        """The phases `names` in that order, for ranks that reduce together as `reduction` says.

        Each is traced once, however many groups ask for it.
        """
        builders: dict[str, Callable[[Reduction], Phase]] = {
            "forward": lambda _: self._forward,
            "forward_backward": lambda _: self._forward_backward,
            "allreduce": self._allreduce,
            "forward_backward_allreduce": self._forward_backward_allreduce,
            "train_step": self._train_step,
            SELF_ALLREDUCE: self._self_allreduce,
        }
        for name in names:
            if (name, reduction) not in self._built:
                self._built[name, reduction] = builders[name](reduction)
        return {name: self._built[name, reduction] for name in names}

    def _allreduces(self, reduction: Reduction) -> int:
        return self._network.vgg.tensor_count if reduction.ranks > 1 else 0

    @cached_property
    def _forward(self) -> Phase:

        def forward(*fed: Any) -> Any:
            return self._network.outputs(KEEP_PROB_INFERENCE, *fed).predictions

        function = _traced(forward, self._jit(False), *self._fed_specs())
        return Phase(
            name="forward",
            run=self._feeding(function),
            images_per_step=self._batch_size,
            allreduces_per_step=0,
            function=function,
        )

    @cached_property
    def _forward_backward(self) -> Phase:
        local_function = self._compiled(self._local_gradients, False)
        return self._gradient_phase("forward_backward", local_function, allreduces=0)

    def _allreduce(self, reduction: Reduction) -> Phase:
        import tensorflow as tf

        replica, scale = self._replica, self._reducer.scale(reduction)
        slots = replica.slots  # made here, outside of the traced function

        def prepare() -> None:
            carried = ("gradients", self._batch_size, scale)
            if replica.slots_hold != carried:
                gradients = self._forward_backward.run()
                scaled = (one if scale == 1.0 else one * scale for one in gradients)
                replica.fill_slots(scaled, carried)

        def allreduce() -> Any:
            if reduction.ranks == 1:
                return [tf.identity(gradient) for gradient in slots]
            carried = [gradient.read_value() for gradient in slots]
            return self._reducer.reduced(carried, "allreduce", reduction)

        function = _traced(allreduce, self._jit(True))
        return Phase(
            name="allreduce",
            run=function,
            images_per_step=0,
            allreduces_per_step=self._allreduces(reduction),
            prepare=prepare,
            fill_inputs=replica.fill_slots,
            function=function,
            is_countable=self._is_countable(reduction),
        )

    def _forward_backward_allreduce(self, reduction: Reduction) -> Phase:
        return self._gradient_phase(
            "forward_backward_allreduce",
            self._compiled(
                lambda keep_prob, *fed: self._reduced_gradients(reduction, keep_prob, *fed), True
            ),
            allreduces=self._allreduces(reduction),
            is_countable=self._is_countable(reduction),
        )

    def _self_allreduce(self, reduction: Reduction) -> Phase:
        """Called directly, since Horovod's tape leaves the allreduce of one rank out."""

        def self_allreduce(keep_prob: Any, *fed: Any) -> Any:
            gradients = self._gradients_in_step(1.0, keep_prob, *fed)
            return self._reducer.reduced(gradients, "self_allreduce", reduction)

        return self._gradient_phase(
            SELF_ALLREDUCE,
            self._compiled(self_allreduce, True),
            allreduces=self._network.vgg.tensor_count,
            is_countable=self._xla != "all",
        )

    def _train_step(self, reduction: Reduction) -> Phase:
        import tensorflow as tf

        parameters, momenta = self._replica.parameters, self._replica.slots

        def train_step(keep_prob: Any, *fed: Any) -> Any:
            gradients = self._reduced_gradients(reduction, keep_prob, *fed)
            for index, (parameter, momentum) in enumerate(zip(parameters, momenta)):
                # The backward pass reads a kernel until the layer before has its gradients. TensorFlow
                # would copy a weight that is updated earlier: 411 MB of VGG's largest.
                with tf.control_dependencies(_gradients_before(gradients, index)):
                    tf.raw_ops.ResourceApplyMomentum(
                        var=parameter.handle,
                        accum=momentum.handle,
                        lr=LEARNING_RATE,
                        grad=gradients[index],
                        momentum=MOMENTUM,
                    )
            return gradients

        return self._gradient_phase(
            "train_step",
            self._compiled(train_step, True),
            allreduces=self._allreduces(reduction),
            changes_parameters=True,
            is_countable=self._is_countable(reduction),
            prepare=self._replica.clear_slots,
        )

    def _gradient_phase(
        self,
        name: str,
        function: Any,
        allreduces: int,
        changes_parameters: bool = False,
        is_countable: bool = True,
        prepare: Callable[[], None] = lambda: None,
    ) -> Phase:
        import tensorflow as tf

        keep_prob = tf.constant(KEEP_PROB_TRAINING, tf.float32)
        call = self._feeding(function)
        return Phase(
            name=name,
            run=lambda: call(keep_prob),
            images_per_step=self._batch_size,
            allreduces_per_step=allreduces,
            changes_parameters=changes_parameters,
            with_keep_prob=lambda value: call(tf.constant(value, tf.float32)),
            prepare=prepare,
            function=function,
            is_countable=is_countable,
        )

    def _local_gradients(self, keep_prob: Any, *fed: Any, scale: float = 1.0) -> Any:
        """`fed` are the images, where each step is fed; those of `scale` times the loss."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = self._scaled_loss(scale, keep_prob, *fed)
        return tape.gradient(loss, self._network.parameters)

    def _scaled_loss(self, scale: float, keep_prob: Any, *fed: Any) -> Any:
        loss = self._network.loss(keep_prob, *fed)
        return loss if scale == 1.0 else loss * scale

    def _gradients_in_step(self, scale: float, keep_prob: Any, *fed: Any) -> Any:
        """This rank's gradients inside of a larger function, compiled by themselves where asked for."""
        import tensorflow as tf

        gradients = functools.partial(self._local_gradients, scale=scale)
        if self._xla == "compute":
            return tf.function(gradients, jit_compile=True, autograph=False)(keep_prob, *fed)
        return gradients(keep_prob, *fed)

    def _reduced_gradients(self, reduction: Reduction, keep_prob: Any, *fed: Any) -> Any:
        """As a data-parallel training job computes them; one rank's tape is TensorFlow's own."""
        import tensorflow as tf

        scale = self._reducer.scale(reduction)
        if reduction.ranks == 1:
            return self._gradients_in_step(scale, keep_prob, *fed)
        if self._xla != "off":
            gradients = self._gradients_in_step(scale, keep_prob, *fed)
            return self._reducer.reduced(gradients, "gradient", reduction)
        with tf.GradientTape() as tape:
            loss = self._scaled_loss(scale, keep_prob, *fed)
        return self._reducer.tape(tape, reduction).gradient(loss, self._network.parameters)

    def _compiled(self, function: Callable[..., Any], reduces: bool) -> Any:
        """The concrete function of keep_prob."""
        return _traced(function, self._jit(reduces), self._keep_prob_spec, *self._fed_specs())

    def _jit(self, reduces: bool) -> bool | None:
        """Whether XLA compiles the whole of a function; one that reduces only where all is compiled."""
        return self._xla == "all" or (self._xla == "compute" and not reduces) or None

    def _is_countable(self, reduction: Reduction) -> bool:
        return self._xla != "all" or reduction.ranks == 1

    def _fed_specs(self) -> list[Any]:
        import tensorflow as tf

        images = self._network.images
        return [tf.TensorSpec(images.shape, tf.float32)] if self._network.computing.is_fed else []

    def _feeding(self, function: Any) -> Any:
        """The function itself; where each step is fed, with the images handed over in each call.

        A new tensor each time, as an input pipeline makes them: TensorFlow keeps the copy of one that
        it has seen on the device.
        """
        import tensorflow as tf

        if not self._network.computing.is_fed:
            return function
        images = self._network.images
        return lambda *given: function(*given, tf.constant(images))


def _gradients_before(gradients: Sequence[Any], index: int) -> list[Any]:
    """Of the layer before that of parameter `index`; each layer has a kernel and a bias."""
    first = index - index % 2
    return list(gradients[max(0, first - 2) : first])


def _traced(function: Callable[..., Any], jit_compile: bool | None, *specs: Any) -> Any:
    """The concrete function: it can never retrace in the timed part.

    Without AutoGraph, which would rewrite Horovod's Python too and takes four fifths of the tracing:
    no loop or branch here depends on a tensor.
    """
    import tensorflow as tf

    compiled = tf.function(function, jit_compile=jit_compile, autograph=False)
    return compiled.get_concrete_function(*specs)
