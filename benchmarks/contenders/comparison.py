"""What the rounds of one group of contenders say: ratios, shares of the peak, exposed communication.

`times` holds for each (contender, phase) the median step of each round, in seconds.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from interleaved import ratio, spread

OURS = "distbench"
PEERS = ("keras", "pytorch")
LIBRARY = "distbench_library"  # no rival: what the choice of convolutions makes of the ratios
ALLREDUCE = "allreduce"
BARE_ALLREDUCES = ("allreduce_in_place", "allreduce_out_of_place")
COPY = "memory_copy"
PRODUCT = "matrix_product_"
Key = tuple[str, str]
Times = Mapping[Key, Sequence[float]]
Spread = Mapping[str, float]


class Compared(NamedTuple):
    """One phase of distbench beside what another contender took for it, in the same rounds."""

    phase: str
    contender: str
    seconds: float
    our_seconds: float
    ratio: Spread  # contender ÷ distbench


def compared(times: Times) -> list[Compared]:
    """Every pair that there is, by the phases of distbench."""
    found = []
    for (name, phase), _ in times.items():
        if name == OURS:
            for other in _rivals(times, phase):
                found.append(_pair(times, phase, other))
    return found


def _rivals(times: Times, phase: str) -> list[Key]:
    peers = [(peer, phase) for peer in (*PEERS, LIBRARY) if (peer, phase) in times]
    if phase != ALLREDUCE:
        return peers
    return [("mpi", name) for name in (*BARE_ALLREDUCES, COPY) if ("mpi", name) in times]


def _pair(times: Times, phase: str, other: Key) -> Compared:
    ours = (OURS, phase)
    contender = other[0] if other[0] != "mpi" else f"mpi {other[1]}"
    seconds, our_seconds = statistics.median(times[other]), statistics.median(times[ours])
    return Compared(phase, contender, seconds, our_seconds, ratio(times, other, ours))


class Share(NamedTuple):
    """How much of the measured peak one phase of one contender reaches."""

    contender: str
    phase: str
    flops_per_s: float
    peak_flops_per_s: float
    share: Spread


def shares(times: Times, flops: Mapping[str, float]) -> list[Share]:
    """Of every contender whose phase has `flops` (those of one rank's step); none without a peak."""
    products = [key for key in times if key[1].startswith(PRODUCT)]
    if not products:
        return []
    best = max(products, key=lambda key: product_flops(key[1]) / statistics.median(times[key]))
    peak_flops = product_flops(best[1])
    return [
        Share(
            name,
            phase,
            flops[phase] / statistics.median(values),
            peak_flops / statistics.median(times[best]),
            spread(
                [
                    (flops[phase] / own_s) / (peak_flops / peak_s)
                    for own_s, peak_s in zip(values, times[best])
                ]
            ),
        )
        for (name, phase), values in times.items()
        if phase in flops and name in (OURS, LIBRARY, *PEERS)
    ]


def product_flops(phase: str) -> int:
    """2 n³ of the phase `matrix_product_n`."""
    return 2 * int(phase.removeprefix(PRODUCT)) ** 3


class Exposed(NamedTuple):
    """What of the communication a step shows: its time less that of computing alone."""

    contender: str
    seconds: Spread
    share: Spread  # of forward_backward_allreduce


def exposed(times: Times, contenders: Sequence[str] = (OURS, *PEERS)) -> list[Exposed]:
    """Of every one that has both phases."""
    found = []
    for name in contenders:
        alone = times.get((name, "forward_backward"))
        both = times.get((name, "forward_backward_allreduce"))
        if alone is not None and both is not None:
            more = [one - other for one, other in zip(both, alone)]
            share = [one / whole for one, whole in zip(more, both)]
            found.append(Exposed(name, spread(more), spread(share)))
    return found
