"""distbench's own phases, set up as its own ranks set them up."""

from __future__ import annotations

import os
from typing import Any

from contenders.task import SEED, Contender, Task
from contenders.tensorflow_gradients import absolute_sum, gradients_of
from distbench.launched import launched_as
from distbench.worker import host
from distbench.worker.device import claim_device
from distbench.worker.network import Network
from distbench.worker.phases import PhaseLadder
from distbench.worker.rank import prepare_environment
from distbench.worker.reducing import Reduction
from distbench.worker.replica import Replica
from distbench.worker.world import import_horovod, open_world


def build(task: Task) -> Contender:
    """All of distbench's phases that make sense for so many ranks."""
    prepare_environment(show_log=False, is_study=False)
    hvd = import_horovod()
    world = open_world(hvd, launched_as(os.environ))
    device = claim_device(world, host.host_name(), host.cpu_name(), task.threads)
    import tensorflow as tf

    tf.random.set_seed(SEED + world.rank)
    network = Network(task.network(), task.batch_size, SEED, world.rank)
    replica = Replica(network.parameters)
    hvd.broadcast_variables(replica.parameters, root_rank=0)
    phases = PhaseLadder(network, hvd, replica).build(_names(task), _reduction(world))
    return Contender(
        rank=world.rank,
        phases={name: phase.run for name, phase in phases.items()},
        synchronise=tf.test.experimental.sync_devices,
        gradients=lambda: gradients_of(phases["forward_backward"].run()),
        reduced_sum=lambda: absolute_sum(phases["forward_backward_allreduce"].run()),
        close=world.close,
        facts={"controller": world.controller, "threads": device.threads},
    )


def _names(task: Task) -> tuple[str, ...]:
    computing, others = task.training_phases[:2], task.training_phases[2:]
    return (*computing, *(["allreduce"] if task.ranks > 1 else []), *others)


def _reduction(world: Any) -> Reduction:
    everyone = tuple(range(world.size))
    return Reduction(1) if world.size == 1 else Reduction(world.size, world.process_sets[everyone])
