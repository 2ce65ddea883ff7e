"""How long a contender tries each way before it chooses one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from distbench.worker.measure import time_block

TRIAL_STEPS = 2


def shortest_s(call: Callable[[], Any], synchronise: Callable[[], Any]) -> float:
    """The shorter of two steps after the one that compiles, in seconds."""
    call()
    return min(time_block(call, synchronise, time.perf_counter_ns, TRIAL_STEPS).duration_ns) / 1e9
