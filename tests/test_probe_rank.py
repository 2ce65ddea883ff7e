from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distbench.doctor.probe_rank import PATTERN_LENGTH, Told, claim, reduce

tf = pytest.importorskip("tensorflow")


class FakeHorovod:
    """Two ranks that hold what this one does, but for their number; `wrong` spoils one value."""

    Sum = "sum"

    def __init__(self, wrong: bool = False) -> None:
        self.wrong, self.calls = wrong, 0

    def rank(self) -> int:
        return 1

    def size(self) -> int:
        return 2

    def allreduce(self, own: Any, op: str, name: str) -> Any:
        assert op == self.Sum
        self.calls += 1
        total = own + (own - 1.0)
        if self.wrong:
            total = tf.tensor_scatter_nd_add(total, [[0]], [1.0])
        return total


@pytest.mark.parametrize("size_bytes", [4, 4 * (PATTERN_LENGTH + 3)])
def test_a_right_sum_is_right_and_timed(size_bytes: int) -> None:
    hvd = FakeHorovod()
    found = reduce(tf, hvd, size_bytes)
    assert found["bytes"] == size_bytes
    assert found["is_right"] is True
    assert len(found["taken_s"]) == hvd.calls - 1  # the first is not timed
    assert all(taken_s > 0 for taken_s in found["taken_s"])


def test_one_wrong_value_is_seen() -> None:
    assert reduce(tf, FakeHorovod(wrong=True), 1 << 16)["is_right"] is False


def test_a_sum_that_is_not_a_number_is_wrong() -> None:
    class NotANumber(FakeHorovod):
        def allreduce(self, own: Any, op: str, name: str) -> Any:
            return own * float("nan")

    assert reduce(tf, NotANumber(), 4)["is_right"] is False


def test_a_rank_that_hangs_has_told_where(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.add("hvd.init", rank=3)
    told.add("loading mpi4py", size=2)
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("rank-")
    assert json.loads(path.read_text()) == {"stage": "loading mpi4py", "rank": 3, "size": 2}


class FakeGpus:
    """TensorFlow's configuration of devices, with some GPUs."""

    def __init__(self, count: int) -> None:
        self.gpus = [f"gpu-{index}" for index in range(count)]
        self.visible: Any = None
        self.config = self
        self.experimental = self

    def list_physical_devices(self, kind: str) -> list[str]:
        return self.gpus

    def set_memory_growth(self, gpu: str, on: bool) -> None:
        assert on

    def set_visible_devices(self, devices: Any, kind: str) -> None:
        self.visible = devices


@pytest.mark.parametrize(
    ("gpus", "local_rank", "local_size", "device", "visible"),
    [
        (0, 1, 2, "/CPU:0", []),
        (1, 1, 2, "/CPU:0", []),
        (2, 1, 2, "/GPU:0", "gpu-1"),
        (8, 0, 2, "/GPU:0", "gpu-0"),
    ],
)
def test_each_rank_has_a_gpu_of_its_own_or_all_have_none(
    gpus, local_rank, local_size, device, visible
) -> None:
    fake = FakeGpus(gpus)
    assert claim(fake, local_rank, local_size) == device
    assert fake.visible == visible
