"""Which convolutions of a network Winograd's algorithm F(4×4, 3×3) serves, and what it saves there.

It makes 4×4 pixels of an output by 36 products where the direct sum takes 144, and pays for it with
transforms of the images and the kernels. Where channels or tiles are few, those cost more than they
save. The bounds were found by timing the layers of VGG on CPUs (benchmarks/winograd_layers.py).
"""

from __future__ import annotations

from distbench.vgg import BYTES_PER_PARAMETER, Convolution, Vgg

OUTPUT_SIDE = 4  # of a tile
KERNEL_SIDE = 3
TILE_SIDE = OUTPUT_SIDE + KERNEL_SIDE - 1
PRODUCTS = TILE_SIDE**2
LEAST_CHANNEL_PAIRS = 64 * 128
LEAST_TILES = 48


def tiles_across(side: int) -> int:
    """How many tiles cover one side of an image; the last one may stand over."""
    return -(-side // OUTPUT_SIDE)


def is_suited(layer: Convolution, images: int) -> bool:
    """Whether a step of so many images is faster with it in this layer."""
    return (
        layer.kernel_side == KERNEL_SIDE
        and layer.inputs * layer.outputs >= LEAST_CHANNEL_PAIRS
        and images * tiles_across(layer.output_side) ** 2 >= LEAST_TILES
    )


def suited_layers(network: Vgg, images: int) -> list[Convolution]:
    """Those of a network, in order."""
    convolutions = (layer for layer in network.layers if isinstance(layer, Convolution))
    return [layer for layer in convolutions if is_suited(layer, images)]


def share_of_macs(network: Vgg, images: int) -> float:
    """The multiplications that are left ÷ those of direct sums, without the transforms'."""
    saved = sum(layer.macs - _macs(layer) for layer in suited_layers(network, images))
    return 1 - saved / network.forward_macs


def tile_bytes(network: Vgg, images: int) -> int:
    """What the transformed tiles of a batch take in float32, which are kept for the kernels' gradients."""
    return sum(
        images
        * tiles_across(layer.output_side) ** 2
        * PRODUCTS
        * layer.inputs
        * BYTES_PER_PARAMETER
        for layer in suited_layers(network, images)
    )


def _macs(layer: Convolution) -> int:
    tiles = tiles_across(layer.output_side) ** 2
    return tiles * PRODUCTS * layer.inputs * layer.outputs
