"""One rank of a contender: builds, warms up, proves its work, and then times what the runner asks for.

    python -m contenders.rank NAME --config D --batch-size 8 --ranks 2 --threads 1

Started by side_by_side.py and settings_in_pairs.py alone.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from contenders import proof
from contenders.line import PORT_VARIABLE, SECRET_VARIABLE, Line, LineClosedError
from contenders.task import REDUCING, Contender, Task
from distbench.worker.measure import time_block

MODULES = {
    "distbench": "contenders.with_distbench",
    "distbench_library": "contenders.with_distbench_library",
    "distbench_settings": "contenders.with_settings",
    "keras": "contenders.with_keras",
    "pytorch": "contenders.with_torch",
    "mpi": "contenders.with_mpi",
    "peak": "contenders.with_peak",
}
WARM_UP_STEPS = 2  # the first builds and traces, the second fills caches
_PR_SET_PDEATHSIG = 1


def main() -> None:
    # The launcher may be killed while this rank is stopped: nothing but SIGKILL ends it then.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    name, task = sys.argv[1], Task.from_flags(sys.argv[2:])
    line = Line.to_runner(int(os.environ[PORT_VARIABLE]))
    line.say(secret=os.environ[SECRET_VARIABLE], pid=os.getpid())
    try:
        contender = importlib.import_module(MODULES[name]).build(task)
        line.say(ready=_prepare(contender, task))
        _obey(line, contender)
    except LineClosedError:
        os._exit(1)  # the runner has gone; a farewell of MPI could wait for ever
    except Exception as error:
        traceback.print_exc()
        line.say(failed=f"{type(error).__name__}: {error}"[:2000])
        os._exit(1)


def _prepare(contender: Contender, task: Task) -> dict[str, Any]:
    """Warms every phase up and proves the gradients; what the runner shall know."""
    for phase in contender.phases:
        _timed_s(contender, phase, WARM_UP_STEPS)
    ready = {
        "rank": contender.rank,
        "phases": list(contender.phases),
        "facts": contender.facts,
    }
    if contender.gradients is not None:
        contender.before_block("forward_backward")
        gradients = contender.gradients()
        proof.check_gradients(gradients, task.network().parameter_shapes)
        ready["local_sum"] = sum(one.sum_of_absolutes for one in gradients)
    if contender.reduced_sum is not None and task.ranks > 1:
        contender.before_block(REDUCING[0])
        ready["reduced_sum"] = contender.reduced_sum()
    return ready


def _obey(line: Line, contender: Contender) -> None:
    while True:
        message = line.hear()
        if "end" in message:
            line.say(peak_rss_bytes=_peak_rss_bytes())
            contender.close()
            return
        line.say(step_s=_timed_s(contender, message["run"], message["steps"], settle=1))


def _timed_s(contender: Contender, phase: str, steps: int, settle: int = 0) -> list[float]:
    """Seconds of each step. The first `settle` steps find the ranks apart and the caches cold."""
    contender.before_block(phase)
    times = time_block(
        contender.phases[phase], contender.synchronise, time.perf_counter_ns, settle + steps
    )
    return [duration_ns / 1e9 for duration_ns in times.duration_ns[settle:]]


def _peak_rss_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
