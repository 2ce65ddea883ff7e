"""Large tensors looked at piece by piece, so that a proof needs little memory beside them.

TensorFlow keeps what a CPU's tensors once took: the most that a proof holds at a time is what its
process holds from then on. VGG's largest tensor has 411 MB, and a difference of two would be another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

# Of float32: 4 MB, which stay in the caches of CPUs; and a power of two, so that numbers which
# repeat with a smaller power of two are the same in each piece.
PIECE_ELEMENTS = 2**20
_FOLD = 1_000_003  # odd, so that a later piece loses no bit of what came before it


def pieces(tensor: Any) -> Iterator[Any]:
    """The elements in order, flat, PIECE_ELEMENTS at a time; the last piece may be shorter."""
    import tensorflow as tf

    flat = tf.reshape(tensor, [-1])
    for start in range(0, int(flat.shape[0]), PIECE_ELEMENTS):
        yield flat[start : start + PIECE_ELEMENTS]


def first_piece(shape: Sequence[int]) -> tuple[int]:
    """The shape of the first piece of a tensor of `shape`."""
    return (min(PIECE_ELEMENTS, math.prod(shape)),)


def products(one: Any, other: Any) -> tuple[float, float, float]:
    """Σ one · other, Σ one², Σ other², of two float32 tensors of one shape."""
    product, square, other_square = _sums(one, other, lambda a, b: (a * b, a * a, b * b))
    return product, square, other_square


def squares(difference_from: Any, reference: Any) -> tuple[float, float]:
    """Σ (difference_from − reference)², Σ reference²."""
    import tensorflow as tf

    difference, square = _sums(difference_from, reference, lambda a, b: (tf.square(a - b), b * b))
    return difference, square


def _sums(one: Any, other: Any, terms: Callable[[Any, Any], tuple[Any, ...]]) -> list[float]:
    import tensorflow as tf

    rows = [
        [tf.cast(tf.reduce_sum(term), tf.float64) for term in terms(*pair)]
        for pair in zip(pieces(one), pieces(other), strict=True)
    ]
    return [float(tf.add_n(column)) for column in zip(*rows)]


def largest_difference(tensor: Any, repeated: Any) -> float:
    """The largest |tensor − repeated|; infinite where the tensor holds a NaN.

    `repeated` is what each piece must be, of the shape `first_piece`; the last one may be shorter.
    """
    import tensorflow as tf

    def of_piece(piece: Any) -> Any:
        difference = tf.abs(piece - repeated[: piece.shape[0]])
        # A maximum need not pass a NaN on.
        return tf.reduce_max(tf.where(tf.math.is_nan(difference), math.inf, difference))

    return float(tf.reduce_max(tf.stack([of_piece(piece) for piece in pieces(tensor)])))


def is_finite(tensor: Any) -> bool:
    """Whether the tensor holds neither a NaN nor an infinity."""
    import tensorflow as tf

    found = [tf.reduce_all(tf.math.is_finite(piece)) for piece in pieces(tensor)]
    return bool(tf.reduce_all(tf.stack(found)))


def fingerprint(tensors: Sequence[Any]) -> str:
    """16 hexadecimal digits of the bits of float32 tensors in order, worked out on their device.

    Each element's bits count by an odd weight of its place, so that one that changes, or two that swap
    places, change the sum modulo 2⁶⁴. It tells accidents apart, and is no safeguard against intent.
    """
    import tensorflow as tf

    weights = 2 * tf.range(PIECE_ELEMENTS, dtype=tf.int64) + 1
    total = tf.zeros([], tf.int64)
    for tensor in tensors:
        for piece in pieces(tensor):
            bits = tf.cast(tf.bitcast(piece, tf.int32), tf.int64)
            total = total * _FOLD + tf.reduce_sum(bits * weights[: bits.shape[0]])
    return f"{int(total) % 2**64:016x}"
