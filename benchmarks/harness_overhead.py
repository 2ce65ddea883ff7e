"""What distbench's harness adds to a step: its own timing beside a bare loop over the same function.

Both run the very same compiled forward_backward in one process, alternately. Two ratios: the median
step that distbench's `time_block` reports ÷ the median of steps clocked in a bare loop; and a whole
block of distbench's, with all that it does between its steps, ÷ a bare loop of as many steps whose clock
is read only before the first and after the last. The watch hears of every step and progress is written, as
in a run. The watch's own thread, which wakes up twice a second, runs beside all sides, and is in no ratio.

    python benchmarks/harness_overhead.py [--rounds 20] [--batch-size 1] [--threads 2]
"""

from __future__ import annotations

import io
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from interleaved import elapsed, ratio, ratio_text, save, time_rounds
from one_process import phases_of, start

from distbench import vgg
from distbench.groups import Group
from distbench.plan import PlannedBlock
from distbench.worker.faults import Saboteur
from distbench.worker.last_words import Farewell
from distbench.worker.measure import BlockTimes, time_block
from distbench.worker.network import Network
from distbench.worker.progress import Progress
from distbench.worker.pulse import Pulse
from distbench.worker.start_reports import StartReports
from distbench.worker.time_limits import TimeLimits
from distbench.worker.watchdog import Watchdog

STEPS = 4  # of each side in a round
A_DAY_S = 86_400.0


def main() -> None:
    arguments = start(__doc__, batch_size=1)
    import tensorflow as tf

    network = Network(vgg.build("D"), arguments.batch_size, seed=0, rank=0)
    phases = phases_of(network, "forward_backward")
    step, synchronise = phases["forward_backward"].run, tf.test.experimental.sync_devices
    timed = _Harness(step, synchronise)
    contenders = {
        "distbench": timed.steps_s,
        "distbench block": lambda: elapsed(timed.times),
        "bare steps": lambda: _bare_steps(step),
        "bare loop": lambda: _bare_loop(step, synchronise),
    }
    rounds = time_rounds(contenders, arguments.rounds)
    times = {
        "distbench median": [statistics.median(one) for one in rounds["distbench"]],
        "bare median": [statistics.median(one) for one in rounds["bare steps"]],
        "distbench block": rounds["distbench block"],
        "bare loop": rounds["bare loop"],
    }
    found = {
        "median": ratio(times, "distbench median", "bare median"),
        "block": ratio(times, "distbench block", "bare loop"),
    }
    empty_s, between_s = _Harness(lambda: None, synchronise, timed.watch).empty_step_s()
    timed.watch.stop()
    lines = [
        f"VGG-D, 224x224, batch {arguments.batch_size}, {arguments.threads} threads, 1 process, "
        f"{STEPS} steps a side and round",
        f"distbench's median forward_backward / bare median: {ratio_text(found['median'])}",
        f"distbench's block / bare loop: {ratio_text(found['block'])}",
        f"an empty step through the harness: {1e6 * empty_s:.1f} µs between the two reads of the clock, "
        f"{1e6 * between_s:.1f} µs from one step to the next",
    ]
    document = {
        "ratios": found,
        "empty_step_s": empty_s,
        "empty_step_to_step_s": between_s,
        "seconds": times,
    }
    save("harness_overhead", lines, document)


class _Harness:
    """A block as a session times it, with all that sees a step."""

    def __init__(
        self, step: Callable[[], Any], synchronise: Callable[[], Any], watch: Watchdog | None = None
    ) -> None:
        self._step = Saboteur(None, 0).around("forward_backward", step)
        self._synchronise = synchronise
        self.watch = watch or _started_watch()
        self._block = PlannedBlock("forward_backward", Group("world", (0,)), 0, STEPS, False)
        self._progress = Progress(io.StringIO(), time.perf_counter_ns, [self._block])

    def steps_s(self) -> list[float]:
        """Seconds of each step of a block."""
        return [one / 1e9 for one in self.times().duration_ns]

    def times(self, steps: int = STEPS) -> BlockTimes:
        """One block."""

        def after_step(index: int, duration_ns: int) -> None:
            self.watch.pulse.step_done(index, duration_ns)
            self._progress.step(self._block, duration_ns)

        self.watch.pulse.begin_steps()
        times = time_block(self._step, self._synchronise, time.perf_counter_ns, steps, after_step)
        self.watch.pulse.end_steps()
        return times

    def empty_step_s(self) -> tuple[float, float]:
        """The median interval around a step that does nothing, and from its start to the next's."""
        times = self.times(1001)
        to_next = [after - before for before, after in itertools.pairwise(times.start_ns)]
        return statistics.median(times.duration_ns) / 1e9, statistics.median(to_next) / 1e9


def _started_watch() -> Watchdog:
    """That of a lone rank, with limits that nothing here reaches."""
    limits = TimeLimits(start_timeout=A_DAY_S, step_timeout=A_DAY_S, deadline=A_DAY_S)
    reports = StartReports(os.environ, 0)
    watch = Watchdog(0, 1, limits, Pulse(), Farewell(0, reports, sys.stderr))
    watch.start()
    return watch


def _bare_steps(step: Callable[[], Any]) -> list[float]:
    return [elapsed(step) for _ in range(STEPS)]


def _bare_loop(step: Callable[[], Any], synchronise: Callable[[], Any]) -> float:
    def loop() -> None:
        for _ in range(STEPS):
            step()
        synchronise()

    return elapsed(loop)


if __name__ == "__main__":
    main()
