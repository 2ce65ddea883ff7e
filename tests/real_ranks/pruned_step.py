"""One rank that shows preflight an honest step, and one that returns only its loss."""

import dataclasses

from distbench.config import read_overrides, resolve
from distbench.errors import CorrectnessError
from distbench.worker import preflight
from distbench.worker.executed_ops import count_executed_ops
from distbench.worker.network import Network
from distbench.worker.phases import PhaseLadder
from distbench.worker.world import import_horovod, open_world

hvd = import_horovod()
import tensorflow as tf  # noqa: E402

world = open_world(hvd)
config = resolve(read_overrides({"preset": "quick"}, {}), on_gpu=False)
network = Network(config.network(), 2, seed=0, rank=world.rank)
phase = PhaseLadder(network, hvd, world.size).build(["forward_backward_allreduce"])[
    "forward_backward_allreduce"
]
executed = preflight.check_executed_allreduces(phase, count_executed_ops)
print(f"honest: executed {executed}", flush=True)


@tf.function
def loss_only() -> object:
    with tf.GradientTape() as tape:
        loss = network.loss(tf.constant(0.5))
    hvd.DistributedGradientTape(tape).gradient(loss, network.parameters)
    return loss


try:
    preflight.check_executed_allreduces(
        dataclasses.replace(phase, run=loss_only), count_executed_ops
    )
except CorrectnessError as error:
    print(error, flush=True)
world.close()
