from __future__ import annotations

import time
from typing import Any

import pytest

from distbench.errors import CorrectnessError
from distbench.worker import peak
from distbench.worker.executed_ops import count_executed_ops
from distbench.worker.peak import measure_peak, peak_record
from tests.fakes import MS, FakeClock, on_every_rank, small_config

tf = pytest.importorskip("tensorflow")


class FakeProduct:
    """A product of side n takes n³ units of the clock; what it returns is right."""

    def __init__(self, clock: FakeClock, ns_of_a_512: int) -> None:
        self.clock, self.ns_of_a_512 = clock, ns_of_a_512
        self.sides: list[int] = []

    def __call__(self, matrices: Any, count: int) -> Any:
        side = matrices[0].shape[0]
        self.sides.append(side)
        self.clock.advance(count * self.ns_of_a_512 * (side // 512) ** 3)
        return tf.linalg.matmul(matrices[0][:1], matrices[1][:, : peak.CHECKED_ELEMENTS])


def test_the_side_grows_until_a_product_is_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    product = FakeProduct(clock, 5 * MS)
    monkeypatch.setattr(peak, "_products", product)
    # 5 ms at 512, 40 ms at 1024, which is more than an eighth of 250 ms: 7 of them make 280 ms
    assert measure_peak(clock) == {
        "flops_per_s": pytest.approx(2 * 1024**3 / 0.040),
        "n": 1024,
        "products": 7,
        "seconds": pytest.approx(0.040),
        "repeats": 5,
        "precision": "float32",
    }
    # each side is checked, then timed once; then one repeat that warms up, and five
    assert product.sides == [512, 512, 1024, 1024] + [1024] * 6


def test_memory_is_bounded_however_fast_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    monkeypatch.setattr(peak, "_products", FakeProduct(clock, MS))
    monkeypatch.setattr(peak, "MOST_SIDE", 1024)
    found = measure_peak(clock)
    assert (found["n"], found["products"]) == (1024, 32)  # 250 ÷ 8, upwards


def test_the_best_repeat_counts_and_the_first_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    lengths_ms = iter([0, 50, 10, 60, 40, 50])  # check, size, warm-up, three repeats

    def product(matrices: Any, count: int) -> Any:
        clock.advance(next(lengths_ms) * MS)
        return tf.linalg.matmul(*matrices)

    monkeypatch.setattr(peak, "_products", product)
    found = measure_peak(clock, repeat_s=0.05, repeats=3)
    assert (found["n"], found["products"]) == (512, 1)
    assert found["seconds"] == pytest.approx(0.040)


def test_every_product_that_is_counted_is_executed() -> None:
    matrices = peak._matrices(64, "float32")
    executed = count_executed_ops(lambda: peak._products(matrices, 7))
    assert executed[" MatMul"] == 7  # outside of a graph an op is recorded as 'kernel: MatMul'


def test_a_real_product_is_within_reason() -> None:
    found = measure_peak(time.perf_counter_ns, repeat_s=0.02, repeats=2)
    assert found["flops_per_s"] == 2 * found["n"] ** 3 / found["seconds"]
    assert 1e8 < found["flops_per_s"] < 1e15
    assert found["n"] in (512, 1024, 2048)


def test_a_device_that_computes_wrongly_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "_products", lambda matrices, count: matrices[0])
    with pytest.raises(CorrectnessError, match="the matrix product of --measure-peak is off by"):
        measure_peak(FakeClock())


def test_the_rounding_of_tf32_is_allowed_for() -> None:
    left, right = peak._matrices(512, "float32")
    # mantissas of 10 bits, as TF32 has them
    rounded = [tf.cast(tf.cast(one, tf.float16), tf.float32) for one in (left, right)]
    peak._check((left, right), tf.linalg.matmul(*rounded))


def test_all_ranks_measure_only_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "measure_peak", lambda clock, precision: {"flops_per_s": 1.0})
    asked, unasked = small_config(measure_peak=True), small_config()
    clock = FakeClock()
    assert (
        on_every_rank(2, lambda world: peak_record(asked, world, clock))
        == [{"measured_peak": {"flops_per_s": 1.0}}] * 2
    )
    assert on_every_rank(2, lambda world: peak_record(unasked, world, clock)) == [{}, {}]


def test_products_are_of_the_precision_that_the_run_computes_in() -> None:
    left, right = peak._matrices(64, "bfloat16")
    assert (left.dtype, right.dtype) == (tf.bfloat16, tf.bfloat16)
    peak._check((left, right), tf.linalg.matmul(left, right))
    with pytest.raises(CorrectnessError):
        peak._check((left, right), tf.linalg.matmul(left, left))
