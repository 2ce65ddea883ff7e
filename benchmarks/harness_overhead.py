"""What distbench's harness adds to a step: its own timing beside a bare loop over the same function.

Both run the very same compiled forward_backward in one process, alternately. The bare loop reads
the clock before its first step and after its last, and divides; distbench's `time_block`
synchronises and reads the clock around every step, and its median step counts.

    python benchmarks/harness_overhead.py [--rounds 20] [--batch-size 1] [--threads 2]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from against_keras import LoneHorovod
from interleaved import ratio, ratio_text, save, time_rounds

from distbench import vgg
from distbench.worker.measure import time_block
from distbench.worker.rank import prepare_environment

STEPS = 4  # of each side in a round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    prepare_environment(show_log=False)
    import tensorflow as tf

    from distbench.worker.network import Network
    from distbench.worker.phases import PhaseLadder

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    network = Network(vgg.build("D"), arguments.batch_size, seed=0, rank=0)
    phases = PhaseLadder(network, LoneHorovod(), ranks=1).build(["forward_backward"])
    step, synchronise = phases["forward_backward"].run, tf.test.experimental.sync_devices
    contenders = {
        "distbench": lambda: _distbench(step, synchronise),
        "bare loop": lambda: _bare_loop(step, synchronise),
    }
    times = time_rounds(contenders, arguments.rounds)
    found = ratio(times, "distbench", "bare loop")
    empty_s = _empty_step_s(synchronise)
    lines = [
        f"VGG-D, 224x224, batch {arguments.batch_size}, {arguments.threads} threads, 1 process, "
        f"{STEPS} steps a side and round",
        f"distbench's forward_backward / bare loop: {ratio_text(found)}",
        f"an empty step through the harness: {1e6 * empty_s:.1f} µs",
    ]
    document = {"ratio": found, "empty_step_s": empty_s, "seconds": times}
    save("harness_overhead", lines, document)


def _distbench(step: Callable[[], Any], synchronise: Callable[[], Any]) -> float:
    times = time_block(step, synchronise, time.perf_counter_ns, STEPS)
    ordered = sorted(times.duration_ns)
    return (ordered[STEPS // 2 - 1] + ordered[STEPS // 2]) / 2 / 1e9


def _bare_loop(step: Callable[[], Any], synchronise: Callable[[], Any]) -> float:
    start_ns = time.perf_counter_ns()
    for _ in range(STEPS):
        step()
    synchronise()
    return (time.perf_counter_ns() - start_ns) / STEPS / 1e9


def _empty_step_s(synchronise: Callable[[], Any]) -> float:
    """The median interval around a step that does nothing: all that the harness adds to one."""
    times = time_block(lambda: None, synchronise, time.perf_counter_ns, 1001)
    return sorted(times.duration_ns)[500] / 1e9


if __name__ == "__main__":
    main()
