"""`distbench run` whose weights are NaN after the last block."""

import sys

from distbench import cli
from distbench.worker import preflight

prove_after_timing = preflight.prove_after_timing


def spoil(phases: object, network: object, world: object) -> object:
    first = network.parameters[0]  # type: ignore[attr-defined]
    first.assign(first * float("nan"))
    return prove_after_timing(phases, network, world)  # type: ignore[arg-type]


preflight.prove_after_timing = spoil  # type: ignore[assignment]
sys.exit(cli.main(sys.argv[1:]))
