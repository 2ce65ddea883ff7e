"""distbench's own phases, set up as its own ranks set them up, with the faster convolutions."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from contenders.shortest import shortest_s
from contenders.task import SEED, Contender, Task
from contenders.tensorflow_gradients import absolute_sum, gradients_of
from distbench.config import CONVOLUTIONS, Config
from distbench.launched import launched_as
from distbench.winograd_layers import suited_layers
from distbench.worker import host
from distbench.worker.computing import Computing
from distbench.worker.device import claim_device
from distbench.worker.network import Network
from distbench.worker.phases import Phase, PhaseLadder
from distbench.worker.rank import prepare_environment
from distbench.worker.reducing import Reducing, Reduction
from distbench.worker.replica import Replica
from distbench.worker.world import World, import_horovod, open_world

MEANS = ("average", "scaled_sum")
BY_DEFAULT = Config()


def build(task: Task) -> Contender:
    """All of distbench's phases that make sense for so many ranks."""
    return build_with(task, _names(task), CONVOLUTIONS, reductions=MEANS)


def build_with(
    task: Task,
    names: Sequence[str],
    convolutions: Sequence[str],
    config: Config = BY_DEFAULT,
    reductions: Sequence[str] = (),
) -> Contender:
    """Phases with that of the `convolutions` whose forward_backward is the fastest.

    And with that of the `reductions` whose allreduce is, where there are any. Of `config` only the
    settings that change the speed count: the rest is the task's.
    """
    prepare_environment(show_log=False, is_study=False)
    hvd = import_horovod()
    world = open_world(hvd, launched_as(os.environ))
    device = claim_device(
        world, host.host_name(), host.cpu_name(), task.threads, config.inter_op_threads
    )
    import tensorflow as tf

    tf.random.set_seed(SEED + world.rank)
    computing = Computing.of(config)
    network = Network(task.network(), task.batch_size, SEED, world.rank, computing=computing)
    replica = Replica(network.parameters)
    hvd.broadcast_variables(replica.parameters, root_rank=0)
    network, chosen = _fastest(task, network, replica, world, convolutions)
    reducing, reduced = Reducing.of(config), config.reduction
    if world.size > 1 and reductions:
        reducing, reduced = _fastest_reduction(network, hvd, replica, world, reductions)
    ladder = PhaseLadder(network, hvd, replica, reducing, config.xla)
    phases = ladder.build(names, _reduction(world))
    return Contender(
        rank=world.rank,
        phases={name: phase.run for name, phase in phases.items()},
        synchronise=tf.test.experimental.sync_devices,
        before_block=lambda name: phases[name].prepare(),
        gradients=lambda: gradients_of(phases["forward_backward"].run()),
        reduced_sum=_reduced_sum(phases),
        close=world.close,
        facts={
            "convolution": chosen,
            "reduction": reduced,
            "controller": world.controller,
            "threads": device.threads,
        },
    )


def _fastest(
    task: Task, network: Network, replica: Replica, world: World, convolutions: Sequence[str]
) -> tuple[Network, str]:
    """The network with the convolutions that all ranks together find fastest; also why, in words."""
    if len(convolutions) == 1:
        return _with(network, convolutions[0]), convolutions[0]
    is_served = bool(suited_layers(task.network(), task.batch_size))
    ladders = {
        name: PhaseLadder(_with(network, name), None, replica)
        for name in convolutions
        if name == "library" or is_served
    }
    best, why = _best("forward_backward", ladders, Reduction(1), world)
    return _with(network, best), why


def _fastest_reduction(
    network: Network, hvd: Any, replica: Replica, world: World, reductions: Sequence[str]
) -> tuple[Reducing, str]:
    """The same of what makes a mean of the gradients."""
    ladders = {
        name: PhaseLadder(network, hvd, replica, Reducing(operation=name)) for name in reductions
    }
    best, why = _best("allreduce", ladders, _reduction(world), world)
    return Reducing(operation=best), why


def _best(
    phase: str, ladders: Mapping[str, PhaseLadder], reduction: Reduction, world: World
) -> tuple[str, str]:
    """The ladder whose `phase` is the shortest on the slowest rank, by name; and why, in words."""
    import tensorflow as tf

    sync = tf.test.experimental.sync_devices
    seconds = {}
    for name, ladder in ladders.items():
        built = ladder.build([phase], reduction)[phase]
        built.prepare()
        seconds[name] = max(world.allgather_json(shortest_s(built.run, sync)))
    best = min(seconds, key=lambda name: seconds[name])
    told = ", ".join(f"{name} {one:.3g} s" for name, one in seconds.items())
    return best, f"{best} ({phase}: {told})"


def _with(network: Network, convolution: str) -> Network:
    other = copy.copy(network)
    other.computing = network.computing._replace(convolution=convolution)
    return other


def _reduced_sum(phases: Mapping[str, Phase]) -> Callable[[], float] | None:
    phase = phases.get("forward_backward_allreduce")
    return None if phase is None else lambda: absolute_sum(phase.run())


def _names(task: Task) -> tuple[str, ...]:
    computing, others = task.training_phases[:2], task.training_phases[2:]
    return (*computing, *(["allreduce"] if task.ranks > 1 else []), *others)


def _reduction(world: Any) -> Reduction:
    everyone = tuple(range(world.size))
    return Reduction(1) if world.size == 1 else Reduction(world.size, world.process_sets[everyone])
