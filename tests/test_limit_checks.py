from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from distbench.analysis.check import Check
from distbench.analysis.collect import Run, load_run
from distbench.analysis.limit_checks import limit_checks
from distbench.analysis.limits import find_limits
from distbench.analysis.summary import job_steps, summarise
from distbench.config import Config
from distbench.simulation.cluster import Cluster
from distbench.simulation.simulate import simulate
from tests.fakes import study_config, write_study


def checks_of(run: Run) -> list[Check]:
    jobs = job_steps(run.steps)
    summary = summarise(run.steps, jobs, run.grad_bytes)
    return list(limit_checks(run, find_limits(run, jobs, summary, None)))


def study_checks(directory: Path, **settings: float) -> list[Check]:
    """Of 1, 2 and 4 ranks on one node, which reduce 1 MB in 4.0 and 8.0 ms."""
    write_study(directory, study_config(**settings), [0, 0, 0, 0])
    return checks_of(load_run(directory))


def test_an_allreduce_below_the_wires_bound_is_called_wrong(run_directory: Path) -> None:
    # at 0.2 GB/s 2 ranks need 1 MB ÷ 0.2 GB/s = 5 ms, and 4 need 1.5 MB ÷ 0.2 GB/s = 7.5 ms
    (check,) = study_checks(run_directory, intra_link_gb_per_s=0.2)
    assert check.level == "suspect"
    assert check.text.startswith(
        "the allreduce of 2 ranks is wrong: it takes 4.003 ms, and their links (given) need at least "
        "5.000 ms for 1.000 MB. Was an allreduce pruned, or are --link-gb-per-s"
    )


@pytest.mark.parametrize(("speed", "found"), [(0.236, 1), (0.239, 0), (2.0, 0)])
def test_noise_and_rounded_speeds_are_allowed_for(
    speed: float, found: int, run_directory: Path
) -> None:
    # 4.0035 ms is 0.945 of the bound at 0.236 GB/s and 0.957 at 0.239
    assert len(study_checks(run_directory, intra_link_gb_per_s=speed)) == found


def test_links_that_work_at_once_are_not_called_wrong(run_directory: Path) -> None:
    # 2 nodes of 2: 0.5 MB at 0.1 GB/s = 5 ms between, and 1 MB at 0.2 GB/s = 5 ms inside
    config = study_config(link_gb_per_s=0.1, intra_link_gb_per_s=0.26)
    write_study(run_directory, config, [0, 0, 1, 1])
    run = load_run(run_directory)
    jobs = job_steps(run.steps)
    limits = find_limits(run, jobs, summarise(run.steps, jobs, run.grad_bytes), None)
    world = limits.frame.iloc[-1]
    assert world["overlapped_bound_s"] < world["allreduce_s"] < world["wire_bound_s"]
    assert list(limit_checks(run, limits)) == []


def test_links_measured_on_the_allreduces_do_not_judge_them(run_directory: Path) -> None:
    write_study(run_directory, study_config(), [0, 0, 0, 0])
    run = load_run(run_directory)
    jobs = job_steps(run.steps)
    limits = find_limits(run, jobs, summarise(run.steps, jobs, run.grad_bytes), None)
    assert limits.links.is_measured
    tenth = limits.frame.assign(allreduce_s=limits.frame["allreduce_s"] / 10)
    assert list(limit_checks(run, dataclasses.replace(limits, frame=tenth))) == []


def test_a_tenth_of_a_simulated_allreduces_time_is_found(run_directory: Path) -> None:
    config = Config(
        sizes=(1, 2, 4, 8), steps=12, blocks=6, rounds=6, output=str(run_directory), warmup_steps=1
    )
    simulate(Cluster(ranks=8, ranks_per_node=4, network_noise=0.02), config)
    run = load_run(run_directory)
    assert checks_of(run) == []
    allreduce = run.steps["phase"] == "allreduce"
    steps = run.steps.assign(
        duration_ns=run.steps["duration_ns"].where(~allreduce, run.steps["duration_ns"] // 10)
    )
    found = checks_of(dataclasses.replace(run, steps=steps))
    assert [check.text[:28] for check in found] == [
        "the allreduce of 2 ranks is ",
        "the allreduce of 4 ranks is ",
        "the allreduce of 8 ranks is ",
    ]
    assert "the simulated cluster's" in found[0].text


def test_more_than_the_peak_is_called_wrong_once_for_a_size(run_directory: Path) -> None:
    # forward of 2 images of 39.88 MFLOP in 10.0 to 10.2 ms is 7.8 GFLOP/s; what trains is below 7.75
    found = study_checks(run_directory, device_peak_tflops=0.0072)
    assert [check.level for check in found] == ["suspect"] * 3
    assert found[1].text.startswith(
        "forward of 2 rank(s) is wrong: it reaches 108.6 % of the device's peak (given with "
        "--device-peak-tflops). Was work pruned? If not, the peak is too low: correct "
        "--device-peak-tflops"
    )
    assert study_checks(run_directory.with_name("below"), device_peak_tflops=0.0078) == []


def test_winograds_products_are_fewer_than_an_mfu_counts(
    run_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(run_directory, study_config(device_peak_tflops=0.0072), [0, 0, 0, 0])
    run = load_run(run_directory)
    with_winograd = dataclasses.replace(
        run, config=dataclasses.replace(run.config, convolution="winograd")
    )
    monkeypatch.setattr(
        "distbench.analysis.limit_checks.share_of_macs", lambda network, images: 0.5
    )
    assert len(checks_of(run)) == 3
    assert checks_of(with_winograd) == []


def test_a_backward_pass_above_the_peak_is_seen_where_both_together_are_below(
    run_directory: Path,
) -> None:
    write_study(run_directory, study_config(device_peak_tflops=0.01), [0, 0, 0, 0])
    run = load_run(run_directory)
    # backward takes 30 - 16 = 14 ms for 2 × 78.88 MFLOP: 11.3 GFLOP/s; both together 7.9
    forward = run.steps["phase"] == "forward"
    slower = (run.steps["duration_ns"] * 1.6).astype("int64")
    steps = run.steps.assign(duration_ns=run.steps["duration_ns"].where(~forward, slower))
    found = checks_of(dataclasses.replace(run, steps=steps))
    assert found
    assert all(check.text.startswith("backward of") for check in found)


def test_a_measured_peak_judges_only_what_all_devices_did_at_once(run_directory: Path) -> None:
    write_study(run_directory, study_config(), [0, 0, 0, 0])
    run = load_run(run_directory)
    preflight = {"measured_peak": {"flops_per_s": 5e9}}
    ranks = tuple(dataclasses.replace(records, preflight=preflight) for records in run.ranks)
    (check,) = checks_of(dataclasses.replace(run, ranks=ranks))
    assert check.text.startswith("forward of 4 rank(s) is wrong")
    assert "the peak is too low: measure again" in check.text
