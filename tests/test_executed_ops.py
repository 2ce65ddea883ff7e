from __future__ import annotations

import pytest

from distbench.worker.executed_ops import count_executed_ops

tf = pytest.importorskip("tensorflow")


def test_executed_ops_are_counted_and_pruned_ones_are_not() -> None:
    matrix = tf.random.normal([8, 8])

    @tf.function
    def both() -> object:
        return tf.linalg.cholesky(tf.matmul(matrix, matrix, transpose_b=True)), tf.sort(matrix)

    @tf.function
    def pruned() -> object:
        tf.linalg.cholesky(tf.matmul(matrix, matrix, transpose_b=True))
        return tf.sort(matrix)

    assert count_executed_ops(lambda: [both(), both()])["Cholesky"] == 2
    assert count_executed_ops(pruned)["Cholesky"] == 0


def test_the_profiler_is_off_afterwards_also_after_an_error() -> None:
    def fail() -> None:
        raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        count_executed_ops(fail)
    assert count_executed_ops(lambda: None)["Cholesky"] == 0
