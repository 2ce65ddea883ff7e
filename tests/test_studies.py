from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from distbench.analysis.studies import (
    Curve,
    FinishedLaunch,
    common_title,
    curves_frame,
    curves_of,
    read_launch,
)
from distbench.errors import RecordsError
from distbench.study.study import Cell, cells_of
from tests.study_fakes import run_of_cell, study_of

T_1, T_2 = 12.706205, 4.302653  # Student's t for 97.5 % with 1 and 2 degrees of freedom
NESTED = {"sizes": "1,2", "batch_size": 4}
SIZES = {"sizes": [1, 2]}


def launch(
    folder: Path, cell: Cell, step_ms: float | Mapping[int, float], **changes: Any
) -> FinishedLaunch:
    attempt = len(list(folder.iterdir()))
    directory = folder / f"run-{attempt}"
    run_of_cell(directory, cell, step_ms, **changes)
    return FinishedLaunch(cell.label, attempt, cell.varied, "local", cell.hosts, directory)


def curves(launches: Sequence[FinishedLaunch]) -> list[Curve]:
    read = [read_launch(one) for one in launches]
    return curves_of(result for result in read if result is not None)


def one_size_cells(**tables: Any) -> tuple[Cell, ...]:
    """Cells of 1 and of 2 ranks, batch 4 per rank."""
    tables["run"] = {"batch_size": 4, **tables.get("run", {})}
    tables["axes"] = {**SIZES, **tables.get("axes", {})}
    return cells_of(study_of(study={"ranks": 0}, **tables))


def nested_cell(**tables: Any) -> Cell:
    tables["run"] = {**NESTED, **tables.get("run", {})}
    (cell,) = cells_of(study_of(**tables))
    return cell


def row(curve: Curve, size: int) -> dict[str, Any]:
    found = curve.points[curve.points["size"] == size]
    assert len(found) == 1
    values: dict[str, Any] = found.iloc[0].to_dict()
    return values


def values(of: dict[str, Any], name: str) -> tuple[float, float, float]:
    return of[name], of[f"{name}_low"], of[f"{name}_high"]


def test_launches_of_different_sizes_join_one_curve(tmp_path: Path) -> None:
    one, two = one_size_cells()
    (curve,) = curves([launch(tmp_path, one, 10.0), launch(tmp_path, two, 12.5)])
    assert curve.label == ""
    assert curve.points["size"].tolist() == [1, 2]
    base, point = row(curve, 1), row(curve, 2)
    assert base["images_per_s"] == pytest.approx(400)  # 4 images in 10 ms
    assert point["images_per_s"] == pytest.approx(640)  # 8 images in 12.5 ms
    assert values(base, "efficiency") == (1.0, 1.0, 1.0)
    assert point["speed_up"] == pytest.approx(1.6)
    assert point["efficiency"] == pytest.approx(0.8)
    assert (point["baseline_size"], point["launches"], point["interval_from"]) == (1, 1, "rounds")
    assert point["baseline"] == "size 1 (no communication): launches of its own"
    # one launch of each size says nothing of what differs between launches
    assert math.isnan(point["efficiency_low"])
    assert math.isnan(point["efficiency_high"])


def test_with_several_launches_the_interval_comes_from_them(tmp_path: Path) -> None:
    one, two = one_size_cells()
    launches = [launch(tmp_path, one, step) for step in (10.0, 10.0, 10.0)]
    launches += [launch(tmp_path, two, step) for step in (11.0, 12.0, 13.0)]
    (curve,) = curves(launches)
    point = row(curve, 2)
    assert (point["launches"], point["interval_from"]) == (3, "launches")
    half = T_2 * 0.001 / math.sqrt(3)
    assert values(point, "step_s") == pytest.approx((0.012, 0.012 - half, 0.012 + half), rel=1e-5)
    assert values(point, "images_per_s") == pytest.approx(
        (8 / 0.012, 8 / (0.012 + half), 8 / (0.012 - half)), rel=1e-5
    )
    logs = [math.log(step / 10) for step in (11, 12, 13)]
    mean = sum(logs) / 3
    sd = math.sqrt(sum((log - mean) ** 2 for log in logs) / 2)
    width = T_2 * sd / math.sqrt(3)  # the base does not vary: Welch's freedom is that of the point
    expected = tuple(math.exp(-mean + end) for end in (0, -width, width))
    assert values(point, "efficiency") == pytest.approx(expected, rel=1e-4)


def test_two_wide_launches_leave_the_rate_without_bound(tmp_path: Path) -> None:
    one, _ = one_size_cells()
    (curve,) = curves([launch(tmp_path, one, 10.0), launch(tmp_path, one, 20.0)])
    point = row(curve, 1)
    half = T_1 * math.sqrt(50) / 1000 / math.sqrt(2)
    assert point["step_s_low"] == pytest.approx(0.015 - half, rel=1e-5)
    assert point["step_s_low"] < 0
    assert point["images_per_s_high"] == math.inf
    assert point["images_per_s_low"] == pytest.approx(4 / (0.015 + half), rel=1e-5)


def test_sizes_of_one_launch_have_their_baseline_in_it(tmp_path: Path) -> None:
    (curve,) = curves([launch(tmp_path, nested_cell(), {1: 10.0, 2: 12.5}, drift_ms=0.001)])
    point = row(curve, 2)
    assert (point["interval_from"], point["launches"]) == ("rounds", 1)
    assert point["efficiency"] == pytest.approx(10.0035 / 12.5035)
    assert point["efficiency_low"] <= point["efficiency"] <= point["efficiency_high"]
    assert point["baseline"].startswith("size 1, no communication: median step of 2 ranks")


