"""What the hardware allows: the wire's lower bound on an allreduce, and the MFU (METHOD 3.1, 3.2, M20).

S bytes are reduced over n nodes with g ranks each; every rank has a link inside its node (B_intra)
and one to other nodes (B_inter). A ring moves 2(p−1)/p · S over each of its p links (Patarasuk &
Yuan 2009). On two levels, one after the other:

    2(g−1)/g · S/B_intra  +  2(n−1)/n · (S/g)/B_inter

That is what `wire_bound_s` says. An allreduce that keeps both kinds of links busy at the same time, as
NCCL's rings do, can be faster than this sum, but never than `overlapped_bound_s`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from distbench.analysis.collect import Run
from distbench.analysis.device_peaks import Peaks, peaks_of
from distbench.analysis.scaling import Point, curve_phase, curve_points
from distbench.config import PHASES
from distbench.groups import REDUCING
from distbench.records import RankRecords

NAN = float("nan")
PHASES_WITH_FLOPS = tuple(phase for phase in PHASES if phase != "allreduce")
BYTES_PER_GB = 1e9


@dataclass(frozen=True)
class Links:
    """The speed of each rank's links in bytes/s, one direction; NaN where it is not known.

    `source` says where they are from. Links that were measured are those of the run's own fastest
    allreduce, so that only noise could be faster: they are no bound to check it by (`is_measured`).
    """

    inter_bytes_per_s: float
    intra_bytes_per_s: float
    source: str
    is_measured: bool = False


UNKNOWN_LINKS = Links(NAN, NAN, "")


def wire_bound_s(grad_bytes: float, ranks_on_nodes: Sequence[int], links: Links) -> float:
    """The least time of an allreduce whose two levels follow each other, in seconds.

    `ranks_on_nodes` holds how many ranks each node has. One rank: 0. NaN where the speed that counts
    is unknown: that inside the node for one node, that between nodes for several; there an unknown
    speed inside the nodes leaves its term out. Where nodes hold different numbers of ranks, the
    fullest one counts inside the nodes, and between them what `_between_bytes` says.
    """
    inside_bytes = _inside_bytes(grad_bytes, ranks_on_nodes)
    inside_s = inside_bytes / links.intra_bytes_per_s if inside_bytes else 0.0
    if len(ranks_on_nodes) == 1:
        return inside_s
    between_s = _between_bytes(grad_bytes, ranks_on_nodes) / links.inter_bytes_per_s
    return between_s + (0.0 if math.isnan(inside_s) else inside_s)


def overlapped_bound_s(grad_bytes: float, ranks_on_nodes: Sequence[int], links: Links) -> float:
    """The least time of an allreduce that may use all links at once; at most `wire_bound_s`.

    p ranks send 2(p−1) · S bytes in all (Patarasuk & Yuan 2009), over both links of every rank that
    has neighbours in its node and over the one of a rank that has none. Those between nodes carry at
    least `_between_bytes`.
    """
    if len(ranks_on_nodes) == 1:
        return wire_bound_s(grad_bytes, ranks_on_nodes, links)
    between_s = _between_bytes(grad_bytes, ranks_on_nodes) / links.inter_bytes_per_s
    if math.isnan(links.intra_bytes_per_s):
        return between_s
    ranks = sum(ranks_on_nodes)
    with_neighbours = sum(count for count in ranks_on_nodes if count > 1)
    speed = ranks * links.inter_bytes_per_s + with_neighbours * links.intra_bytes_per_s
    return max(between_s, 2 * (ranks - 1) * grad_bytes / speed)


def _inside_bytes(grad_bytes: float, ranks_on_nodes: Sequence[int]) -> float:
    """The bytes that a rank's link inside the fullest node carries, each way."""
    return 2 * (1 - 1 / max(ranks_on_nodes)) * grad_bytes


def _between_bytes(grad_bytes: float, ranks_on_nodes: Sequence[int]) -> float:
    """The bytes that one rank's link between nodes carries at least, each way.

    n nodes send 2(n−1) · S in all, over the links of all their ranks: with g ranks on each this is
    2(n−1)/n · S/g. And the emptiest node has to send S, and to receive it, over its own links alone.
    """
    nodes, ranks = len(ranks_on_nodes), sum(ranks_on_nodes)
    return grad_bytes * max(2 * (nodes - 1) / ranks, 1 / min(ranks_on_nodes))


