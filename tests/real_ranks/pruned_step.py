"""One rank that shows preflight an honest step, and one that returns only its loss."""

import dataclasses
import os

from distbench.errors import CorrectnessError
from distbench.launched import launched_as
from distbench.overrides import read_overrides
from distbench.resolving import resolve
from distbench.worker import preflight
from distbench.worker.executed_ops import count_executed_ops
from distbench.worker.network import Network
from distbench.worker.phases import Phase, PhaseLadder
from distbench.worker.reducing import Reduction
from distbench.worker.replica import Replica
from distbench.worker.world import import_horovod, open_world

hvd = import_horovod()
import tensorflow as tf  # noqa: E402

world = open_world(hvd, launched_as(os.environ))
config = resolve(read_overrides({"preset": "quick"}, {}), on_gpu=False, world_size=world.size)
network = Network(config.network(), 2, seed=0, rank=world.rank)
name = "forward_backward_allreduce"
ladder = PhaseLadder(network, hvd, Replica(network.parameters))
phase = ladder.build([name], Reduction(world.size, hvd.global_process_set))[name]


def count_ops(called: Phase) -> preflight.Executed:
    returned: list[object] = []
    return preflight.Executed(
        count_executed_ops(lambda: returned.append(called.run())), returned[0]
    )


executed = preflight.check_executed_allreduces(phase, count_ops).allreduces
print(f"honest: executed {executed}", flush=True)


@tf.function
def loss_only() -> object:
    with tf.GradientTape() as tape:
        loss = network.loss(tf.constant(0.5))
    hvd.DistributedGradientTape(tape).gradient(loss, network.parameters)
    return loss


try:
    preflight.check_executed_allreduces(dataclasses.replace(phase, run=loss_only), count_ops)
except CorrectnessError as error:
    print(error, flush=True)
world.close()
