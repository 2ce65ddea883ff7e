"""The VGG graph in plain TensorFlow ops, built from the layers of `vgg.py`.

Layout is NHWC; weights, activations and gradients are float32 (a GPU may multiply in TF32 where
TensorFlow allows it, which the manifest records). No Keras, so that nothing stands between the table
of the paper and the ops that are timed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from distbench import vgg as vgg_table

if TYPE_CHECKING:
    import tensorflow as tf

CONVOLUTION_BIAS = 0.0
FULLY_CONNECTED_BIAS = 0.1  # avoids dead neurons
IMAGE_STANDARD_DEVIATION = 0.1


class Outputs(NamedTuple):
    """What the network computes for one batch of `n` images."""

    predictions: tf.Tensor  # int64 [n], the most probable class
    softmax: tf.Tensor  # float32 [n, classes]
    fc8: tf.Tensor  # float32 [n, classes], the logits (after a ReLU where the head is 'relu')


class Network:
    """One replica of a VGG on this rank's device.

    `parameters` holds kernel and bias of every weight layer in order, `images` one batch of float32
    [batch_size, image_size, image_size, 3]; both stay on the device. Networks of another batch size
    share the `parameters` that they are given.
    """

    def __init__(
        self,
        vgg: vgg_table.Vgg,
        batch_size: int,
        seed: int,
        rank: int,
        parameters: Sequence[tf.Variable] | None = None,
    ) -> None:
        self.vgg = vgg
        self.parameters = _initial_parameters(vgg, seed) if parameters is None else parameters
        self.images = _image_batch(vgg.image_size, batch_size, seed, rank)

    def outputs(self, keep_prob: tf.Tensor | float) -> Outputs:
        """The forward pass; `keep_prob` is the share of fc6 and fc7 that dropout keeps.

        A scalar float32 tensor leaves it open; the number 1.0 builds a graph without dropout.
        """
        import tensorflow as tf

        activations: Any = self.images
        parameters = iter(self.parameters)
        for layer in self.vgg.layers:
            activations = _apply(layer, activations, parameters, keep_prob)
        softmax = tf.nn.softmax(activations)
        return Outputs(tf.argmax(softmax, axis=1), softmax, activations)

    def loss(self, keep_prob: tf.Tensor | float) -> tf.Tensor:
        """l2_loss(fc8) = Σ fc8² / 2, a scalar."""
        import tensorflow as tf

        return tf.nn.l2_loss(self.outputs(keep_prob).fc8)


def _apply(layer: vgg_table.Layer, activations: Any, parameters: Any, keep_prob: Any) -> Any:
    import tensorflow as tf

    if isinstance(layer, vgg_table.Convolution):
        kernel, bias = next(parameters), next(parameters)
        convolved = tf.nn.conv2d(activations, kernel, strides=1, padding="SAME", name=layer.name)
        return tf.nn.relu(tf.nn.bias_add(convolved, bias))
    if isinstance(layer, vgg_table.LocalResponseNormalisation):
        return _normalise(layer, activations)
    if isinstance(layer, vgg_table.MaxPool):
        return tf.nn.max_pool2d(activations, ksize=2, strides=2, padding="SAME", name=layer.name)
    return _fully_connected(layer, activations, next(parameters), next(parameters), keep_prob)


def _normalise(layer: vgg_table.LocalResponseNormalisation, activations: Any) -> Any:
    """X / (k + α Σ x²)^β over `window` neighbouring channels.

    The mapping to TensorFlow: depth_radius = (n − 1) / 2, bias = k, alpha = α and beta = β. Neither
    the paper nor TensorFlow divides α by n (Caffe does), so that α is handed over unchanged.
    """
    import tensorflow as tf

    return tf.nn.local_response_normalization(
        activations,
        depth_radius=(layer.window - 1) // 2,
        bias=layer.k,
        alpha=layer.alpha,
        beta=layer.beta,
        name=layer.name,
    )


def _fully_connected(
    layer: vgg_table.FullyConnected, activations: Any, kernel: Any, bias: Any, keep_prob: Any
) -> Any:
    import tensorflow as tf

    flat = tf.reshape(activations, [-1, layer.inputs])
    activations = tf.nn.bias_add(tf.matmul(flat, kernel, name=layer.name), bias)
    if layer.relu:
        activations = tf.nn.relu(activations)
    if layer.dropout:
        activations = tf.nn.dropout(activations, rate=1.0 - keep_prob)
    return activations


def _initial_parameters(vgg: vgg_table.Vgg, seed: int) -> list[tf.Variable]:
    """Glorot uniform kernels and constant biases.

    Drawn by numpy, which fills VGG-D in a tenth of the time of TensorFlow's own generator on a CPU.
    """
    import numpy
    import tensorflow as tf

    parameters = []
    generator = numpy.random.default_rng(seed)
    for layer in vgg.weight_layers:
        limit = _glorot_limit(layer.kernel_shape)
        kernel = generator.random(layer.kernel_shape, dtype=numpy.float32)
        kernel *= 2 * limit
        kernel -= limit
        is_convolution = isinstance(layer, vgg_table.Convolution)
        bias_value = CONVOLUTION_BIAS if is_convolution else FULLY_CONNECTED_BIAS
        parameters.append(tf.Variable(kernel, name=f"{layer.name}_kernel"))
        bias = tf.fill([layer.outputs], bias_value)
        parameters.append(tf.Variable(bias, name=f"{layer.name}_bias"))
    return parameters


def _glorot_limit(kernel_shape: Sequence[int]) -> float:
    """√(6 / (fan_in + fan_out)), Glorot & Bengio 2010; a convolution's fans count its window."""
    *window, inputs, outputs = kernel_shape
    return math.sqrt(6.0 / (math.prod(window) * (inputs + outputs)))


def _image_batch(image_size: int, batch_size: int, seed: int, rank: int) -> tf.Variable:
    """Normal noise of standard deviation 0.1, another batch on every rank.

    Not zeros or ones: constant data draws less power, so that it runs faster than real images do.
    """
    import numpy
    import tensorflow as tf

    shape = [batch_size, image_size, image_size, vgg_table.INPUT_CHANNELS]
    generator = numpy.random.default_rng([seed, 1 + rank])
    noise = generator.standard_normal(shape, dtype=numpy.float32)
    noise *= IMAGE_STANDARD_DEVIATION
    return tf.Variable(noise, trainable=False, name="images")
