"""`distbench run` whose rank 1 sleeps in each step that it computes alone, far longer than it takes."""

import dataclasses
import os
import sys
import time
from typing import Any

from distbench import cli
from distbench.worker.phases import PhaseLadder

COMPUTING = ("forward", "forward_backward")
SLEEP_S = 0.2
build = PhaseLadder.build


def with_a_sleep(run: Any) -> Any:
    def slow() -> Any:
        result = run()
        time.sleep(SLEEP_S)
        return result

    return slow


def build_slow(ladder: PhaseLadder, *arguments: Any) -> Any:
    phases = build(ladder, *arguments)
    return {
        name: dataclasses.replace(phase, run=with_a_sleep(phase.run))
        if name in COMPUTING
        else phase
        for name, phase in phases.items()
    }


if os.environ["HOROVOD_RANK"] == "1":
    PhaseLadder.build = build_slow  # type: ignore[method-assign]
sys.exit(cli.main(sys.argv[1:]))
