"""What a device can do at best: a large matrix product, for `--measure-peak`."""

from __future__ import annotations

import math
from typing import Any

from distbench.config import Config
from distbench.errors import CorrectnessError
from distbench.worker.measure import Clock, time_block
from distbench.worker.world import World

REPEAT_S = 0.25  # a repeat lasts about as long, at most twice
REPEATS = 5  # after one that warms up
FIRST_SIDE = 512
MOST_SIDE = 8192  # three matrices of 256 MiB
SEED = (7, 11)
CHECKED_ELEMENTS = 8


def peak_record(config: Config, world: World, clock_ns: Clock) -> dict[str, Any]:
    """What goes into the preflight record: `measured_peak` where it was asked for, else nothing.

    To be called on every rank: all measure at once, as they compute at once.
    """
    if not config.measure_peak:
        return {}
    world.rendezvous()
    peak = world.together(lambda: measure_peak(clock_ns, precision=config.precision))
    return {"measured_peak": peak}


def measure_peak(
    clock_ns: Clock,
    repeat_s: float = REPEAT_S,
    repeats: int = REPEATS,
    precision: str = "float32",
) -> dict[str, Any]:
    """The best rate of matrix products on this rank's device, with the run's own settings.

    The side `n` doubles until a product is long enough; a repeat is then as many products as last
    `repeat_s`. Returns flops_per_s (2 n³ for a product), n, products (of a repeat), seconds (the best
    repeat's, for one product) and repeats. Raises CorrectnessError where a product is wrong.
    """
    side, matrices, product_s = _long_enough(clock_ns, repeat_s, precision)
    products = max(1, math.ceil(repeat_s / product_s))
    best_s = min(_timed_s(matrices, products, clock_ns, repeats + 1)[1:]) / products
    return {
        "flops_per_s": 2 * side**3 / best_s,
        "n": side,
        "products": products,
        "seconds": best_s,
        "precision": precision,
        "repeats": repeats,
    }


def _long_enough(
    clock_ns: Clock, repeat_s: float, precision: str
) -> tuple[int, tuple[Any, Any], float]:
    """The side, the matrices and the time of a product that lasts an eighth of a repeat or more.

    A product of twice the side takes about eight times as long, so that none is longer than a repeat.
    """
    side = FIRST_SIDE
    while True:
        matrices = _matrices(side, precision)
        _check(matrices, _products(matrices, 1))
        (product_s,) = _timed_s(matrices, 1, clock_ns, 1)
        if product_s >= repeat_s / 8 or side >= MOST_SIDE:
            return side, matrices, product_s
        side *= 2


def _matrices(side: int, precision: str) -> tuple[Any, Any]:
    """Two square matrices of normal numbers: zeros would need less power, and so run faster."""
    import tensorflow as tf

    left, right = tf.random.experimental.stateless_split(SEED, 2)
    shape = (side, side)
    drawn = (tf.random.stateless_normal(shape, half) for half in (left, right))
    first, second = (tf.cast(matrix, precision) for matrix in drawn)
    return first, second


def _products(matrices: tuple[Any, Any], count: int) -> Any:
    """Runs the product `count` times, op by op: only inside of a graph could one be left out."""
    import tensorflow as tf

    result = None
    for _ in range(count):
        result = tf.linalg.matmul(*matrices)
    return result


def _timed_s(
    matrices: tuple[Any, Any], products: int, clock_ns: Clock, repeats: int
) -> list[float]:
    import tensorflow as tf

    times = time_block(
        lambda: _products(matrices, products),
        tf.test.experimental.sync_devices,
        clock_ns,
        repeats,
    )
    return [duration_ns / 1e9 for duration_ns in times.duration_ns]


def _check(matrices: tuple[Any, Any], product: Any) -> None:
    """Some elements equal those worked out in float64, within TF32's or bfloat16's rounding."""
    import tensorflow as tf

    left, right = matrices
    row, columns = tf.cast(left[:1], tf.float64), tf.cast(right[:, :CHECKED_ELEMENTS], tf.float64)
    wanted = tf.linalg.matmul(row, columns)
    found = tf.cast(product[:1, :CHECKED_ELEMENTS], tf.float64)
    error = float(tf.reduce_max(tf.abs(found - wanted)))
    rounding = 0.05 if left.dtype == tf.bfloat16 else 0.01  # of the result, to 8 bits
    if not error <= rounding * math.sqrt(int(left.shape[0])):  # NaN is not
        raise CorrectnessError(
            f"the matrix product of --measure-peak is off by {error:g}; the device computes wrongly: "
            "test it, or leave that host out"
        )
