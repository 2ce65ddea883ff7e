"""What a proof needs of TensorFlow's gradients, and how TensorFlow is told its threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contenders.proof import Gradient


def gradients_of(found: Sequence[Any]) -> list[Gradient | None]:
    """One description of each; what is not there stays None."""
    import tensorflow as tf

    return [
        None
        if one is None
        else Gradient(
            tuple(one.shape),
            bool(tf.reduce_all(tf.math.is_finite(one))),
            absolute_sum([one]),
        )
        for one in found
    ]


def absolute_sum(gradients: Sequence[Any]) -> float:
    """Σ |g| over all of them, added up in float64."""
    import tensorflow as tf

    return sum(
        float(tf.reduce_sum(tf.cast(tf.reduce_sum(tf.abs(one), axis=-1), tf.float64)))
        for one in gradients
    )


def set_threads(count: int) -> None:
    """As distbench sets them."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(count)
    tf.config.threading.set_inter_op_parallelism_threads(count)
