from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from distbench.analysis import scaling
from distbench.analysis.collect import Run, load_run
from distbench.analysis.statistics import Interval
from distbench.analysis.summary import job_steps
from distbench.config import Config
from tests.fakes import ladder_blocks, study_config, write_run, write_study

TWO_NODES = [0, 0, 1, 1]
# The median over six rounds of two steps, whose round b is longer by b µs. Alone, three ranks of four
# take 32 ms and one 2 % more: of 48 steps the 24th and the 25th are 32.004 and 32.005 ms.
ALONE_MS, TWO_MS, FOUR_MS = 32.0045, 36.6435, 40.6435


def round_ratio(own_ms: float, base_ms: float = 32.0) -> float:
    """Base ÷ own, the median over the rounds' own ratios, which grow: that of rounds 3 and 4.

    Alone, the median step of a round is that of the three equal ranks.
    """
    third, fourth = ((base_ms + b / 1000) / (own_ms + b / 1000) for b in (3, 4))
    return (third + fourth) / 2


def curve(directory: Path, config: Config, nodes: list[int], **changes: Any) -> pd.DataFrame:
    write_study(directory, config, nodes, **changes)
    run = load_run(directory)
    assert run.incomplete == ()
    found = scaling.scaling_frame(run, job_steps(run.steps))
    assert found is not None
    return found.set_index("size", drop=False)


def test_weak_scaling_by_hand(run_directory: Path) -> None:
    found = curve(run_directory, study_config(), TWO_NODES)
    assert found["size"].tolist() == [1, 2, 4]
    assert found["nodes"].tolist() == [1, 1, 2]
    assert found["batch_per_rank"].tolist() == [2, 2, 2]
    assert set(found["phase"]) == {"train_step"}
    step_ms = [ALONE_MS, TWO_MS, FOUR_MS]
    assert (found["step_s"] * 1e3).tolist() == pytest.approx(step_ms)
    rates = [size * 2 / ms * 1e3 for size, ms in zip((1, 2, 4), step_ms)]
    assert found["images_per_s"].tolist() == pytest.approx(rates)
    ratios = [1.0, round_ratio(36.64), round_ratio(40.64)]
    assert found["efficiency"].tolist() == pytest.approx(ratios, rel=1e-9)
    assert found["speed_up"].tolist() == pytest.approx([1, 2 * ratios[1], 4 * ratios[2]], rel=1e-9)


def test_the_interval_rests_on_the_rounds_own_ratios(run_directory: Path) -> None:
    row = curve(run_directory, study_config(), TWO_NODES).loc[4]
    # In round b the ranks alone take 32 + b / 1000 ms (median), four together 40.64 + b / 1000. Of six
    # rounds the bounds lie 5/14 of the way from the outermost to the next.
    ratios = [(32 + b / 1000) / (40.64 + b / 1000) for b in range(1, 7)]
    low, high = (end + (inner - end) * 5 / 14 for end, inner in (ratios[:2], ratios[:3:-1]))
    assert row["efficiency_low"] == pytest.approx(low, rel=1e-12)
    assert row["efficiency_high"] == pytest.approx(high, rel=1e-12)
    assert row["rounds"] == 6


