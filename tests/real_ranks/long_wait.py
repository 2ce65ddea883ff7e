"""`distbench run` in which one block of rank 0, while it is alone, takes six seconds longer."""

import sys
import time
from typing import Any

from distbench import cli
from distbench.plan import PlannedBlock
from distbench.worker import session

run_block = session._run_block
time_block = session.time_block
slow_blocks: list[PlannedBlock] = []


def marked(one: session.Session, phase: Any, block: PlannedBlock) -> None:
    if one.world.rank == 0 and block.group.ranks == (0,) and not slow_blocks:
        slow_blocks.append(block)
        session.time_block = slow  # type: ignore[assignment]
    run_block(one, phase, block)
    session.time_block = time_block


def slow(*arguments: Any, **more: Any) -> Any:
    time.sleep(6.0)
    return time_block(*arguments, **more)


session._run_block = marked
sys.exit(cli.main(sys.argv[1:]))
