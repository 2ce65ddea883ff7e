"""The GPUs of this machine: what NVML and TensorFlow see, against the ranks that are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from distbench import units
from distbench.doctor.verdicts import Verdict, note, ok, problem
from distbench.errors import first_line

BUSY_BYTES = 1 << 30  # more memory in use than a driver and a desktop take


class NvmlGpu(NamedTuple):
    """One GPU as the driver sees it."""

    name: str
    used_bytes: int


class Nvml(NamedTuple):
    """All of them, and why there is no list where there is none."""

    gpus: Sequence[NvmlGpu] = ()
    problem: str = ""
    is_installed: bool = True


def collect() -> Nvml:
    """Asks the driver; quick, and starts nothing on the GPUs."""
    try:
        import pynvml
    except ImportError as error:
        return Nvml(problem=first_line(error), is_installed=False)
    return ask(pynvml)


def ask(nvml: Any) -> Nvml:
    """What `nvml`, the module pynvml or one like it, says."""
    try:
        nvml.nvmlInit()
        gpus = []
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            name = nvml.nvmlDeviceGetName(handle)
            used = nvml.nvmlDeviceGetMemoryInfo(handle).used
            gpus.append(NvmlGpu(name.decode() if isinstance(name, bytes) else name, int(used)))
        nvml.nvmlShutdown()
    except nvml.NVMLError as error:
        return Nvml(problem=first_line(error))
    return Nvml(tuple(gpus))


def judge(
    nvml: Nvml, training: Mapping[str, Any], ranks: int, visible: str | None
) -> list[Verdict]:
    """Verdicts on the GPUs; `visible` is CUDA_VISIBLE_DEVICES, None where it is not set."""
    if "gpus" not in training:
        return list(_without_tensorflow(nvml))
    gpus = len(training["gpus"])
    if not gpus:
        return [_no_gpu(nvml, training, visible)]
    return [*_seen(nvml, gpus, visible), _one_each(gpus, ranks), *_busy(nvml)]


def _without_tensorflow(nvml: Nvml) -> Iterator[Verdict]:
    seen = f"the driver sees {len(nvml.gpus)} GPU(s)"
    yield note(f"{seen}, and TensorFlow could not be asked", "make TensorFlow load first")


def _no_gpu(nvml: Nvml, training: Mapping[str, Any], visible: str | None) -> Verdict:
    if not nvml.gpus:
        return note(
            "no GPU is seen, so that a run measures CPUs and says so in every table",
            "start it on a node with GPUs if that was meant",
        )
    here = f"the driver sees {len(nvml.gpus)} GPU(s) and TensorFlow none"
    if not training["tensorflow_build"].get("is_cuda_build"):
        return problem(f"{here}: this TensorFlow is built for CPUs", 'pip install "distbench[gpu]"')
    if visible is not None and visible.strip() in ("", "-1"):
        return problem(f"{here}: CUDA_VISIBLE_DEVICES is {visible!r}", "unset it")
    return problem(
        f"{here}, though it is built for CUDA {training['tensorflow_build'].get('cuda_version')}",
        "see that the driver is new enough for it, and that its CUDA libraries are installed "
        "(tensorflow[and-cuda])",
    )


def _seen(nvml: Nvml, gpus: int, visible: str | None) -> Iterator[Verdict]:
    if nvml.problem:
        fix = (
            "see that libnvidia-ml.so.1 is there (in a container: that NVML is mapped into it)"
            if nvml.is_installed
            else "pip install nvidia-ml-py"
        )
        yield note(f"NVML does not answer ({nvml.problem}): clocks will not be recorded", fix)
    elif gpus < len(nvml.gpus):
        limit = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
        yield note(
            f"TensorFlow sees {gpus} of the driver's {len(nvml.gpus)} GPUs{limit}",
            "unset CUDA_VISIBLE_DEVICES if all are meant",
        )
    names = sorted({gpu.name for gpu in nvml.gpus})
    if len(names) > 1:
        yield note(
            f"the GPUs differ: {', '.join(names)}", "measure on equal ones: the slowest counts"
        )


def _one_each(gpus: int, ranks: int) -> Verdict:
    if ranks > gpus:
        return problem(
            f"TensorFlow sees {gpus} GPU(s) for {ranks} ranks on this machine",
            f"start at most {gpus} ranks on a node, so that each has a GPU of its own",
        )
    return ok(f"TensorFlow sees {gpus} GPU(s), one for each of {ranks} rank(s)")


def _busy(nvml: Nvml) -> Iterator[Verdict]:
    busy = [index for index, gpu in enumerate(nvml.gpus) if gpu.used_bytes > BUSY_BYTES]
    if busy:
        used = units.decimal_bytes(nvml.gpus[busy[0]].used_bytes)
        yield note(
            f"{len(busy)} GPU(s) hold another's memory, the first GPU {busy[0]} with {used}",
            "see by nvidia-smi whose it is, and measure when the GPU is free",
        )
