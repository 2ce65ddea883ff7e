"""What is tried where nobody names it: axes that commonly bear on the speed, as data.

An axis that is no setting of this distbench, or a level that the setting does not take, is not offered;
nor is the level that holds anyway, or an axis that the caller has fixed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distbench import config
from distbench.cpu_quota import core_quota
from distbench.doctor import gpus_seen
from distbench.errors import UsageError
from distbench.resolving import resolve
from distbench.tune.space import Axis
from distbench.winograd_layers import suited_layers

_DRIVER = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Machine:
    """What the levels follow from: this machine, taken to be like all that the ranks run on."""

    on_gpu: bool
    cores: int  # that this process may use


@dataclass(frozen=True)
class _Offer:
    """One axis, as `_OFFERS` lists them."""

    name: str
    levels: Callable[[Machine, int, config.Config], tuple[Any, ...]]
    unset: str = ""  # what holds where it is not set; empty: the setting's own value
    on: tuple[bool, ...] = (True, False)  # with GPUs, without
    least_ranks: int = 1
    changes_training: bool = False


def _always(*levels: Any) -> Callable[[Machine, int, config.Config], tuple[Any, ...]]:
    return lambda machine, ranks, settings: levels


def _threads(machine: Machine, ranks: int, _: config.Config) -> tuple[int, ...]:
    """Half and twice a rank's share of the cores, and all of them."""
    share = max(1, machine.cores // ranks)
    found = {max(1, share // 2), min(2 * share, machine.cores), machine.cores}
    return tuple(sorted(found - {share}))


def _batches(_: Machine, __: int, settings: config.Config) -> tuple[int, ...]:
    if settings.scaling == "strong":  # where the batch per rank follows from the global one
        return ()
    batch = settings.batch_size
    return tuple(dict.fromkeys(one for one in (batch // 2, 2 * batch, 4 * batch) if one))


def _xla(_: Machine, ranks: int, __: config.Config) -> tuple[str, ...]:
    return ("compute", "all") if ranks > 1 else ("compute",)


def _convolutions(_: Machine, ranks: int, settings: config.Config) -> tuple[str, ...]:
    """Winograd's algorithm where the network has layers for it."""
    if settings.precision != "float32":
        return ()
    sizes = settings.sizes or (ranks,)
    network = settings.network()
    gains = all(suited_layers(network, settings.batch_of(size)) for size in sizes)
    return ("winograd",) if gains else ()


_OFFERS = (
    _Offer("convolution", _convolutions, on=(False,)),
    _Offer("threads_per_rank", _threads, unset="cores shared out", on=(False,)),
    _Offer("inter_op_threads", _always(1, 2), unset="as by default", on=(False,)),
    _Offer("batch_size", _batches, changes_training=True),
    _Offer("precision", _always("bfloat16", "float16"), on=(True,), changes_training=True),
    _Offer("tf32", _always("on", "off"), unset="TensorFlow's own", on=(True,)),
    _Offer(
        "xla", _xla, on=(True,)
    ),  # on CPUs it took three times as long, and would eat the budget
    _Offer("layout", _always("NCHW", "NHWC"), on=(True,)),
    _Offer("compression", _always("fp16"), least_ranks=2, changes_training=True),
    _Offer("reduction", _always("scaled_sum"), least_ranks=2),
    _Offer("grouped_allreduce", _always(1, 4), unset="each tensor by itself", least_ranks=2),
    _Offer("fusion_threshold_mb", _always(0, 32, 512), unset="Horovod's own", least_ranks=2),
    _Offer("cycle_time_ms", _always(0.5, 5, 20), unset="Horovod's own", least_ranks=2),
    _Offer("hierarchical_allreduce", _always(True), on=(True,), least_ranks=2),
    _Offer(
        "HOROVOD_NUM_NCCL_STREAMS",
        _always("2"),
        unset="Horovod's default",
        on=(True,),
        least_ranks=2,
    ),
)


def this_machine() -> Machine:
    """The machine that this process is on; it starts nothing on its GPUs."""
    has_gpus = bool(gpus_seen.collect().gpus) or (_DRIVER.is_dir() and any(_DRIVER.iterdir()))
    cores = len(os.sched_getaffinity(0))
    granted = core_quota()
    if granted is not None:
        cores = max(1, min(cores, int(granted)))
    return Machine(has_gpus, cores)


def default_axes(machine: Machine, ranks: int, run: Mapping[str, Any]) -> tuple[Axis, ...]:
    """The axes to try around the settings of `run`, which are checked already."""
    settings = resolve(dict(run), machine.on_gpu, ranks)
    found = []
    for offer in _OFFERS:
        if machine.on_gpu not in offer.on or ranks < offer.least_ranks or offer.name in run:
            continue
        levels = [
            level
            for level in offer.levels(machine, ranks, settings)
            if _is_offered(offer.name, level, settings)
        ]
        if levels:
            found.append(_axis(offer, levels, settings))
    return tuple(found)


def _is_offered(name: str, level: Any, settings: config.Config) -> bool:
    if name.startswith("HOROVOD_"):
        return True
    if name not in config.settings():
        return False
    try:
        return bool(config.checked_value(name, level, name) != getattr(settings, name))
    except UsageError:
        return False


def _axis(offer: _Offer, levels: list[Any], settings: config.Config) -> Axis:
    is_horovod = offer.name.startswith("HOROVOD_")
    return Axis(
        name=offer.name,
        levels=(None, *levels),
        is_horovod=is_horovod,
        unset=offer.unset or str(getattr(settings, offer.name, "as by default")),
        changes_training=offer.changes_training,
    )