def ranks_on_nodes(run: Run) -> dict[str, tuple[int, ...]]:
    """How many ranks of each group its nodes hold, by the name of the group in the records."""
    counts = _members(run).groupby(["group", "host"], observed=True, sort=True).size()
    found: dict[str, tuple[int, ...]] = {}
    for (group, _), count in counts.items():
        found[str(group)] = (*found.get(str(group), ()), int(count))
    return found


def _members(run: Run) -> pd.DataFrame:
    """One row per group and rank: group, host, rank."""
    return run.blocks[["group", "host", "rank"]].drop_duplicates()


def links_of(run: Run, jobs: pd.DataFrame) -> Links:
    """The links as somebody gave them, else as the run itself showed them.

    A simulated run holds its cluster's as if they had been given. In a job on one node the one speed
    that was given is that inside it. `jobs` is what `job_steps` made of the run's steps.
    """
    inter, intra = run.config.link_gb_per_s, run.config.intra_link_gb_per_s
    if not inter and not intra:
        return _measured_links(run, jobs)
    source = "the simulated cluster's" if _are_simulated(run) else "given"
    if not intra and len({_host(records) for records in run.ranks} - {None}) == 1:
        intra = inter
    return Links(_bytes_per_s(inter), _bytes_per_s(intra), source)


def _host(records: RankRecords) -> str | None:
    return None if records.header is None else str(records.header["host"])


def _are_simulated(run: Run) -> bool:
    stated = run.manifest.get("simulated_cluster", {}).get("parameters", {})
    own = (run.config.link_gb_per_s, run.config.intra_link_gb_per_s)
    return own == (stated.get("inter_gb_per_s"), stated.get("intra_gb_per_s"))


def _bytes_per_s(gb_per_s: float) -> float:
    return gb_per_s * BYTES_PER_GB if gb_per_s else NAN


def _measured_links(run: Run, jobs: pd.DataFrame) -> Links:
    """The speeds at which the fastest allreduces inside a node, and across nodes, meet the bound.

    Where one across nodes was faster than its part inside them would have been at that speed, the two
    cannot be told apart, and all of its time counts as that between nodes.
    """
    nodes, size = ranks_on_nodes(run), run.wire_bytes
    together = (jobs["role"] == REDUCING) & (jobs["group_size"] > 1)
    reduced = jobs[together & (jobs["phase"] == "allreduce")]
    fastest_s = reduced.groupby("group", observed=True)["step_s"].min()
    all_of_them = [(nodes[str(group)], float(time_s)) for group, time_s in fastest_s.items()]
    across = [(on_nodes, time_s) for on_nodes, time_s in all_of_them if len(on_nodes) > 1]
    inside = [_inside_bytes(size, on) / time_s for on, time_s in all_of_them if len(on) == 1]
    intra = max(inside, default=NAN)
    inter = _inter_speed(size, across, intra)
    if across and math.isnan(inter):
        intra, inter = NAN, _inter_speed(size, across, NAN)
    if not all_of_them:
        return UNKNOWN_LINKS
    return Links(inter, intra, "measured: the run's own fastest allreduce", is_measured=True)


def _inter_speed(
    grad_bytes: float, across: Sequence[tuple[tuple[int, ...], float]], intra_bytes_per_s: float
) -> float:
    """The largest speed between nodes that the allreduces show, by their times; NaN for none."""
    speeds = []
    for on_nodes, time_s in across:
        inside_s = _inside_bytes(grad_bytes, on_nodes) / intra_bytes_per_s
        left_s = time_s - (0.0 if math.isnan(inside_s) else inside_s)
        if left_s <= 0:
            return NAN
        speeds.append(_between_bytes(grad_bytes, on_nodes) / left_s)
    return max(speeds, default=NAN)


@dataclass(frozen=True)
class Limits:
    """The bounds of a run, and how near it came to them.

    `peak_flops_per_s` is the mean of the devices' peaks, NaN where they are not known, and `peak_kind`
    one of GIVEN, MEASURED, DATA_SHEET and ''. `frame` has one row per size, ascending:

    size, group, ranks_on_nodes ('3 × 8, 1 × 4' for three nodes of 8 ranks and one of 4),
    `wire_bound_s`, `overlapped_bound_s`, `allreduce_s` (the median job step; NaN for one rank),
    `of_wire_bound` = wire_bound_s ÷ allreduce_s, `phase` (that of the curve), `mfu` of it, and
    `mfu_<phase>` of every phase that computes and `mfu_backward`. An MFU is images/s of a rank × FLOPs
    of an image ÷ peak (METHOD 3.1); NaN where the phase was not run. The FLOPs are those of direct sums,
    also where `is_winograd` tells that convolutions took fewer.
    """

    peak_flops_per_s: float
    peak_source: str
    peak_kind: str
    links: Links
    frame: pd.DataFrame
    is_simulated: bool
    is_winograd: bool = False


