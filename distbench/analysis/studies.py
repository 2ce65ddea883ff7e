"""From the finished launches of a study to curves: only what is comparable stands on one.

A launch gives one point, or, where it measured several sizes, a whole curve. Launches with the same
key (`curve_keys.py`) join: points of different sizes make one curve, launches of the same size give
its interval. With two launches or more the interval comes from the launches, with one from its
rounds; the column `interval_from` says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distbench.analysis.check import Check
from distbench.analysis.checks import check_run
from distbench.analysis.collect import Run, load_run
from distbench.analysis.curve_keys import curve_key, differing, text_of
from distbench.analysis.launch_intervals import (
    NAN,
    Estimate,
    mean_of_launches,
    paired_ratio,
    unpaired_ratio,
)
from distbench.analysis.limits import find_limits
from distbench.analysis.scaling import ratio_columns, scaling_frame
from distbench.analysis.statistics import Interval
from distbench.analysis.summary import job_steps, main_group, summarise
from distbench.knobs import label

FROM_LAUNCHES, FROM_ROUNDS = "launches", "rounds"
_MEANS = ("exposed_s", "allreduce_s", "busbw_bytes_per_s")


@dataclass(frozen=True)
class FinishedLaunch:
    """One complete launch: the cell that it is of, how it was started, and its run directory."""

    cell: str  # the label
    attempt: int
    varied: Mapping[str, str]
    launcher: str
    hosts: str
    directory: Path


@dataclass(frozen=True)
class LaunchResult:
    """What one launch says: its points (`scaling_frame`'s rows), its key and its findings."""

    launch: FinishedLaunch
    about: tuple[str, str, str, str]  # as in Curve
    key: Mapping[str, str]
    points: pd.DataFrame
    checks: tuple[Check, ...]

    @property
    def measures_sizes_together(self) -> bool:
        """Whether its own baseline was measured inside the launch."""
        return bool(self.key["one launch for all sizes"] != "no")


@dataclass(frozen=True)
class Curve:
    """Comparable launches: `points` has one row per size, ascending (see `_point`)."""

    label: str  # what tells it from the other curves of the study
    about: tuple[str, str, str, str]  # network, settings that are not as by default, batch, devices
    points: pd.DataFrame
    launches: tuple[LaunchResult, ...]

    @property
    def title(self) -> str:
        """What was run, on what."""
        return ", ".join(filter(None, self.about))

    @property
    def is_suspect(self) -> bool:
        """Whether a check of one of its launches found something that may make it wrong."""
        return any(check.level == "suspect" for one in self.launches for check in one.checks)


def read_launch(launch: FinishedLaunch) -> LaunchResult | None:
    """What a launch says; None where it holds no training step, so that it is on no curve.

    Raises RecordsError where its records cannot be read.
    """
    run = load_run(launch.directory)
    jobs = job_steps(run.steps)
    points = scaling_frame(run, jobs)
    if points is None:
        return None
    groups = summarise(run.steps, jobs, run.grad_bytes)
    summary = groups[groups["group"] == main_group(jobs)].reset_index(drop=True)
    scaling = points if run.config.sizes else None
    limits = find_limits(run, jobs, groups, scaling)
    return LaunchResult(
        launch=launch,
        about=_about(run),
        key=curve_key(run, launch.launcher, launch.hosts, launch.varied),
        points=points,
        checks=tuple(check_run(run, jobs, summary, scaling, limits)),
    )


def _about(run: Run) -> tuple[str, str, str, str]:
    simulated = "SIMULATED: " if run.is_simulated else ""
    network = f"{simulated}{run.config.network_label}"
    return network, label(run.config), run.config.batch_label, f"on {run.device_kind}s"


def common_title(curves: Sequence[Curve]) -> str:
    """What all curves have alike; no mark of a CPU, a simulation or a reduced network is lost."""
    networks, knobs, batches, devices = (
        list(dict.fromkeys(values)) for values in zip(*(curve.about for curve in curves))
    )
    words = networks if len(networks) == 1 else ["several networks", *_marks(networks)]
    common = [one[0] for one in (knobs, batches) if len(one) == 1 and one[0]]
    return ", ".join([*words, *common, " and ".join(devices)])


def _marks(networks: Sequence[str]) -> list[str]:
    marks = ("SIMULATED", "NOT VGG")
    return [mark for mark in marks if any(mark in network for network in networks)]


def curves_of(results: Iterable[LaunchResult]) -> list[Curve]:
    """The curves of these launches, in the order in which their first launch comes.

    A launch that its checks call invalid stands on none.
    """
    groups: dict[str, list[LaunchResult]] = {}
    for result in results:
        if not any(check.level == "invalid" for check in result.checks):
            groups.setdefault(text_of(result.key), []).append(result)
    names = differing([dict(group[0].key) for group in groups.values()])
    return [
        Curve(
            label=", ".join(f"{name} {group[0].key.get(name, 'not set')}" for name in names),
            about=group[0].about,
            points=_points(group),
            launches=tuple(group),
        )
        for group in groups.values()
    ]


def _points(group: Sequence[LaunchResult]) -> pd.DataFrame:
    rows = pd.concat([result.points for result in group], ignore_index=True)
    sizes = sorted(int(size) for size in rows["size"].unique())
    together = group[0].measures_sizes_together
    base = rows[rows["size"] == sizes[0]]
    return pd.DataFrame(
        [_point(rows[rows["size"] == size], base, len(sizes), together) for size in sizes]
    )


def _point(own: pd.DataFrame, base: pd.DataFrame, sizes: int, together: bool) -> dict[str, Any]:
    """One size of a curve. Steps in s, rates in images/s of all ranks, each with its interval."""
    first = own.iloc[0]
    images = int(first["images_per_step"])
    steps = _steps(own)
    return {
        "size": int(first["size"]),
        "nodes": int(own["nodes"].max()),
        "phase": first["phase"],
        "batch_per_rank": int(first["batch_per_rank"]),
        "launches": len(own),
        "interval_from": FROM_LAUNCHES if len(own) > 1 else FROM_ROUNDS,
        "step_s": steps.value,
        "step_s_low": steps.low,
        "step_s_high": steps.high,
        "images_per_s": images / steps.value,
        "images_per_s_low": images / steps.high,
        # Few and wide launches do not even exclude a step of no time.
        "images_per_s_high": images / steps.low if not steps.low <= 0 else np.inf,
        **(_by_launch(own) if together else _between_launches(own, base, sizes)),
        **{name: float(own[name].mean()) for name in _MEANS},
    }


def _steps(own: pd.DataFrame) -> Estimate:
    if len(own) > 1:
        return mean_of_launches(own["step_s"].tolist())
    first = own.iloc[0]
    return Estimate(first["step_s"], first["step_s_low"], first["step_s_high"])


def _by_launch(own: pd.DataFrame) -> dict[str, Any]:
    """Speed-up where every launch measured its own baseline: the ratios of the launches."""
    first = own.iloc[0]
    base_size = int(first["baseline_size"])
    if len(own) == 1:
        ratio = Estimate(first["speed_up"], first["speed_up_low"], first["speed_up_high"])
    else:
        ratio = paired_ratio(own["speed_up"].tolist())
    return _ratios(ratio, str(first["baseline"]), base_size, int(first["size"]))


def _between_launches(own: pd.DataFrame, base: pd.DataFrame, sizes: int) -> dict[str, Any]:
    """Speed-up over the smallest size, which other launches have measured."""
    size, base_size = int(own["size"].iloc[0]), int(base["size"].iloc[0])
    if sizes == 1 and base_size > 1:
        return _ratios(Estimate(NAN, NAN, NAN), "none: one size was measured", 0, size)
    if size == base_size:
        ratio = Estimate(1.0, 1.0, 1.0)
    else:
        ratio = unpaired_ratio(own["images_per_s"].tolist(), base["images_per_s"].tolist())
    what = "no communication" if base_size == 1 else "size 1 was not measured"
    name = f"size {base_size} ({what}): launches of its own"
    return _ratios(ratio, name, base_size, size)


def _ratios(speed_up: Estimate, baseline: str, base_size: int, size: int) -> dict[str, Any]:
    interval = Interval(speed_up.low, speed_up.high, 0)
    return ratio_columns(speed_up.value, interval, baseline, base_size, size)


def curves_frame(curves: Sequence[Curve]) -> pd.DataFrame:
    """All curves below each other: `curve` counts from 1, `label` says what differs."""
    frames = [
        curve.points.assign(curve=number, label=curve.label, title=curve.title)
        for number, curve in enumerate(curves, start=1)
    ]
    if not frames:
        return pd.DataFrame({"curve": [], "label": [], "title": []})
    frame = pd.concat(frames, ignore_index=True)
    leading = ["curve", "label", "title"]
    return frame[[*leading, *(name for name in frame.columns if name not in leading)]]
