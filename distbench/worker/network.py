"""The VGG graph in plain TensorFlow ops, built from the layers of `vgg.py`.

Weights, gradients and the head are float32 (a GPU may multiply in TF32 where TensorFlow allows it,
which the manifest records); precision and layout of the rest are those of `computing.py`. No Keras, so
that nothing stands between the table of the paper and the ops that are timed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from distbench import vgg as vgg_table
from distbench.winograd_layers import is_suited
from distbench.worker import winograd
from distbench.worker.computing import BY_DEFAULT, Computing

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
    [batch_size, image_size, image_size, 3], or [batch_size, 3, image_size, image_size] in the layout
    NCHW. Both stay on the device; where each step is fed, `images` is an array of the host. Networks of
    another batch size share the `parameters` that they are given.
    """

    def __init__(
        self,
        vgg: vgg_table.Vgg,
        batch_size: int,
        seed: int,
        rank: int,
        parameters: Sequence[tf.Variable] | None = None,
        computing: Computing = BY_DEFAULT,
    ) -> None:
        self.vgg = vgg
        self.computing = computing
        self.parameters = _initial_parameters(vgg, seed) if parameters is None else parameters
        self.images = _image_batch(vgg.image_size, batch_size, seed, rank, computing)

    def in_float32(self) -> Network:
        """The same weights, images and layout, computed in float32."""
        return self._computing(precision="float32", loss_scale=1.0)

    def by_library(self) -> Network:
        """The same, with every convolution as TensorFlow's library does it."""
        return self._computing(convolution="library")

    def _computing(self, **changes: Any) -> Network:
        other = copy.copy(self)
        other.computing = self.computing._replace(**changes)
        return other

    def outputs(self, keep_prob: tf.Tensor | float, images: Any = None) -> Outputs:
        """The forward pass; `keep_prob` is the share of fc6 and fc7 that dropout keeps.

        A scalar float32 tensor leaves it open; the number 1.0 builds a graph without dropout. `images`
        are those of this step where each step is fed, else the network's own.
        """
        import tensorflow as tf

        *trunk, head = self.vgg.layers
        activations: Any = self.computing.entered(self.images if images is None else images)
        parameters = iter(self.parameters)
        for layer in trunk:
            activations = _apply(layer, activations, parameters, keep_prob, self.computing)
        activations = self.computing.left(activations)
        activations = _apply(head, activations, parameters, keep_prob, BY_DEFAULT)
        softmax = tf.nn.softmax(activations)
        return Outputs(tf.argmax(softmax, axis=1), softmax, activations)

    def loss(self, keep_prob: tf.Tensor | float, images: Any = None) -> tf.Tensor:
        """l2_loss(fc8) = Σ fc8² / 2, a scalar."""
        import tensorflow as tf

        return tf.nn.l2_loss(self.outputs(keep_prob, images).fc8)


def _apply(
    layer: vgg_table.Layer, activations: Any, parameters: Any, keep_prob: Any, how: Computing
) -> Any:
    import tensorflow as tf

    if isinstance(layer, vgg_table.LocalResponseNormalisation):
        return _normalise_in_float32(layer, activations, how)
    if isinstance(layer, vgg_table.MaxPool):
        form: Any = {"padding": "SAME", "data_format": how.layout, "name": layer.name}
        return tf.nn.max_pool2d(activations, ksize=2, strides=2, **form)
    kernel, bias = how.weight(next(parameters)), how.weight(next(parameters))
    if isinstance(layer, vgg_table.Convolution):
        convolved = _convolve(layer, activations, kernel, how)
        return tf.nn.relu(tf.nn.bias_add(convolved, bias, data_format=how.layout))
    if len(activations.shape) == 4:  # fc6 then means the same in every layout
        activations = how.channels_last(activations)
    return _fully_connected(layer, activations, kernel, bias, keep_prob, how)


def _convolve(layer: vgg_table.Convolution, activations: Any, kernel: Any, how: Computing) -> Any:
    import tensorflow as tf

    if how.convolution == "winograd" and is_suited(layer, activations.shape[0]):
        with tf.name_scope(layer.name):
            return winograd.convolve(activations, kernel)
    form: Any = {"padding": "SAME", "data_format": how.layout, "name": layer.name}
    return tf.nn.conv2d(activations, kernel, strides=1, **form)


def _normalise_in_float32(
    layer: vgg_table.LocalResponseNormalisation, activations: Any, how: Computing
) -> Any:
    """The op has no bfloat16 on CPUs and no NCHW anywhere; its sums of squares want 32 bits."""
    import tensorflow as tf

    if how.is_narrow:
        wide = _normalise(layer, tf.cast(how.channels_last(activations), tf.float32))
        return how.channels_back(tf.cast(wide, how.precision))
    return how.channels_back(_normalise(layer, how.channels_last(activations)))


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
    layer: vgg_table.FullyConnected,
    activations: Any,
    kernel: Any,
    bias: Any,
    keep_prob: Any,
    how: Computing,
) -> Any:
    import tensorflow as tf

    flat = tf.reshape(activations, [-1, layer.inputs])
    activations = tf.nn.bias_add(tf.matmul(flat, kernel, name=layer.name), bias)
    if layer.relu:
        activations = tf.nn.relu(activations)
    if layer.dropout:
        activations = tf.nn.dropout(activations, rate=how.share(keep_prob, activations))
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


def _image_batch(image_size: int, batch_size: int, seed: int, rank: int, how: Computing) -> Any:
    """Normal noise of standard deviation 0.1, another batch on every rank.

    Not zeros or ones: constant data draws less power, so that it runs faster than real images do.
    """
    import numpy
    import tensorflow as tf

    shape = [batch_size, image_size, image_size, vgg_table.INPUT_CHANNELS]
    generator = numpy.random.default_rng([seed, 1 + rank])
    noise = generator.standard_normal(shape, dtype=numpy.float32)
    noise *= IMAGE_STANDARD_DEVIATION
    if how.layout == "NCHW":
        noise = numpy.ascontiguousarray(noise.transpose(0, 3, 1, 2))
    return noise if how.is_fed else tf.Variable(noise, trainable=False, name="images")