def find_limits(
    run: Run, jobs: pd.DataFrame, summary: pd.DataFrame, scaling: pd.DataFrame | None
) -> Limits:
    """The limits of every size of the run.

    `jobs` is what `job_steps` made of the run's steps, `summary` what `summarise` made of those: the
    rows of all groups. `scaling` is the curve, where there is one; its phase is then that of `mfu`.
    """
    peaks, links = peaks_of(run), links_of(run, jobs)
    nodes, members = ranks_on_nodes(run), _members(run)
    phase = curve_phase(run.config) if scaling is None else str(scaling["phase"].iloc[0])
    rows = [
        {
            "size": point.size,
            "group": point.group,
            **_wire(run, point, nodes, links, summary),
            "phase": phase or "",
            **_utilisation(run, point, _peak_of(point, peaks, members), summary, phase),
        }
        for point in curve_points(jobs)
    ]
    return Limits(
        peak_flops_per_s=_mean(peaks, range(run.size)),
        peak_source=peaks.source if peaks else "",
        peak_kind=peaks.kind if peaks else "",
        links=links,
        frame=pd.DataFrame(rows),
        is_simulated=run.is_simulated,
        is_winograd=run.config.convolution == "winograd",
    )


def _wire(
    run: Run,
    point: Point,
    nodes: Mapping[str, tuple[int, ...]],
    links: Links,
    summary: pd.DataFrame,
) -> dict[str, Any]:
    on_nodes = (1,) if point.size == 1 else nodes[point.group]
    bound_s = wire_bound_s(run.wire_bytes, on_nodes, links)
    allreduce_s = NAN if point.size == 1 else _step_s(summary, point.group, "allreduce")
    return {
        "ranks_on_nodes": _counted(on_nodes),
        "wire_bound_s": bound_s,
        "overlapped_bound_s": overlapped_bound_s(run.wire_bytes, on_nodes, links),
        "allreduce_s": allreduce_s,
        "of_wire_bound": bound_s / allreduce_s,
    }


def _counted(on_nodes: Sequence[int]) -> str:
    """Nodes alike stand together, the fullest first."""
    kinds = sorted(set(on_nodes), reverse=True)
    return ", ".join(f"{on_nodes.count(ranks)} × {ranks}" for ranks in kinds)


def _step_s(summary: pd.DataFrame, group: str, phase: str) -> float:
    own = summary.loc[(summary["group"] == group) & (summary["phase"] == phase), "step_s"]
    return float(own.iloc[0]) if len(own) else NAN


def _utilisation(
    run: Run, point: Point, peak: float, summary: pd.DataFrame, phase: str | None
) -> dict[str, float]:
    """The MFU of every phase that computes, under its column."""
    network, images = run.config.network(), run.config.batch_of(point.size)
    flops = dict.fromkeys(PHASES_WITH_FLOPS, network.forward_backward_flops)
    flops["forward"] = network.forward_flops
    times_s = {name: _step_s(summary, point.group, name) for name in PHASES_WITH_FLOPS}
    backward_s = times_s["forward_backward"] - times_s["forward"]
    times_s["backward"] = backward_s if backward_s > 0 else NAN
    flops["backward"] = network.forward_backward_flops - network.forward_flops
    found = {name: images * flops[name] / times_s[name] / peak for name in times_s}
    return {
        "mfu": found[phase] if phase else NAN,
        **{f"mfu_{name}": value for name, value in found.items()},
    }


def _peak_of(point: Point, peaks: Peaks | None, members: pd.DataFrame) -> float:
    """The mean peak of the ranks of a size."""
    own = members["group"].isin(point.jobs["group"].unique())
    return _mean(peaks, members.loc[own, "rank"])


def _mean(peaks: Peaks | None, ranks: Iterable[int]) -> float:
    if peaks is None:
        return NAN
    own = [peaks.by_rank[int(rank)] for rank in ranks]
    return sum(own) / len(own)
