"""What the benchmarks of one process share: their arguments, TensorFlow's threads, the phases."""

from __future__ import annotations

import argparse

from distbench.worker.network import Network
from distbench.worker.phases import Phase, PhaseLadder
from distbench.worker.rank import prepare_environment
from distbench.worker.reducing import Reduction
from distbench.worker.replica import Replica


def start(description: str | None, batch_size: int) -> argparse.Namespace:
    """Parses --rounds, --batch-size and --threads, and sets TensorFlow up for them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=batch_size)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    prepare_environment(show_log=False, is_study=False)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    return arguments


def phases_of(network: Network, *names: str) -> dict[str, Phase]:
    """The phases `names` of a network that shares nothing."""
    ladder = PhaseLadder(network, None, Replica(network.parameters))
    return ladder.build(names, Reduction(ranks=1))
