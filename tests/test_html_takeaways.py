from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from distbench.analysis.collect import load_run
from distbench.report.build import find
from distbench.report.findings import Findings
from distbench.report.html_takeaways import curve_sentence, takeaway
from tests.fakes import ladder_blocks, study_config, write_run, write_study
from tests.test_html_answer import budget


@pytest.fixture
def study(run_directory: Path) -> Findings:
    """1, 2 and 4 ranks on two nodes: train_step 32.32, 36.64 and 40.64 ms."""
    write_study(run_directory, study_config(), [0, 0, 1, 1])
    return find(load_run(run_directory))


def test_the_curve_in_one_sentence(study: Findings) -> None:
    assert study.scaling is not None
    speed_up = 4 * study.scaling["step_s"].iloc[0] / study.scaling["step_s"].iloc[2]
    assert (
        curve_sentence(study)
        == f"4 CPUs are {speed_up:.2f} × as fast as 1 CPU; ideal would be 4 ×."
    )


def test_throughput_names_the_ideal_beside_what_was_reached(study: Findings) -> None:
    assert study.scaling is not None
    first, last = study.scaling.iloc[0], study.scaling.iloc[-1]
    assert takeaway(study, "scaling_throughput") == (
        f"From {first['images_per_s']:.2f} images/s at size 1 to {last['images_per_s']:.1f} at 4; "
        f"ideal is {4 * first['images_per_s']:.1f}, on the dashed line."
    )


def test_efficiency_names_the_largest_fall_and_the_nodes_there(study: Findings) -> None:
    assert study.scaling is not None
    curve = study.scaling.assign(efficiency=[1.0, 0.95, 0.75])
    said = takeaway(dataclasses.replace(study, scaling=curve), "scaling_efficiency")
    assert said == (
        "4 ranks keep 75.0 % of the baseline's rate per rank; the largest fall is 20.0 points, "
        "between 2 and 4 ranks, where the nodes grow from 1 to 2."
    )


def test_an_efficiency_that_does_not_fall_is_not_said_to(study: Findings) -> None:
    assert study.scaling is not None
    curve = study.scaling.assign(efficiency=1.0)
    said = takeaway(dataclasses.replace(study, scaling=curve), "scaling_efficiency")
    assert said == "4 ranks keep 100.0 % of the baseline's rate per rank."


def test_exposed_communication_from_the_smallest_to_the_largest(study: Findings) -> None:
    said = takeaway(study, "scaling_step_time")
    assert (
        said
        == "Exposed communication takes 4.00 ms of a step at 2 ranks, 8.00 ms of a step at 4 ranks."
    )


def test_nothing_is_said_of_a_curve_without_baseline(study: Findings) -> None:
    assert study.scaling is not None
    curve = study.scaling.assign(
        efficiency=float("nan"), speed_up=float("nan"), baseline_size=0, exposed_s=float("nan")
    )
    broken = dataclasses.replace(study, scaling=curve)
    assert curve_sentence(broken) == ""
    for chart in ("scaling_throughput", "scaling_efficiency", "scaling_step_time"):
        assert takeaway(broken, chart) == ""


def test_a_plain_run(run_directory: Path) -> None:
    """forward 10, forward_backward 30, forward_backward_allreduce 40, train_step 45 ms, 8 images."""
    write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    found = find(load_run(run_directory))
    assert curve_sentence(found) == ""
    assert takeaway(found, "throughput") == (
        "train_step reaches 177.8 images/s, 66.7 % of forward_backward, which neither communicates "
        "nor updates."
    )
    assert takeaway(found, "step_time_split") == (
        "Backward is the largest part: 20.0 ms of 45.0 ms, 44.4 %."
    )
    assert takeaway(found, "distribution") == (
        "Half of the steps of train_step end within 45.00 ms; the slowest of 12 took 45.01 ms, 1.00 × that."
    )
    assert "red row" in takeaway(found, "heat_map")


def test_a_run_without_the_phases_says_nothing(run_directory: Path) -> None:
    only = [one for one in ladder_blocks() if one["phase"] == "forward"]
    write_run(run_directory, [only, only])
    found = find(load_run(run_directory))
    for chart in ("throughput", "step_time_split", "distribution", "a_chart_of_others"):
        assert takeaway(found, chart) == ""


def test_the_loss_by_its_largest_part_and_by_size(study: Findings) -> None:
    small = dataclasses.replace(budget(lost_s=0.003, low_s=0.002), size=2)
    found = dataclasses.replace(study, budgets=(small, budget()))
    assert takeaway(found, "loss_waterfall") == (
        "67 % of the loss is the part 'exposed communication': 4.00 ms of 6.00 ms."
    )
    assert takeaway(found, "loss_by_size") == (
        "2 ranks lose 7.5 points of efficiency, 4 ranks 15.0."
    )
    none = dataclasses.replace(study, budgets=())
    assert takeaway(none, "loss_waterfall") == takeaway(none, "loss_by_size") == ""
