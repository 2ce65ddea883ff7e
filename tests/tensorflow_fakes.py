"""A lone rank's Horovod, for tests that run the real phases in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distbench.worker.network import Network
from distbench.worker.phases import Phase, PhaseLadder
from tests.fakes import small_config


class LoneHorovod:
    """What Horovod does with one rank: nothing."""

    Average = "average"

    def DistributedGradientTape(self, tape: Any) -> Any:
        return tape


def lone_phases(names: Sequence[str]) -> tuple[Network, PhaseLadder, dict[str, Phase]]:
    config = small_config()
    network = Network(config.network(), config.batch_size, seed=0, rank=0)
    ladder = PhaseLadder(network, LoneHorovod(), ranks=1)
    return network, ladder, ladder.build(names)
