"""Convolutions of 3×3 kernels by Winograd's algorithm F(4×4, 3×3), in TensorFlow's products and copies.

The image is cut into tiles of 6×6 that overlap by 2. Of each tile d and kernel g, with the matrices of
Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), section 4.3,

    output tile of 4×4 = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A

takes 36 multiplications where the direct sum takes 144. Summed over channels, the ⊙ of all tiles is 36
matrix products [tiles, inputs] · [inputs, outputs]. The transforms of both image dimensions at once are
one product with a Kronecker product, such as vec(Bᵀ d B) = (Bᵀ ⊗ Bᵀ) vec(d).

Its rounding errors are about ten times those of the direct sum, which is nothing in float32 and too much
in 16 bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from distbench.winograd_layers import (
    KERNEL_SIDE,
    OUTPUT_SIDE,
    PRODUCTS,
    TILE_SIDE,
    tiles_across,
)

_B = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_A = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


class _Tiling(NamedTuple):
    """How images of [height, width] are covered by output tiles; the last ones may stand over."""

    images: int
    height: int
    width: int

    @property
    def down(self) -> int:
        return tiles_across(self.height)

    @property
    def across(self) -> int:
        return tiles_across(self.width)

    @property
    def tiles(self) -> int:
        return self.images * self.down * self.across

    @property
    def over(self) -> tuple[int, int]:
        """Rows and columns that the tiles have more than the image."""
        return self.down * OUTPUT_SIDE - self.height, self.across * OUTPUT_SIDE - self.width


def convolve(activations: Any, kernel: Any) -> Any:
    """The stride-1 SAME convolution of float32 [images, height, width, inputs], and its gradients.

    `kernel` is float32 [3, 3, inputs, outputs]; returns [images, height, width, outputs].
    """
    import tensorflow as tf

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def convolved(activations: Any, kernel: Any) -> Any:
        tiling = _Tiling(*activations.shape[:3])
        tiles = _input_tiles(activations, tiling)

        def gradients(gradient: Any) -> tuple[Any, Any]:
            turned = tf.transpose(tf.reverse(kernel, axis=[0, 1]), [0, 1, 3, 2])
            of_activations = _from_tiles(_input_tiles(gradient, tiling), turned, tiling)
            return of_activations, _kernel_gradient(tiles, gradient, tiling)

        return _from_tiles(tiles, kernel, tiling), gradients

    return convolved(activations, tf.convert_to_tensor(kernel))


def _from_tiles(tiles: Any, kernel: Any, tiling: _Tiling) -> Any:
    """The images [images, height, width, outputs] of transformed input tiles and a kernel."""
    import tensorflow as tf

    products = tf.matmul(tiles, _transformed(_squared(_G), kernel))
    parts = _transformed(_squared(_A), products)
    outputs = parts.shape[-1]
    split = tf.reshape(
        parts,
        [OUTPUT_SIDE, OUTPUT_SIDE, tiling.images, tiling.down, tiling.across, outputs],
    )
    joined = tf.reshape(
        tf.transpose(split, [2, 3, 0, 4, 1, 5]),
        [tiling.images, tiling.down * OUTPUT_SIDE, tiling.across * OUTPUT_SIDE, outputs],
    )
    if any(tiling.over):
        return joined[:, : tiling.height, : tiling.width]
    return joined


def _input_tiles(images: Any, tiling: _Tiling) -> Any:
    """Bᵀ d B of every tile d: [36, tiles, channels]."""
    import tensorflow as tf

    over_rows, over_columns = tiling.over
    padded = tf.pad(images, [[0, 0], [1, 1 + over_rows], [1, 1 + over_columns], [0, 0]])
    pixels = tf.reshape(padded, [-1, images.shape[-1]])
    gathered = tf.gather(pixels, _pixels_of_tiles(tiling, padded.shape[1], padded.shape[2]))
    return _transformed(_squared(_B), gathered)


def _pixels_of_tiles(tiling: _Tiling, height: int, width: int) -> Any:
    """Where each pixel of each tile lies in the padded images: int32 [36, tiles]."""
    import numpy

    row, column, image, down, across = numpy.ogrid[
        :TILE_SIDE, :TILE_SIDE, : tiling.images, : tiling.down, : tiling.across
    ]
    rows = image * height + down * OUTPUT_SIDE + row
    found = rows * width + across * OUTPUT_SIDE + column
    return found.reshape(PRODUCTS, tiling.tiles).astype(numpy.int32)


def _kernel_gradient(tiles: Any, gradient: Any, tiling: _Tiling) -> Any:
    """Gᵀ [(Bᵀ d B) ⊙ (A δ Aᵀ)] G, summed over the tiles d and their output gradients δ."""
    import tensorflow as tf

    over_rows, over_columns = tiling.over
    if over_rows or over_columns:
        gradient = tf.pad(gradient, [[0, 0], [0, over_rows], [0, over_columns], [0, 0]])
    outputs = gradient.shape[-1]
    split = tf.reshape(
        gradient,
        [tiling.images, tiling.down, OUTPUT_SIDE, tiling.across, OUTPUT_SIDE, outputs],
    )
    parts = tf.reshape(
        tf.transpose(split, [2, 4, 0, 1, 3, 5]), [OUTPUT_SIDE**2, tiling.tiles, outputs]
    )
    products = tf.matmul(tiles, _transformed(_squared(_A).T, parts), transpose_a=True)
    whole = _transformed(_squared(_G).T, products)
    return tf.reshape(whole, [KERNEL_SIDE, KERNEL_SIDE, *products.shape[1:]])


def _squared(matrix: Any) -> Any:
    """The Kronecker product with itself: the transform of both dimensions of an image."""
    import numpy

    one = numpy.asarray(matrix, dtype=numpy.float32)
    return numpy.kron(one, one)


def _transformed(matrix: Any, stacked: Any) -> Any:
    """The product of [m, k] with the first dimensions, k together, of a stack of matrices."""
    import tensorflow as tf

    rows = stacked.shape[-2:]
    flat = tf.reshape(stacked, [matrix.shape[1], rows[0] * rows[1]])
    return tf.reshape(tf.matmul(matrix, flat), [matrix.shape[0], *rows])