def test_a_slowdown_in_the_middle_leaves_the_ratios_alone(run_directory: Path) -> None:
    # From block 4 on all is slower by half, and for the ranks alone from block 3 on, as where it
    # began within the round: whole phases' medians would then give 48 / 50.8.
    def hot(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        since = {"alone": 3}
        return [
            {**one, "duration_ns": [value * 3 // 2 for value in one["duration_ns"]]}
            if one["block"] >= since.get(one["role"], 4)
            else one
            for one in blocks
        ]

    row = curve(run_directory, study_config(), TWO_NODES, changed_blocks=hot).loc[4]
    assert row["efficiency"] == pytest.approx(32 / 40.64, rel=1e-4)
    assert row["exposed_s"] == pytest.approx(0.010, rel=1e-4)  # 8 ms in three rounds, 12 in three


def test_five_rounds_give_no_interval(run_directory: Path) -> None:
    config = study_config(steps=5, blocks=5, rounds=5)
    row = curve(run_directory, config, TWO_NODES).loc[4]
    assert math.isnan(row["efficiency_low"])
    assert math.isnan(row["step_s_high"])
    assert row["efficiency"] < 1


def test_the_baseline_is_named_and_is_a_distribution_over_ranks(run_directory: Path) -> None:
    found = curve(run_directory, study_config(), TWO_NODES)
    assert set(found["baseline"]) == {
        "size 1, no communication: median step of 4 ranks, each alone on its node"
    }
    run = load_run(run_directory)
    devices = scaling.baseline_devices(run, job_steps(run.steps), "train_step")
    assert [(device.rank, device.host) for device in devices] == [
        (0, "node-0"),
        (1, "node-0"),
        (2, "node-1"),
        (3, "node-1"),
    ]
    slow, fast = devices[1].images_per_s, devices[0].images_per_s
    assert fast == pytest.approx(2 / 32.0035e-3)
    assert slow == pytest.approx(2 / 32.6435e-3)


def test_without_size_one_the_smallest_size_is_the_baseline(run_directory: Path) -> None:
    found = curve(run_directory, study_config(sizes=(2, 4)), TWO_NODES)
    assert set(found["baseline"]) == {"size 2"}
    ratio = round_ratio(40.64, base_ms=36.64)
    assert found["efficiency"].tolist() == pytest.approx([1.0, ratio], rel=1e-9)
    assert found["speed_up"].tolist() == pytest.approx([1.0, 2 * ratio], rel=1e-9)


def test_one_size_alone_has_no_efficiency(run_directory: Path) -> None:
    found = curve(run_directory, study_config(sizes=(4,)), TWO_NODES)
    assert found.loc[4, "baseline"] == "none: one size was measured"
    assert math.isnan(found.loc[4, "efficiency"])
    assert math.isnan(found.loc[4, "speed_up"])


def test_strong_scaling_divides_the_batch(run_directory: Path) -> None:
    config = study_config(scaling="strong", global_batch=8, batch_size=2)
    found = curve(run_directory, config, TWO_NODES)
    assert found["batch_per_rank"].tolist() == [8, 4, 2]
    assert found["images_per_step"].tolist() == [8, 8, 8]
    # S(p) = T(1) / T(p) and E = S / p: these ranks take no less time for a smaller batch
    ratios = [1.0, round_ratio(36.64), round_ratio(40.64)]
    assert found["speed_up"].tolist() == pytest.approx(ratios, rel=1e-9)
    assert found.loc[4, "efficiency"] == pytest.approx(ratios[2] / 4, rel=1e-9)


def test_communication_of_each_size(run_directory: Path) -> None:
    found = curve(run_directory, study_config(), TWO_NODES)
    # forward_backward_allreduce is longer than forward_backward by 2 ms per rank, allreduce 2 p ms
    assert found["exposed_s"].tolist()[1:] == pytest.approx([0.004, 0.008])
    assert found.loc[4, "busbw_bytes_per_s"] == pytest.approx(1e6 / 8.0035e-3 * 1.5)
    assert found.loc[1, ["exposed_s", "allreduce_s", "busbw_bytes_per_s"]].isna().all()


def test_the_second_control_is_the_worlds(run_directory: Path) -> None:
    found = curve(run_directory, study_config(), TWO_NODES)
    assert found.loc[4, "independent_step_s"] == pytest.approx(32.6435e-3)
    assert found.loc[4, "efficiency_against_independent"] == pytest.approx(
        round_ratio(40.64, base_ms=32.64), rel=1e-9
    )
    assert found.loc[[1, 2], "efficiency_against_independent"].isna().all()


def test_without_training_the_curve_is_of_the_step_before_it(run_directory: Path) -> None:
    phases = ("forward_backward", "forward_backward_allreduce")
    found = curve(run_directory, study_config(phases=phases), TWO_NODES)
    assert set(found["phase"]) == {"forward_backward_allreduce"}
    assert found.loc[4, "efficiency"] == pytest.approx(round_ratio(38.6, base_ms=30.0), rel=1e-9)


def test_inference_alone_has_a_curve_too(run_directory: Path) -> None:
    found = curve(run_directory, study_config(phases=("forward", "allreduce")), TWO_NODES)
    assert set(found["phase"]) == {"forward"}
    # the slowest rank takes 2 % longer, with nothing to wait for
    assert found.loc[4, "efficiency"] == pytest.approx(round_ratio(10.2, base_ms=10.0), rel=1e-9)


def test_the_allreduce_alone_makes_no_curve(run_directory: Path) -> None:
    write_study(run_directory, study_config(phases=("allreduce",)), TWO_NODES)
    run = load_run(run_directory)
    assert scaling.scaling_frame(run, job_steps(run.steps)) is None


@pytest.mark.parametrize("lost", [b'"role":"alone"', b'"phase":"train_step"'])
def test_a_run_that_lost_records_takes_no_other_baseline_and_no_other_phase(
    run_directory: Path, lost: bytes
) -> None:
    layout = write_study(run_directory, study_config(), TWO_NODES)
    for path in sorted(layout.raw.iterdir())[-1:] if b"train" in lost else layout.raw.iterdir():
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(line for line in lines if lost not in line))
    run = load_run(run_directory)
    assert run.incomplete
    found = scaling.scaling_frame(run, job_steps(run.steps))
    assert found is not None
    assert set(found["phase"]) == {"train_step"}
    if b"alone" in lost:
        assert found["size"].tolist() == [2, 4]
        assert set(found["baseline"]) == {"none: size 1 is incomplete"}
        assert found["efficiency"].isna().all()
    else:
        assert found["size"].tolist() == [1, 2]
        assert found["efficiency"].notna().all()


def test_a_plain_run_is_one_point(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    run: Run = load_run(run_directory)
    found = scaling.scaling_frame(run, job_steps(run.steps))
    assert found is not None
    assert found[["size", "group"]].to_numpy().tolist() == [[2, "world"]]
    assert math.isnan(found["efficiency"].iloc[0])


def test_a_lone_ranks_study_is_its_own_baseline(run_directory: Path) -> None:
    found = curve(run_directory, study_config(sizes=(1,)), [0])
    assert found.loc[1, "baseline"] == "size 1 (no communication)"
    assert found.loc[1, "efficiency"] == 1.0


def test_widening_keeps_what_is_not_there() -> None:
    assert scaling.widened(Interval(1.0, 2.0, 6), 2.5) == Interval(1.0, 2.5, 6)
    assert math.isnan(scaling.widened(Interval(math.nan, math.nan, 5), 2.5).low)
