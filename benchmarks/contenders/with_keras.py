"""Keras's VGG under Horovod, as a user's script of today would train it.

VGG16 and VGG19 are keras.applications' own (configurations D and E; they have no dropout). The other
configurations are built from the same table with keras.layers, dropout included.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from contenders.shortest import shortest_s
from contenders.task import (
    COMPUTING,
    DROPOUT_RATE,
    IMAGE_STANDARD_DEVIATION,
    LEARNING_RATE,
    MOMENTUM,
    SEED,
    Contender,
    Task,
)
from contenders.tensorflow_gradients import absolute_sum, gradients_of, set_threads
from distbench import vgg
from distbench.worker.rank import prepare_environment

APPLICATIONS = {"D": "VGG16", "E": "VGG19"}


def build(task: Task) -> Contender:
    """The phases of one model, with XLA or without, whichever is faster."""
    prepare_environment(show_log=False, is_study=False)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    set_threads(task.threads)
    hvd = _horovod(task)
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)  # the same weights on every rank
    model, origin = _model(task)
    rank = hvd.rank() if hvd else 0
    shape = (task.batch_size, *model.input_shape[1:])
    images = tf.Variable(tf.random.stateless_normal(shape, (SEED, 1 + rank)), trainable=False)
    images.assign(images * IMAGE_STANDARD_DEVIATION)
    steps = _Steps(model, images, hvd)
    phases, xla = _compiled(steps.by_name(task), hvd)
    return Contender(
        rank=rank,
        phases=phases,
        synchronise=tf.test.experimental.sync_devices,
        gradients=lambda: gradients_of(phases["forward_backward"]()),
        reduced_sum=lambda: absolute_sum(phases["forward_backward_allreduce"]()),
        close=hvd.shutdown if hvd else lambda: None,
        facts={
            "model": origin,
            "XLA": xla,
            "threads": task.threads,
            "keras": keras.__version__,
        },
    )


def _horovod(task: Task) -> Any:
    """One rank trains without Horovod."""
    if task.ranks == 1:
        return None
    import horovod.tensorflow as hvd

    hvd.init()
    return hvd


def _model(task: Task) -> tuple[Any, str]:
    import keras

    if task.config in APPLICATIONS and not task.smoke:
        name = APPLICATIONS[task.config]
        model = getattr(keras.applications, name)(weights=None, classifier_activation=None)
        return model, f"keras.applications.{name}, which has no dropout"
    network = task.network()
    side = network.image_size
    layers = [keras.layers.Input((side, side, vgg.INPUT_CHANNELS))]
    for layer in network.layers:
        layers += _layers(layer)
    return keras.Sequential(layers), "keras.layers by the same table, with dropout"


def _layers(layer: vgg.Layer) -> list[Any]:
    from keras import layers

    if isinstance(layer, vgg.Convolution):
        side = layer.kernel_side
        return [layers.Conv2D(layer.outputs, side, padding="same", activation="relu")]
    if isinstance(layer, vgg.MaxPool):
        return [layers.MaxPooling2D(2, strides=2)]
    if isinstance(layer, vgg.FullyConnected):
        flatten = [layers.Flatten()] if layer.name == "fc6" else []
        dropout = [layers.Dropout(DROPOUT_RATE)] if layer.dropout else []
        dense = layers.Dense(layer.outputs, activation="relu" if layer.relu else None)
        return [*flatten, dense, *dropout]
    raise ValueError(f"Keras has no layer for {layer.name}")


class _Steps:
    """The phases as Python functions of one model."""

    def __init__(self, model: Any, images: Any, hvd: Any) -> None:
        import keras

        self._model, self._images, self._hvd = model, images, hvd
        self._variables = [variable.value for variable in model.trainable_variables]
        self._optimizer = keras.optimizers.SGD(LEARNING_RATE, momentum=MOMENTUM)
        self._optimizer.build(model.trainable_variables)

    def by_name(self, task: Task) -> dict[str, Callable[[], Any]]:
        """Those that the task asks for."""
        every = {
            "forward": self._forward,
            "forward_backward": lambda: self._gradients(None),
            "forward_backward_allreduce": lambda: self._gradients(self._hvd),
            "train_step": self._train_step,
        }
        return {name: every[name] for name in task.training_phases}

    def _forward(self) -> Any:
        import tensorflow as tf

        return tf.argmax(tf.nn.softmax(self._model(self._images, training=False)), axis=1)

    def _gradients(self, hvd: Any) -> Any:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = tf.nn.l2_loss(self._model(self._images, training=True))
        if hvd is not None:
            tape = hvd.DistributedGradientTape(tape)
        return tape.gradient(loss, self._variables)

    def _train_step(self) -> Any:
        gradients = self._gradients(self._hvd)
        self._optimizer.apply_gradients(zip(gradients, self._model.trainable_variables))
        return gradients


def _compiled(
    functions: dict[str, Callable[[], Any]], hvd: Any
) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """The phases, the computing ones with XLA where that is faster, and in words which and why.

    Horovod's allreduces cannot be compiled by it; a lone rank's train_step follows forward_backward.
    """
    import tensorflow as tf

    phases, chosen = {}, {}
    for name in COMPUTING:
        phases[name], chosen[name] = _faster(functions[name], hvd)
    with_xla = chosen["forward_backward"].startswith("yes") and hvd is None
    for name in functions.keys() - phases.keys():
        phases[name] = tf.function(functions[name], jit_compile=with_xla)
    return {name: phases[name] for name in functions}, chosen


def _faster(function: Callable[[], Any], hvd: Any) -> tuple[Callable[[], Any], str]:
    """The function with XLA or without; all ranks choose alike. Also why."""
    import tensorflow as tf

    plain, with_xla = tf.function(function), tf.function(function, jit_compile=True)
    try:
        sync = tf.test.experimental.sync_devices
        seconds = [shortest_s(plain, sync), shortest_s(with_xla, sync)]
    except tf.errors.OpError as error:
        return plain, f"no: {type(error).__name__}"
    if hvd is not None:
        seconds = [float(one) for one in hvd.allreduce(tf.constant(seconds), op=hvd.Average)]
    is_faster = seconds[1] < seconds[0]
    why = f"{'yes' if is_faster else 'no'}: {seconds[1]:.3g} s with, {seconds[0]:.3g} s without"
    return (with_xla if is_faster else plain), why
