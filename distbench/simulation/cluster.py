"""The cluster that `distbench simulate` is told of: its parameters, read from flags and checked.

A moment of the run is a fraction of all planned steps, warm-up included: 0.5 is the middle of the
plan. Factors multiply the time of computing: 1.05 is 5 % slower.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distbench import parsing
from distbench.config import flag_of, shown
from distbench.errors import UsageError
from distbench.knobs import KNOBS

MOST_RANKS = 65_536
# Settings of a run that bear on no simulated time.
MEANINGLESS_SETTINGS = ("threads_per_rank", "tensorflow_log", "measure_peak", *KNOBS)


@dataclass(frozen=True)
class SlowRank:
    """A rank whose computing takes `factor` times as long, all the run."""

    rank: int
    factor: float


@dataclass(frozen=True)
class ThermalStep:
    """From the fraction `at` of the run all computing takes `factor` times as long."""

    at: float
    factor: float


@dataclass(frozen=True)
class Spike:
    """One step in which a rank computes `factor` times as long: its first from `at` of the run on."""

    rank: int
    at: float
    factor: float


@dataclass(frozen=True)
class DeadRank:
    """A rank that dies at the fraction `at` of the run, and the job with it."""

    rank: int
    at: float


def _number(least: float, most: float) -> Callable[[Any], float]:
    def parse(raw: Any) -> float:
        try:
            number = float(raw)
        except (TypeError, ValueError):
            number = math.nan
        if not least <= number <= most:  # NaN is not
            raise ValueError(f"a number from {least:g} to {most:g}")
        return number

    return parse


def _ranks(raw: Any) -> int:
    try:
        number = parsing.whole_number(1)(raw)
    except ValueError:
        number = 0
    if not 1 <= number <= MOST_RANKS:
        raise ValueError(f"a whole number from 1 to {MOST_RANKS}")
    return number


_MOMENT = _number(0, 1)
_FACTOR = _number(0.1, 1000)
_RANK = parsing.whole_number(0)


def _parts(kind: type, example: str, *parsers: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Reads what stands between colons, one parser each."""
    names = ":".join(item.name for item in dataclasses.fields(kind))

    def parse(raw: Any) -> Any:
        parts = str(raw).split(":")
        try:
            if len(parts) != len(parsers):
                raise ValueError
            return kind(*(read(part) for read, part in zip(parsers, parts)))
        except ValueError as found:
            why = f" ({found})" if str(found) else ""
            raise ValueError(f"{names} such as {example}{why}") from None

    return parse