def test_ratios_of_one_launch_are_paired(tmp_path: Path) -> None:
    """A launch that is slow as a whole says nothing of efficiency: 0.8 in each of three."""
    cell = nested_cell()
    steps = [{1: 10.0, 2: 12.5}, {1: 20.0, 2: 25.0}, {1: 40.0, 2: 50.0}]
    (curve,) = curves([launch(tmp_path, cell, step) for step in steps])
    point = row(curve, 2)
    assert point["interval_from"] == "launches"
    assert values(point, "efficiency") == pytest.approx((0.8, 0.8, 0.8))
    assert values(point, "speed_up") == pytest.approx((1.6, 1.6, 1.6))
    assert point["step_s_low"] < point["step_s"] < point["step_s_high"]
    assert values(row(curve, 1), "efficiency") == pytest.approx((1.0, 1.0, 1.0))


def test_a_curve_of_one_size_above_1_has_no_baseline(tmp_path: Path) -> None:
    _, two = one_size_cells()
    (curve,) = curves([launch(tmp_path, two, 10.0), launch(tmp_path, two, 11.0)])
    point = row(curve, 2)
    assert math.isnan(point["efficiency"])
    assert math.isnan(point["speed_up"])
    assert point["baseline"] == "none: one size was measured"
    (alone,) = curves([launch(tmp_path, nested_cell(run={"sizes": "2"}), {2: 10.0})])
    assert math.isnan(row(alone, 2)["efficiency"])


def test_without_size_1_the_smallest_is_the_baseline_and_says_so(tmp_path: Path) -> None:
    _, two = one_size_cells()
    (four,) = one_size_cells(axes={"sizes": [4]})
    (curve,) = curves([launch(tmp_path, four, 20.0), launch(tmp_path, two, 10.0)])
    point = row(curve, 4)
    assert point["efficiency"] == pytest.approx(0.5)
    assert point["baseline"] == "size 2 (size 1 was not measured): launches of its own"
    assert point["baseline_size"] == 2


def test_strong_scaling_divides_one_batch(tmp_path: Path) -> None:
    cells = cells_of(
        study_of(study={"ranks": 0}, run={"scaling": "strong", "global_batch": 8}, axes=SIZES)
    )
    (curve,) = curves([launch(tmp_path, cells[0], 10.0), launch(tmp_path, cells[1], 6.25)])
    assert curve.points["batch_per_rank"].tolist() == [8, 4]
    assert row(curve, 2)["efficiency"] == pytest.approx(10 / 6.25 / 2)


def test_what_is_not_comparable_is_on_curves_of_its_own(tmp_path: Path) -> None:
    cells = one_size_cells(axes={"config": ["A", "D"]}, horovod={"HOROVOD_CYCLE_TIME": [1, 5]})
    found = curves([launch(tmp_path, cell, 10.0) for cell in cells])
    assert [curve.label for curve in found] == [
        f"config {name}, HOROVOD_CYCLE_TIME {time}" for name in "AD" for time in (1, 5)
    ]
    assert all(curve.points["size"].tolist() == [1, 2] for curve in found)
    frame = curves_frame(found)
    assert frame["curve"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert list(frame.columns[:4]) == ["curve", "label", "title", "size"]


def test_threads_that_differ_between_sizes_part_them(tmp_path: Path) -> None:
    one, two = one_size_cells()
    alone = {"kind": "CPU", "name": "a processor", "nvml_name": "", "threads": 2}
    alone["threads_reason"] = "all of them"
    found = curves([launch(tmp_path, one, 10.0, device=alone), launch(tmp_path, two, 10.0)])
    assert [curve.label for curve in found] == ["threads per rank 2", "threads per rank 1"]


def test_a_launch_of_the_allreduce_alone_is_on_no_curve(tmp_path: Path) -> None:
    cell = nested_cell(run={"phases": "allreduce", "sizes": []})
    assert read_launch(launch(tmp_path, cell, 10.0)) is None
    assert curves([]) == []
    assert curves_frame([]).empty


def test_an_invalid_launch_is_on_no_curve(tmp_path: Path) -> None:
    one, two = one_size_cells()
    launches = [launch(tmp_path, one, 10.0), launch(tmp_path, two, 10.0)]
    damaged = launches[1].directory / "raw" / "rank-00001.jsonl"
    damaged.write_bytes(damaged.read_bytes()[:-5])
    (curve,) = curves(launches)
    assert curve.points["size"].tolist() == [1]
    with pytest.raises(RecordsError):
        read_launch(FinishedLaunch("x", 1, {}, "local", "", tmp_path / "nowhere"))


def test_a_suspect_launch_marks_its_curve(tmp_path: Path) -> None:
    (curve,) = curves([launch(tmp_path, nested_cell(), {1: 10.0, 2: 5.0})])
    assert curve.is_suspect  # an efficiency of 200 %
    (fine,) = curves([launch(tmp_path, nested_cell(), {1: 10.0, 2: 12.5})])
    assert not fine.is_suspect


def test_the_common_title_loses_no_mark(tmp_path: Path) -> None:
    cells = one_size_cells(axes={"config": ["A", "D"]})
    found = curves([launch(tmp_path, cell, 10.0) for cell in cells])
    assert common_title(found) == "several networks, NOT VGG, batch 4 per rank, on CPUs"
    assert common_title(found[:1]) == found[0].title
    assert found[0].title.startswith("NOT VGG: A with width ×0.25")
    simulated = curves([launch(tmp_path, cells[0], 10.0, simulated=True)])
    assert common_title([*found, *simulated]) == (
        "several networks, SIMULATED, NOT VGG, batch 4 per rank, on CPUs"
    )
