"""The VGG family as data: Table 1 of Simonyan & Zisserman (2014) and what follows from it.

Nothing here needs TensorFlow: layers, parameters, multiply-accumulates (MACs) and gradient bytes
are worked out from the table. `worker/network.py` builds the graph from the same layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

INPUT_CHANNELS = 3
BLOCKS = 5
DOWNSCALING = 2**BLOCKS  # five 2x2 pools, so an image side must be a multiple of this
BYTES_PER_PARAMETER = 4  # float32

# Convolutions of the five blocks, as (kernel side, width). C closes blocks 3 to 5 with a 1x1.
_CONV_64 = (3, 64)
_CONV_128 = (3, 128)
_CONV_256 = (3, 256)
_CONV_512 = (3, 512)
_TABLE_A = ((_CONV_64,), (_CONV_128,), (_CONV_256,) * 2, (_CONV_512,) * 2, (_CONV_512,) * 2)
_TABLE_B = ((_CONV_64,) * 2, (_CONV_128,) * 2, *_TABLE_A[2:])
TABLE_1: dict[str, tuple[tuple[tuple[int, int], ...], ...]] = {
    "A": _TABLE_A,
    "A-LRN": _TABLE_A,
    "B": _TABLE_B,
    "C": (
        *_TABLE_B[:2],
        (*_TABLE_B[2], (1, 256)),
        (*_TABLE_B[3], (1, 512)),
        (*_TABLE_B[4], (1, 512)),
    ),
    "D": (*_TABLE_B[:2], (_CONV_256,) * 3, (_CONV_512,) * 3, (_CONV_512,) * 3),
    "E": (*_TABLE_B[:2], (_CONV_256,) * 4, (_CONV_512,) * 4, (_CONV_512,) * 4),
}
CONFIGURATIONS = tuple(TABLE_1)
HEADS = ("linear", "relu")


@dataclass(frozen=True)
class Convolution:
    """A stride-1 SAME convolution, bias and ReLU; `output_side` is the side of its square output."""

    name: str
    kernel_side: int
    inputs: int
    outputs: int
    output_side: int

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """[kernel height, kernel width, input channels, output channels]."""
        return (self.kernel_side, self.kernel_side, self.inputs, self.outputs)

    @property
    def macs(self) -> int:
        """k² · C_in · C_out · H_out · W_out; products with the zero padding are counted."""
        return math.prod(self.kernel_shape) * self.output_side**2


@dataclass(frozen=True)
class LocalResponseNormalisation:
    """The normalisation of A-LRN, with the constants of the paper (those of AlexNet)."""

    name: str
    window: int = 5
    k: float = 2.0
    alpha: float = 1e-4
    beta: float = 0.75


@dataclass(frozen=True)
class MaxPool:
    """A 2×2 max pool with stride 2."""

    name: str


@dataclass(frozen=True)
class FullyConnected:
    """A matrix product and bias; `relu` tells whether a ReLU follows, `dropout` whether dropout does."""

    name: str
    inputs: int
    outputs: int
    relu: bool
    dropout: bool

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """[inputs, outputs]."""
        return (self.inputs, self.outputs)

    @property
    def macs(self) -> int:
        """Inputs · outputs."""
        return self.inputs * self.outputs


WeightLayer = Convolution | FullyConnected
Layer = Convolution | LocalResponseNormalisation | MaxPool | FullyConnected


@dataclass(frozen=True)
class Vgg:
    """One network of the family: its layers in order, and the sums over them."""

    configuration: str
    image_size: int
    classes: int
    layers: tuple[Layer, ...]

    @property
    def weight_layers(self) -> tuple[WeightLayer, ...]:
        """The layers that hold parameters, in order."""
        return tuple(
            layer for layer in self.layers if isinstance(layer, (Convolution, FullyConnected))
        )

    @property
    def parameter_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Kernel and bias of every weight layer, in order: one gradient tensor each."""
        return tuple(
            shape
            for layer in self.weight_layers
            for shape in (layer.kernel_shape, (layer.outputs,))
        )

    @property
    def parameter_count(self) -> int:
        """Scalars in all kernels and biases."""
        return sum(math.prod(shape) for shape in self.parameter_shapes)

    @property
    def tensor_count(self) -> int:
        """Gradient tensors: what one data-parallel step hands to the allreduce."""
        return len(self.parameter_shapes)

    @property
    def grad_bytes(self) -> int:
        """Bytes of all float32 gradients."""
        return BYTES_PER_PARAMETER * self.parameter_count

    @property
    def activation_bytes(self) -> int:
        """Bytes of one image and of what each layer makes of it, in float32; a ReLU works in place."""
        side, channels = self.image_size, INPUT_CHANNELS
        values = side**2 * channels
        for layer in self.layers:
            if isinstance(layer, FullyConnected):
                values += layer.outputs
                continue
            if isinstance(layer, Convolution):
                channels = layer.outputs
            elif isinstance(layer, MaxPool):
                side //= 2
            values += side**2 * channels
        return BYTES_PER_PARAMETER * values

    @property
    def forward_macs(self) -> int:
        """Multiply-accumulates of one image's forward pass; bias, ReLU, pool and LRN left out."""
        return sum(layer.macs for layer in self.weight_layers)

    @property
    def forward_flops(self) -> int:
        """2 · MACs."""
        return 2 * self.forward_macs

    @property
    def forward_backward_flops(self) -> int:
        """2 · (3 · MACs − MACs of the first convolution): the input image needs no gradient."""
        return 2 * (3 * self.forward_macs - self.weight_layers[0].macs)


def build(
    configuration: str,
    image_size: int = 224,
    classes: int = 1000,
    fc_units: int = 4096,
    width_multiplier: float = 1.0,
    head: str = "linear",
) -> Vgg:
    """The network `configuration` of Table 1 for square RGB images of `image_size` pixels.

    `width_multiplier` scales the widths of the convolutions (1/4 gives 16 to 128), `fc_units` those
    of fc6 and fc7. `head` is 'linear' (the paper's logits) or 'relu' (a ReLU on fc8 as well).
    The arguments are taken as valid: `config.py` is where they are checked.
    """
    convolutional = tuple(_convolutional_layers(configuration, image_size, width_multiplier))
    last_width = next(
        layer.outputs for layer in reversed(convolutional) if isinstance(layer, Convolution)
    )
    features = (image_size // DOWNSCALING) ** 2 * last_width
    fully_connected = (
        FullyConnected("fc6", features, fc_units, relu=True, dropout=True),
        FullyConnected("fc7", fc_units, fc_units, relu=True, dropout=True),
        FullyConnected("fc8", fc_units, classes, relu=head == "relu", dropout=False),
    )
    return Vgg(configuration, image_size, classes, convolutional + fully_connected)


def _convolutional_layers(
    configuration: str, image_size: int, width_multiplier: float
) -> Iterator[Layer]:
    inputs, side = INPUT_CHANNELS, image_size
    for block, convolutions in enumerate(TABLE_1[configuration], start=1):
        for index, (kernel_side, width) in enumerate(convolutions, start=1):
            outputs = round(width * width_multiplier)
            yield Convolution(f"conv{block}_{index}", kernel_side, inputs, outputs, side)
            inputs = outputs
        if configuration == "A-LRN" and block == 1:
            yield LocalResponseNormalisation("lrn1")
        yield MaxPool(f"pool{block}")
        side //= 2
