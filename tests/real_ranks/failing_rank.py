"""`distbench run` whose rank 1 fails before its ninth block."""

import sys

from distbench import cli
from distbench.worker import session

run_block = session._run_block
blocks_run = []


def failing(one: session.Session, phase: object, block: object) -> None:
    blocks_run.append(block)
    if one.world.rank == 1 and len(blocks_run) == 9:
        raise ZeroDivisionError("by the test")
    run_block(one, phase, block)  # type: ignore[arg-type]


session._run_block = failing  # type: ignore[assignment]
sys.exit(cli.main(sys.argv[1:]))
