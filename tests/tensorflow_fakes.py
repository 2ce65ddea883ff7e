"""The real phases of a lone rank, for tests that run them in this process."""

from __future__ import annotations

from collections.abc import Sequence

from distbench.worker.network import Network
from distbench.worker.phases import Phase, PhaseLadder
from distbench.worker.reducing import Reduction
from distbench.worker.replica import Replica
from tests.fakes import small_config


def lone_phases(names: Sequence[str]) -> tuple[Network, Replica, dict[str, Phase]]:
    config = small_config()
    network = Network(config.network(), config.batch_size, seed=0, rank=0)
    replica = Replica(network.parameters)
    ladder = PhaseLadder(network, None, replica)
    return network, replica, ladder.build(names, Reduction(ranks=1))
