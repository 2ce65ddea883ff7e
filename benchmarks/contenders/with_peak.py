"""The machine's arithmetic: a large float32 matrix product, on as many threads as a rank computes with.

Its ranks are plain processes: no thread of Horovod's takes anything away from the peak.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from contenders.task import Contender, Task
from contenders.tensorflow_gradients import set_threads
from distbench.worker.rank import prepare_environment

SIDES = (2048, 4096)  # the runner takes the one of the higher rate
SMOKE_SIDES = (512, 1024)
PREFIX = "matrix_product_"


def build(task: Task) -> Contender:
    """One phase for each side."""
    prepare_environment(show_log=False, is_study=False)
    set_threads(task.threads)
    import tensorflow as tf

    sides = SMOKE_SIDES if task.smoke else SIDES
    return Contender(
        rank=int(os.environ.get("RANK", "0")),
        phases={f"{PREFIX}{side}": _product(side) for side in sides},
        synchronise=tf.test.experimental.sync_devices,
        facts={"library": f"TensorFlow {tf.__version__}"},
    )


def _product(side: int) -> Callable[[], Any]:
    """Of normal numbers: zeros would need less power, and so run faster."""
    import tensorflow as tf

    left = tf.random.stateless_normal((side, side), (1, 2))
    right = tf.random.stateless_normal((side, side), (3, 4))
    return lambda: tf.linalg.matmul(left, right)
