"""What each rung of the phase ladder costs a step of one size, round by round, in seconds.

A round holds one block of every phase of every size. Drift and thermal steps meet all of them alike,
so that they cancel in a difference that is taken inside one round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from distbench.analysis.collect import Run
from distbench.analysis.limits import Links, ranks_on_nodes, wire_bound_s
from distbench.analysis.scaling import Point
from distbench.analysis.summary import NANOSECONDS_PER_S, block_medians
from distbench.config import SELF_ALLREDUCE
from distbench.groups import REDUCING

COMPUTING = "computing"
WAITING = "waiting for slow ranks"
OVERHEAD = "Horovod's own overhead"
WIRE = "exposed communication (wire's lower bound)"
BEYOND = "exposed communication (beyond the bound)"
EXPOSED = "exposed communication"
OPTIMIZER = "optimizer"
COMMUNICATION_AND_OPTIMIZER = "communication and optimizer"
RESIDUAL = "residual"
PARTS = (
    COMPUTING,
    WAITING,
    OVERHEAD,
    WIRE,
    BEYOND,
    EXPOSED,
    OPTIMIZER,
    COMMUNICATION_AND_OPTIMIZER,
    RESIDUAL,
)


class Ladder(NamedTuple):
    """The rungs of one size: each a series of seconds by round, empty where it was not measured.

    `typical` is what the middle ranks take for computing, `computed` what the job takes, which waits
    for its slowest rank. `forward`, `allreduce`, `reduced`
    (forward_backward_allreduce) and `whole` (the curve's phase) are medians of job steps too.
    `overhead` is Horovod's own, `wire_s` the wire's lower bound on the allreduce, NaN where no link is
    known, and `on_nodes` how many ranks each node has.
    """

    typical: pd.Series
    computed: pd.Series
    forward: pd.Series
    allreduce: pd.Series
    reduced: pd.Series
    whole: pd.Series
    overhead: pd.Series
    wire_s: float
    on_nodes: tuple[int, ...]


def computing_phase(phase: str) -> str:
    """The phase that prices computing alone, where the curve is of `phase`."""
    return "forward" if phase == "forward" else "forward_backward"


def ladders(
    run: Run, jobs: pd.DataFrame, points: Sequence[Point], phase: str, links: Links
) -> list[Ladder]:
    """The ladder of each point; `jobs` is what `job_steps` made of the run's steps."""
    typical = _typical_ranks(run.steps, computing_phase(phase))
    overhead, nodes = own_overhead(jobs), ranks_on_nodes(run)
    found = []
    for point in points:
        if point.size == 1:
            found.append(_of_one_rank(point, phase))
        else:
            on_nodes = nodes[point.group]
            wire_s = wire_bound_s(run.wire_bytes, on_nodes, links)
            found.append(_of_ranks(point, phase, typical, overhead, wire_s, on_nodes))
    return found


def _of_ranks(
    point: Point,
    phase: str,
    typical: Mapping[str, pd.Series],
    overhead: pd.Series,
    wire_s: float,
    on_nodes: tuple[int, ...],
) -> Ladder:
    return Ladder(
        typical=typical.get(point.group, _nothing()),
        computed=_medians(point, computing_phase(phase)),
        forward=_medians(point, "forward"),
        allreduce=_medians(point, "allreduce"),
        reduced=_medians(point, "forward_backward_allreduce"),
        whole=_medians(point, phase),
        overhead=overhead,
        wire_s=wire_s,
        on_nodes=on_nodes,
    )


def _of_one_rank(point: Point, phase: str) -> Ladder:
    """A rank alone waits for nobody and reduces nothing; what it left out for that is the rung below."""
    computed, reduced = (
        _medians(point, name) for name in (computing_phase(phase), "forward_backward_allreduce")
    )
    return Ladder(
        typical=computed,
        computed=computed,
        forward=_medians(point, "forward"),
        allreduce=_nothing(),
        reduced=computed if reduced.empty else reduced,
        whole=_medians(point, phase),
        overhead=0 * computed,
        wire_s=0.0,
        on_nodes=(1,),
    )


def _medians(point: Point, phase: str) -> pd.Series:
    return block_medians(point.jobs[point.jobs["phase"] == phase])


def _nothing() -> pd.Series:
    return pd.Series(dtype=float)


def _typical_ranks(steps: pd.DataFrame, phase: str) -> dict[str, pd.Series]:
    """By group that reduces, what its typical rank takes for a step, in s by round.

    A round in which a rank of the group has no step is left out.
    """
    is_wanted = (steps["phase"] == phase) & (steps["role"] == REDUCING) & ~steps["warmup"]
    timed = steps.loc[is_wanted, ["group", "group_size", "block", "rank", "duration_ns"]]
    keys = ["group", "group_size", "block", "rank"]
    own_ns = timed.groupby(keys, observed=True)["duration_ns"].median()
    found = {}
    for (group, size), of_group in own_ns.groupby(level=["group", "group_size"], observed=True):
        by_rank = of_group.droplevel(["group", "group_size"]).unstack("rank").dropna()
        if by_rank.shape[1] == size:
            found[str(group)] = _middle(by_rank) / NANOSECONDS_PER_S
    return found


def _middle(by_rank: pd.DataFrame) -> pd.Series:
    """The median of the middle ranks of rounds × ranks: a quarter of them, two or one of a few.

    They are chosen once, by their medians over all rounds. The middle of each round anew would favour
    whoever is slow by chance: of three equal ranks and a slow one it is above the equal ones' median.
    """
    order = by_rank.median().sort_values(kind="stable").index
    around, half = len(order) // 8, (len(order) - 1) // 2
    return by_rank[order[half - around : len(order) - half + around]].median(axis=1)


def own_overhead(jobs: pd.DataFrame) -> pd.Series:
    """Horovod's own overhead by round: an allreduce of a rank with itself, against the step without.

    Empty where the run did not measure it.
    """
    with_itself = jobs[jobs["phase"] == SELF_ALLREDUCE]
    same_rank = jobs["group"].isin(with_itself["group"].unique())
    without = jobs[same_rank & (jobs["phase"] == "forward_backward")]
    return (block_medians(with_itself) - block_medians(without)).dropna()


def costs(own: Ladder) -> pd.DataFrame:
    """What each part costs a step of one size: rounds × parts, NaN where it was not measured.

    No gradient is there before forward has ended, so that of the wire's bound at least wire_s −
    backward is exposed, with backward = forward_backward − forward of the job, whose slowest rank
    decides when an allreduce can end.
    """
    exposed = own.reduced - own.computed
    wire = (own.wire_s - (own.computed - own.forward)).clip(lower=0)
    return pd.DataFrame(
        {
            COMPUTING: own.typical,
            WAITING: own.computed - own.typical,
            EXPOSED: exposed,
            OVERHEAD: own.overhead,
            WIRE: wire,
            OPTIMIZER: own.whole - own.reduced,
            COMMUNICATION_AND_OPTIMIZER: own.whole - own.computed,
        }
    )


class Scheme(NamedTuple):
    """The parts that a size can be split into, from ideal to measured, and why there are no more.

    `rest` is the part that holds what is left of the exposed communication when those in `known` are
    taken off.
    """

    parts: tuple[str, ...]
    notes: tuple[str, ...] = ()
    rest: str = ""
    known: tuple[str, ...] = ()


def scheme_of(own: Ladder, phase: str) -> Scheme:
    """What can be told apart with the phases that were run and the links that are known."""
    computing = computing_phase(phase)
    if own.computed.empty or own.typical.empty:
        return Scheme((), (f"{computing} was not run: the loss cannot be told apart.",))
    parts: tuple[str, ...] = (COMPUTING, WAITING)
    if phase == computing:
        return Scheme(parts)
    if own.reduced.empty:
        why = "forward_backward_allreduce was not run: communication and optimizer are one part."
        return Scheme((*parts, COMMUNICATION_AND_OPTIMIZER), (why,))
    known, notes = _known_of_exposed(own)
    rest = BEYOND if WIRE in known else EXPOSED
    optimizer = (OPTIMIZER,) if phase == "train_step" else ()
    return Scheme((*parts, *known, rest, *optimizer), notes, rest, known)


def _known_of_exposed(own: Ladder) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The parts of the exposed communication that are known, and why others are not."""
    known, notes = [], []
    if own.overhead.empty:
        notes.append(
            "Horovod's own overhead was not measured, as a study with size 1 does now; it is part of "
            "the exposed communication."
        )
    else:
        known.append(OVERHEAD)
    if math.isnan(own.wire_s):
        where, flag = ("between", "") if len(own.on_nodes) > 1 else ("inside", "intra-")
        notes.append(
            f"The speed of the links {where} nodes is not known, so that what the wire explains is not "
            f"told apart; give --{flag}link-gb-per-s."
        )
    elif own.forward.empty:
        notes.append(
            "forward was not run, so that it is not known how long backward can hide communication, "
            "and what the wire explains is not told apart."
        )
    else:
        known.append(WIRE)
    return tuple(known), tuple(notes)
