from __future__ import annotations

from typing import Any

import pytest

from distbench.doctor.gpus_seen import Nvml, NvmlGpu, ask, judge
from distbench.doctor.verdicts import NOTE, OK, PROBLEM
from tests.test_packages import healthy

CUDA = {"is_cuda_build": True, "cuda_version": "12.5.1"}
IDLE = NvmlGpu("H100", 400_000_000)


def training(gpus: int, **changes: Any) -> dict[str, Any]:
    return healthy(gpus=[f"/GPU:{index}" for index in range(gpus)], **changes)["training"]


@pytest.mark.parametrize(
    ("nvml", "facts", "visible", "level", "words"),
    [
        (Nvml(), training(0), None, NOTE, "measures CPUs"),
        (Nvml((IDLE,)), training(0), None, PROBLEM, "distbench[gpu]"),
        (Nvml((IDLE,)), training(0, tensorflow_build=CUDA), None, PROBLEM, "driver is new enough"),
        (Nvml((IDLE,)), training(0, tensorflow_build=CUDA), "", PROBLEM, "CUDA_VISIBLE_DEVICES is"),
        (Nvml((IDLE,) * 2), training(1, tensorflow_build=CUDA), "1", NOTE, "1 of the driver's 2"),
        (Nvml(problem="no library"), training(2), None, NOTE, "no library"),
        (Nvml((IDLE, NvmlGpu("A100", 0))), training(2), None, NOTE, "differ: A100, H100"),
        (Nvml((IDLE, NvmlGpu("H100", 9 << 30))), training(2), None, NOTE, "the first GPU 1"),
        (Nvml((IDLE,)), {"crashed": "x"}, None, NOTE, "could not be asked"),
    ],
)
def test_each_trouble_is_said(nvml, facts, visible, level: str, words: str) -> None:
    said = [one for one in judge(nvml, facts, ranks=1, visible=visible) if one.level != OK]
    assert [one.level for one in said] == [level]
    assert words in said[0].text


@pytest.mark.parametrize(("ranks", "level"), [(1, OK), (2, OK), (3, PROBLEM)])
def test_every_rank_needs_a_gpu_of_its_own(ranks: int, level: str) -> None:
    said = judge(Nvml((IDLE, IDLE)), training(2), ranks, None)
    assert [one.level for one in said] == [level]
    assert "2 GPU(s)" in said[0].found


class FakeNvml:
    class NVMLError(Exception):
        pass

    def __init__(self, names: list, is_there: bool = True) -> None:
        self.names, self.is_there = names, is_there

    def nvmlInit(self) -> None:
        if not self.is_there:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlShutdown(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return self.names[handle]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return type("Memory", (), {"used": 10 * handle})


def test_the_driver_is_asked() -> None:
    assert ask(FakeNvml(["A", b"B"])) == Nvml((NvmlGpu("A", 0), NvmlGpu("B", 10)))
    assert ask(FakeNvml([], is_there=False)) == Nvml(problem="Driver Not Loaded")