def _several(parse_one: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def parse(raw: Sequence[Any]) -> tuple[Any, ...]:
        found = tuple(parse_one(one) for one in raw)
        ranks = [one.rank for one in found if isinstance(one, SlowRank)]
        if len(set(ranks)) < len(ranks):
            raise ValueError("given once for each rank")
        return found

    return parse


def _parameter(default: Any, parse: Callable[[Any], Any], help_text: str, **more: Any) -> Any:
    return field(default=default, metadata={"parse": parse, "help": help_text, **more})


@dataclass(frozen=True)
class Cluster:
    """A cluster of known speed; every time that its ranks measure follows from these and the seed."""

    ranks: int = _parameter(1, _ranks, "ranks of the simulated job, one device each", required=True)
    ranks_per_node: int = _parameter(8, _ranks, "ranks on each node; the last one takes the rest")
    images_per_s: float = _parameter(
        250.0, _number(1e-3, 1e7), "images/s of forward_backward on one rank alone"
    )
    forward_share: float = _parameter(
        0.33, _number(0.01, 0.99), "share of forward_backward that is the forward pass"
    )
    optimizer_ms: float = _parameter(2.0, _number(0, 1e6), "the optimizer's time in a step, in ms")
    intra_gb_per_s: float = _parameter(
        100.0, _number(1e-3, 1e6), "GB/s (10^9 bytes/s) of each rank's link inside its node"
    )
    inter_gb_per_s: float = _parameter(
        1.5, _number(1e-3, 1e6), "GB/s (10^9 bytes/s) of each rank's link to other nodes"
    )
    latency_us: float = _parameter(
        10.0, _number(0, 1e6), "µs of each of the ring's 2(p-1) messages, on both levels"
    )
    memory_gb_per_s: float = _parameter(
        1000.0, _number(1e-3, 1e6), "GB/s at which fused tensors are copied in, and out again"
    )
    noise: float = _parameter(
        0.01,
        _number(0, 0.5),
        "noise of each rank's computing: sd of the logarithm of each step's factor, 0.01 is 1 %",
    )
    network_noise: float = _parameter(
        0.01,
        _number(0, 0.5),
        "the same for the allreduces of a step, which all ranks share; with it Horovod's cycles "
        "fall at random in a step, at 0 each step begins one",
    )
    autocorrelation: float = _parameter(
        0.0, _number(0, 0.99), "correlation of the noise from step to step (AR(1)); 0: independent"
    )
    slow_rank: tuple[SlowRank, ...] = _parameter(
        (),
        _several(_parts(SlowRank, "3:1.05", _RANK, _FACTOR)),
        "a slow rank, such as 3:1.05 for rank 3 slower by 5 %; may be repeated",
        repeated=True,
    )
    drift: float = _parameter(
        0.0,
        _number(-0.9, 10),
        "relative slowdown of computing that grows evenly to this over the run",
    )
    thermal_step: ThermalStep | None = field(
        default=None,
        metadata={
            "parse": _parts(ThermalStep, "0.5:1.1", _MOMENT, _FACTOR),
            "help": "such as 0.5:1.1: from the middle of the run on all computing is slower by 10 %",
        },
    )
    spike: tuple[Spike, ...] = _parameter(
        (),
        _several(_parts(Spike, "3:0.5:10", _RANK, _MOMENT, _FACTOR)),
        "such as 3:0.5:10: in the middle of the run one step of rank 3 takes 10 times as long; "
        "may be repeated",
        repeated=True,
    )
    dead_rank: DeadRank | None = field(
        default=None,
        metadata={
            "parse": _parts(DeadRank, "3:0.5", _RANK, _MOMENT),
            "help": "such as 3:0.5: rank 3 dies in the middle of the run",
        },
    )

    def node_of(self, rank: int) -> int:
        """The node of a rank; they are filled one after the other."""
        return rank // self.ranks_per_node

    @property
    def nodes(self) -> list[int]:
        """The node of every rank."""
        return [self.node_of(rank) for rank in range(self.ranks)]

    def without_disturbance(self) -> Cluster:
        """The same cluster without noise, drift and thermal step; slow ranks stay slow."""
        return dataclasses.replace(
            self, noise=0.0, network_noise=0.0, autocorrelation=0.0, drift=0.0, thermal_step=None
        )


def parameters() -> dict[str, dataclasses.Field[Any]]:
    """Name and field of every parameter, in order."""
    return {item.name: item for item in dataclasses.fields(Cluster)}


def read_cluster(flags: Mapping[str, Any]) -> Cluster:
    """The cluster that the flags describe (None: flag not given).

    Raises UsageError with the flag, what was found and what was wanted.
    """
    values = {
        name: _checked(name, flags[name]) for name in parameters() if flags.get(name) is not None
    }
    cluster = Cluster(**values)
    named = [("slow_rank", item.rank) for item in cluster.slow_rank]
    named += [("spike", item.rank) for item in cluster.spike]
    named += [("dead_rank", cluster.dead_rank.rank)] if cluster.dead_rank else []
    for name, rank in named:
        if rank >= cluster.ranks:
            raise UsageError(
                f"{flag_of(name)} names rank {rank} and there are {cluster.ranks} rank(s); "
                f"the last one is rank {cluster.ranks - 1}"
            )
    return cluster


def _checked(name: str, raw: Any) -> Any:
    try:
        return parameters()[name].metadata["parse"](raw)
    except ValueError as wanted:
        found = ", ".join(map(shown, raw)) if isinstance(raw, list) else shown(raw)
        raise UsageError(f"{flag_of(name)} is {found}; it must be {wanted}") from None
