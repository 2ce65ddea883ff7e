"""What distbench's harness adds to a step: its own timing beside a bare loop over the same function.

Both run the very same compiled forward_backward in one process, alternately. Two ratios: the median
step that distbench's `time_block` reports ÷ the median of steps clocked in a bare loop; and the mean
of distbench's steps ÷ the mean step of a bare loop whose clock is read only before its first and
after its last step.

    python benchmarks/harness_overhead.py [--rounds 20] [--batch-size 1] [--threads 2]
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from interleaved import elapsed, ratio, ratio_text, save, time_rounds
from one_process import phases_of, start

from distbench import vgg
from distbench.worker.measure import time_block
from distbench.worker.network import Network

STEPS = 4  # of each side in a round


def main() -> None:
    arguments = start(__doc__, batch_size=1)
    import tensorflow as tf

    network = Network(vgg.build("D"), arguments.batch_size, seed=0, rank=0)
    phases = phases_of(network, "forward_backward")
    step, synchronise = phases["forward_backward"].run, tf.test.experimental.sync_devices
    contenders = {
        "distbench": lambda: _distbench(step, synchronise),
        "bare steps": lambda: _bare_steps(step),
        "bare loop": lambda: _bare_loop(step, synchronise),
    }
    rounds = time_rounds(contenders, arguments.rounds)
    times = {
        "distbench median": [statistics.median(one) for one in rounds["distbench"]],
        "bare median": [statistics.median(one) for one in rounds["bare steps"]],
        "distbench mean": [statistics.mean(one) for one in rounds["distbench"]],
        "bare mean": [statistics.mean(one) for one in rounds["bare loop"]],
    }
    found = {
        "median": ratio(times, "distbench median", "bare median"),
        "mean": ratio(times, "distbench mean", "bare mean"),
    }
    empty_s = _empty_step_s(synchronise)
    lines = [
        f"VGG-D, 224x224, batch {arguments.batch_size}, {arguments.threads} threads, 1 process, "
        f"{STEPS} steps a side and round",
        f"distbench's median forward_backward / bare median: {ratio_text(found['median'])}",
        f"distbench's mean forward_backward / bare mean: {ratio_text(found['mean'])}",
        f"an empty step through the harness: {1e6 * empty_s:.1f} µs",
    ]
    document = {"ratios": found, "empty_step_s": empty_s, "seconds": times}
    save("harness_overhead", lines, document)


def _distbench(step: Callable[[], Any], synchronise: Callable[[], Any]) -> list[float]:
    times = time_block(step, synchronise, time.perf_counter_ns, STEPS)
    return [duration_ns / 1e9 for duration_ns in times.duration_ns]


def _bare_steps(step: Callable[[], Any]) -> list[float]:
    return [elapsed(step) for _ in range(STEPS)]


def _bare_loop(step: Callable[[], Any], synchronise: Callable[[], Any]) -> list[float]:
    start_ns = time.perf_counter_ns()
    for _ in range(STEPS):
        step()
    synchronise()
    return [(time.perf_counter_ns() - start_ns) / STEPS / 1e9]


def _empty_step_s(synchronise: Callable[[], Any]) -> float:
    """The median interval around a step that does nothing: all that the harness adds to one."""
    times = time_block(lambda: None, synchronise, time.perf_counter_ns, 1001)
    return sorted(times.duration_ns)[500] / 1e9


if __name__ == "__main__":
    main()
