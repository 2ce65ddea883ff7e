"""The phase ladder as callables: the same weights and the same batch, each phase priced by itself.

Each callable returns everything that it is timed for. TensorFlow prunes what nobody consumes: a
"forward-backward" that returned only its loss would run no backward pass at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from distbench.config import SELF_ALLREDUCE
from distbench.worker.network import Network
from distbench.worker.replica import Replica

KEEP_PROB_INFERENCE = 1.0
KEEP_PROB_TRAINING = 0.5
# Small enough for Σ fc8² / 2 to fall slowly at any batch size; no time depends on its value.
LEARNING_RATE = 1e-6
MOMENTUM = 0.9


@dataclass(frozen=True)
class Phase:
    """One rung of the ladder.

    `run` is the callable that is timed. Preflight proves what the very same compiled function computes
    by what `run` leaves open: `with_keep_prob` takes the dropout's `keep_prob`, and `inputs` are the
    variables that `allreduce` reduces.
    """

    name: str
    run: Callable[[], Any]
    images_per_step: int
    allreduces_per_step: int
    changes_parameters: bool = False
    with_keep_prob: Callable[[Any], Any] | None = None
    inputs: Sequence[Any] = ()


@dataclass(frozen=True)
class Reduction:
    """Among whom the gradients are averaged.

    `process_set` is Horovod's. With one rank only the control SELF_ALLREDUCE uses it.
    """

    ranks: int
    process_set: Any = None


class PhaseLadder:
    """Builds the phases of one replica at one batch size, for each group that it is in.

    `hvd` is `horovod.tensorflow`. Phases without communication are traced once for all groups. With
    one rank Horovod runs no allreduce, neither in its tape nor here, but for the control
    SELF_ALLREDUCE: the expected count is then 0.
    """

    def __init__(self, network: Network, hvd: Any, replica: Replica) -> None:
        import tensorflow as tf

        self._network = network
        self._hvd = hvd
        self._replica = replica
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
        import tensorflow as tf

        def forward() -> Any:
            return self._network.outputs(KEEP_PROB_INFERENCE).predictions

        return Phase(
            name="forward",
            run=tf.function(forward).get_concrete_function(),
            images_per_step=self._batch_size,
            allreduces_per_step=0,
        )

    @cached_property
    def _forward_backward(self) -> Phase:
        return self._gradient_phase("forward_backward", self._gradient_function, allreduces=0)

    def _allreduce(self, reduction: Reduction) -> Phase:
        import tensorflow as tf

        # The gradients of one real step: what the allreduce of a training job carries.
        inputs = self._replica.gradients
        gradients = self._gradient_function(tf.constant(KEEP_PROB_TRAINING, tf.float32))
        for variable, gradient in zip(inputs, gradients):
            variable.assign(gradient)

        def allreduce() -> Any:
            if reduction.ranks == 1:
                return [tf.identity(gradient) for gradient in inputs]
            return [
                self._hvd.allreduce(
                    gradient.read_value(),
                    op=self._hvd.Average,
                    name=f"allreduce_{index}",
                    process_set=reduction.process_set,
                )
                for index, gradient in enumerate(inputs)
            ]

        return Phase(
            name="allreduce",
            run=tf.function(allreduce).get_concrete_function(),
            images_per_step=0,
            allreduces_per_step=self._allreduces(reduction),
            inputs=inputs,
        )

    def _forward_backward_allreduce(self, reduction: Reduction) -> Phase:
        return self._gradient_phase(
            "forward_backward_allreduce",
            self._compiled(lambda keep_prob: self._reduced_gradients(keep_prob, reduction)),
            allreduces=self._allreduces(reduction),
        )

    def _self_allreduce(self, reduction: Reduction) -> Phase:
        """Called directly, since Horovod's tape leaves the allreduce of one rank out."""

        def self_allreduce(keep_prob: Any) -> Any:
            return [
                self._hvd.allreduce(
                    gradient,
                    op=self._hvd.Average,
                    name=f"self_allreduce_{index}",
                    process_set=reduction.process_set,
                )
                for index, gradient in enumerate(self._local_gradients(keep_prob))
            ]

        return self._gradient_phase(
            SELF_ALLREDUCE,
            self._compiled(self_allreduce),
            allreduces=self._network.vgg.tensor_count,
        )

    def _train_step(self, reduction: Reduction) -> Phase:
        import tensorflow as tf

        parameters, momenta = self._replica.parameters, self._replica.momenta

        def train_step(keep_prob: Any) -> Any:
            gradients = self._reduced_gradients(keep_prob, reduction)
            for parameter, momentum, gradient in zip(parameters, momenta, gradients):
                tf.raw_ops.ResourceApplyMomentum(
                    var=parameter.handle,
                    accum=momentum.handle,
                    lr=LEARNING_RATE,
                    grad=gradient,
                    momentum=MOMENTUM,
                )
            return gradients

        return self._gradient_phase(
            "train_step",
            self._compiled(train_step),
            allreduces=self._allreduces(reduction),
            changes_parameters=True,
        )

    def _gradient_phase(
        self,
        name: str,
        function: Callable[[Any], Any],
        allreduces: int,
        changes_parameters: bool = False,
    ) -> Phase:
        import tensorflow as tf

        keep_prob = tf.constant(KEEP_PROB_TRAINING, tf.float32)
        return Phase(
            name=name,
            run=lambda: function(keep_prob),
            images_per_step=self._batch_size,
            allreduces_per_step=allreduces,
            changes_parameters=changes_parameters,
            with_keep_prob=lambda value: function(tf.constant(value, tf.float32)),
        )

    def _local_gradients(self, keep_prob: Any) -> Any:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = self._network.loss(keep_prob)
        return tape.gradient(loss, self._network.parameters)

    def _reduced_gradients(self, keep_prob: Any, reduction: Reduction) -> Any:
        """As a data-parallel training job computes them; one rank's tape is TensorFlow's own."""
        import tensorflow as tf

        if reduction.ranks == 1:
            return self._local_gradients(keep_prob)
        with tf.GradientTape() as tape:
            loss = self._network.loss(keep_prob)
        distributed = self._hvd.DistributedGradientTape(tape, process_set=reduction.process_set)
        return distributed.gradient(loss, self._network.parameters)

    @cached_property
    def _gradient_function(self) -> Any:
        """The compiled `forward_backward`, traced once: it also makes what `allreduce` carries."""
        return self._compiled(self._local_gradients)

    def _compiled(self, function: Callable[[Any], Any]) -> Any:
        """The concrete function of keep_prob: it can never retrace in the timed part."""
        import tensorflow as tf

        return tf.function(function).get_concrete_function(self._keep_prob_spec)
