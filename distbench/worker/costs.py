"""What a rank costs beside its timed steps: the time before them, by stage, and its peak memory."""

from __future__ import annotations

import resource
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from distbench.process_stat import read_stat
from distbench.worker.device import Device
from distbench.worker.pulse import Pulse

PROCESS_START = "starting Python"


def costs(pulse: Pulse, device: Device, before_network_bytes: int | None) -> dict[str, Any]:
    """For the final record: `start_up_s` by stage, `life_s`, and the memory in bytes.

    `life_s` goes from the process's start to now. `before_network_bytes` is what the process held when
    TensorFlow and Horovod were there and no network. A device's peak is None where TensorFlow does not
    tell it, as on CPUs.
    """
    age_s = process_age_s()
    return {
        "start_up_s": list(start_up_s(pulse, age_s - (pulse.clock_s() - pulse.started_s)).items()),
        "life_s": age_s,
        "memory_before_network_bytes": before_network_bytes,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "device_peak_memory_bytes": _device_peak_bytes(device),
    }


def start_up_s(pulse: Pulse, before_s: float) -> dict[str, float]:
    """Seconds of each stage before the first timed step; `before_s` went by before there was a pulse."""
    found = {PROCESS_START: max(0.0, before_s)}
    for (stage, began_s), (_, ended_s) in pairwise(pulse.stages):
        found[stage] = found.get(stage, 0.0) + ended_s - began_s
    return found


def process_age_s(folder: Path = Path("/proc/self")) -> float:
    """How long ago this process was started; 0 where the kernel does not tell."""
    try:
        return time.clock_gettime(time.CLOCK_BOOTTIME) - read_stat(folder).started_s
    except (OSError, ValueError, IndexError):
        return 0.0


def _device_peak_bytes(device: Device) -> int | None:
    if device.kind != "GPU":
        return None
    import tensorflow as tf

    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
