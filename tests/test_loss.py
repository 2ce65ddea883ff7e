"""Budgets of studies whose parts are known: by hand, or from the model of a simulated cluster."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from distbench.analysis.collect import load_run
from distbench.analysis.limits import links_of
from distbench.analysis.loss import LossBudget, loss_budgets, loss_frame
from distbench.analysis.loss_ladder import (
    BEYOND,
    COMMUNICATION_AND_OPTIMIZER,
    COMPUTING,
    EXPOSED,
    OPTIMIZER,
    OVERHEAD,
    RESIDUAL,
    WAITING,
    WIRE,
)
from distbench.analysis.scaling import scaling_frame
from distbench.analysis.summary import job_steps
from distbench.config import Config
from distbench.resolving import resolve
from distbench.simulation.cluster import Cluster, SlowRank
from distbench.simulation.simulate import simulate
from tests.fakes import block, study_config, write_run, write_study
from tests.test_loss_ladder import slower_with_itself

MS = 1e-3
QUIET = {"noise": 0.0, "network_noise": 0.0}
BACKWARD_MS = 0.67 * 128.0  # a batch of 32 at 250 images/s, a third of it forward
TOLERANCE_MS = 0.0015  # block b is longer by b µs, and medians over blocks differ by one of them
D_BYTES = 553_430_176  # the gradients of configuration D


def budgets_of(directory: Path) -> tuple[LossBudget, ...]:
    run = load_run(directory)
    jobs = job_steps(run.steps)
    scaling = scaling_frame(run, jobs) if run.config.sizes else None
    return loss_budgets(run, jobs, scaling, links_of(run, jobs))


def parts_ms(budget: LossBudget) -> dict[str, float]:
    return {part.name: part.loss_s / MS for part in budget.parts}


def assert_sums(budget: LossBudget) -> None:
    assert math.fsum(part.loss_s for part in budget.parts) == pytest.approx(
        budget.measured_s - budget.ideal_s, abs=1e-12
    )
    assert math.fsum(part.share for part in budget.parts) == pytest.approx(
        1 - budget.efficiency, abs=1e-12
    )
    for part in budget.parts:
        assert part.low_s <= part.loss_s <= part.high_s
        assert part.share_low <= part.share <= part.share_high
        assert part.share == pytest.approx(part.loss_s / budget.measured_s)


def study(directory: Path, **changes: Any) -> tuple[LossBudget, ...]:
    """Four ranks on two nodes; 22.5 ms of wire between them, 1.5 ms of Horovod's own overhead."""
    links = {"link_gb_per_s": 0.04, "intra_link_gb_per_s": 0.1}
    config = study_config(**{**links, **changes})
    write_study(directory, config, [0, 0, 1, 1], changed_blocks=slower_with_itself)
    return budgets_of(directory)


def test_every_part_of_a_study_by_hand(run_directory: Path) -> None:
    two, four = study(run_directory)
    assert (two.size, two.nodes, four.size, four.nodes) == (2, 1, 4, 2)
    for budget in (two, four):
        assert (budget.phase, budget.scaling, budget.has_baseline) == ("train_step", "weak", True)
        assert budget.baseline.startswith("size 1, no communication")
        assert budget.ideal_s == pytest.approx(32.0035 * MS, abs=TOLERANCE_MS * MS)
        assert_sums(budget)
    # rank 1 is 2 % slower: of two ranks the typical one computes for (30 + 30.6) / 2 ms
    assert two.measured_s == pytest.approx(36.6435 * MS)
    expected = {COMPUTING: 0.3, WAITING: 0.3, OVERHEAD: 1.5, WIRE: 0.0, BEYOND: 2.5}
    expected |= {OPTIMIZER: 0.04, RESIDUAL: 0.0}
    assert parts_ms(two) == pytest.approx(expected, abs=TOLERANCE_MS)
    # of the 22.5 ms on the wire backward hides 30.6 - 10.2; 8 ms are exposed in all
    expected = {COMPUTING: 0.0, WAITING: 0.6, OVERHEAD: 1.5, WIRE: 2.1, BEYOND: 4.4}
    expected |= {OPTIMIZER: 0.04, RESIDUAL: 0.0}
    assert parts_ms(four) == pytest.approx(expected, abs=TOLERANCE_MS)
    assert four.largest.name == BEYOND
    assert four.efficiency == pytest.approx(32.004 / 40.6435, abs=1e-4)
    assert (four.exposed_s, four.allreduce_s) == pytest.approx((8.0 * MS, 8.0035 * MS))
    assert not four.is_disturbed
    assert not four.residual_is_large
    assert four.is_clear


def test_the_budget_agrees_with_the_curve(run_directory: Path) -> None:
    budgets = study(run_directory)
    run = load_run(run_directory)
    curve = scaling_frame(run, job_steps(run.steps))
    assert curve is not None
    rows = curve.set_index("size")
    for budget in budgets:
        row = rows.loc[budget.size]
        assert budget.measured_s == row["step_s"]
        assert budget.efficiency == pytest.approx(row["efficiency"], rel=1e-14)
        parts = parts_ms(budget)
        exposed = parts[OVERHEAD] + parts[WIRE] + parts[BEYOND]
        assert exposed == pytest.approx(row["exposed_s"] / MS)
        assert budget.exposed_s == row["exposed_s"]


def test_the_baseline_need_not_be_one_rank(run_directory: Path) -> None:
    (four,) = study(run_directory, sizes=(2, 4))
    assert_sums(four)
    # of two ranks computing took 30.3 and 30.6 ms and 4 were exposed, of four 30, 30.6 and 8
    expected = {COMPUTING: -0.3, WAITING: 0.3, WIRE: 2.1, BEYOND: 1.9, OPTIMIZER: 0.0}
    assert parts_ms(four) == pytest.approx({**expected, RESIDUAL: 0.0}, abs=TOLERANCE_MS)
    assert "study with size 1" in four.notes[0]


def test_phases_that_were_not_run(run_directory: Path) -> None:
    config = study_config(phases=("forward_backward", "train_step"))
    write_study(run_directory, config, [0] * 4)
    four = budgets_of(run_directory)[-1]
    # 40.64 - 32 ms: rank 1 alone takes 0.6, the rest is not told apart
    expected = {COMPUTING: 0.0, WAITING: 0.6, COMMUNICATION_AND_OPTIMIZER: 8.04, RESIDUAL: 0.0}
    assert parts_ms(four) == pytest.approx(expected, abs=TOLERANCE_MS)
    assert "one part" in four.notes[0]
    assert math.isnan(four.exposed_s)
    assert not four.is_disturbed


def test_without_computing_alone_all_is_residual(run_directory: Path) -> None:
    write_study(run_directory, study_config(phases=("train_step",)), [0] * 4)
    four = budgets_of(run_directory)[-1]
    assert parts_ms(four) == pytest.approx({RESIDUAL: 8.64}, abs=TOLERANCE_MS)
    assert four.residual_is_large
    assert four.largest is four.residual
    assert_sums(four)


@pytest.mark.parametrize("phase", ["forward", "forward_backward"])
def test_a_curve_of_computing_can_only_wait(run_directory: Path, phase: str) -> None:
    write_study(run_directory, study_config(phases=(phase,)), [0] * 4)
    four = budgets_of(run_directory)[-1]
    waiting = {"forward": 0.2, "forward_backward": 0.6}[phase]
    assert parts_ms(four) == pytest.approx(
        {COMPUTING: 0.0, WAITING: waiting, RESIDUAL: 0.0}, abs=TOLERANCE_MS
    )
    assert four.notes == ()


def test_a_curve_of_allreduces_has_no_budget(run_directory: Path) -> None:
    write_study(run_directory, study_config(phases=("allreduce",)), [0] * 4)
    assert budgets_of(run_directory) == ()


def test_no_baseline_no_budget(run_directory: Path) -> None:
    def without_alone(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [one for one in blocks if one["role"] != "alone"]

    write_study(run_directory, study_config(), [0] * 4, changed_blocks=without_alone)
    assert budgets_of(run_directory) == ()


def test_few_rounds_give_a_budget_without_intervals(run_directory: Path) -> None:
    config = study_config(rounds=5, blocks=5)
    write_study(run_directory, config, [0] * 4)
    four = budgets_of(run_directory)[-1]
    assert parts_ms(four)[WAITING] == pytest.approx(0.6)
    assert all(math.isnan(part.low_s) and math.isnan(part.share_high) for part in four.parts)
    assert four.is_clear


def ladder_run(directory: Path, times: dict[str, float], **changes: Any) -> LossBudget:
    """One size of two ranks in six rounds; rank 1 computes 2 ms longer."""
    ranks = [
        [
            block(phase, index, [time_ms + (2 * rank if "back" in phase else 0) + index / 1000] * 2)
            for index in range(1, 7)
            for phase, time_ms in times.items()
        ]
        for rank in range(2)
    ]
    write_run(directory, ranks, **changes)
    (budget,) = budgets_of(directory)
    return budget


LADDER = {
    "forward": 10.0,
    "forward_backward": 30.0,
    "allreduce": 20.0,
    "forward_backward_allreduce": 45.0,
    "train_step": 50.0,
}


def test_one_size_is_held_against_its_own_computing(run_directory: Path) -> None:
    budget = ladder_run(run_directory, LADDER)
    # ranks compute for 30 and 32 ms, a typical one for 31; the link is as fast as the allreduce:
    # 20 ms less the 22 of backward are nothing
    assert not budget.has_baseline
    assert budget.baseline == "none measured: the typical rank's own computing"
    assert budget.ideal_s == pytest.approx(31.0035 * MS)
    assert budget.measured_s == pytest.approx(50.0035 * MS)
    expected = {WAITING: 1.0, WIRE: 0.0, BEYOND: 15.0, OPTIMIZER: 3.0, RESIDUAL: 0.0}
    assert parts_ms(budget) == pytest.approx(expected, abs=TOLERANCE_MS)
    assert_sums(budget)
    assert "fastest allreduce" in budget.notes[-1]
    assert budget.device_kind == "CPU"
    assert not budget.is_simulated


def test_one_rank_has_no_budget(run_directory: Path) -> None:
    write_run(run_directory, [[block("train_step", 1, [10.0], group_size=1)]])
    assert budgets_of(run_directory) == ()


def test_interference_is_more_exposed_than_the_allreduce_takes(run_directory: Path) -> None:
    budget = ladder_run(run_directory, {**LADDER, "allreduce": 12.9})
    assert budget.is_disturbed  # 15 ms of 12.9
    assert parts_ms(budget)[BEYOND] == pytest.approx(15.0)
    assert not budget.is_below_computing


def test_negative_communication_is_not_clipped(run_directory: Path) -> None:
    budget = ladder_run(run_directory, {**LADDER, "forward_backward_allreduce": 29.0})
    assert budget.is_below_computing
    assert not budget.is_disturbed
    # 31 - 32 ms, and the optimizer has what is missing: 50 - 31
    expected = {WAITING: 1.0, WIRE: 0.0, BEYOND: -1.0, OPTIMIZER: 19.0, RESIDUAL: 0.0}
    assert parts_ms(budget) == pytest.approx(expected, abs=TOLERANCE_MS)


def test_medians_that_do_not_add_up_are_the_residual(run_directory: Path) -> None:
    # forward_backward of rounds 1-3 takes 30, of 4-6 40; what follows takes 10, then 0 or 30 more.
    # Medians: waiting 0, exposed of 10, 10, 10, 0, 30, 30 is 10, the ideal is 35, the step 40 or 70.
    computed = [30, 30, 30, 40, 40, 40]
    reduced = [40, 40, 40, 40, 70, 70]
    blocks = [
        block(phase, index, [float(time)] * 2)
        for phase, times in (
            ("forward_backward", computed),
            ("forward_backward_allreduce", reduced),
        )
        for index, time in enumerate(times, start=1)
    ]
    write_run(run_directory, [blocks, blocks])
    (budget,) = budgets_of(run_directory)
    assert budget.ideal_s == pytest.approx(35 * MS)
    assert budget.measured_s == pytest.approx(40 * MS)
    assert parts_ms(budget) == pytest.approx({WAITING: 0.0, EXPOSED: 10.0, RESIDUAL: -5.0})
    assert budget.residual_is_large  # 5 of 5 ms
    assert_sums(budget)


Simulated = Callable[..., tuple[tuple[LossBudget, ...], dict[str, Any]]]


@pytest.fixture
def simulated(tmp_path: Path) -> Simulated:
    """The budgets of eight ranks on two nodes, and the true values."""

    def run(parameters: dict[str, Any], **settings: Any) -> Any:
        directory = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        cluster = Cluster(**{"ranks": 8, "ranks_per_node": 4, **parameters})
        given = {"sizes": (1, 2, 4, 8), "steps": 30, "warmup_steps": 1, "output": str(directory)}
        config: Config = resolve({**given, **settings}, on_gpu=True, world_size=8)
        _, truth = simulate(cluster, config)
        return budgets_of(directory), {row["size"]: row for row in truth["without_noise"]}

    return run


def test_a_slow_rank_costs_what_it_is_slower(simulated: Simulated) -> None:
    slow = (SlowRank(5, 1.05),)
    budgets, truth = simulated({**QUIET, "slow_rank": slow, "inter_gb_per_s": 100.0})
    assert [budget.size for budget in budgets] == [2, 4, 8]
    for budget in budgets:
        assert_sums(budget)
        assert budget.is_simulated
        assert budget.efficiency == pytest.approx(truth[budget.size]["efficiency"])
    assert [parts_ms(budget)[WAITING] for budget in budgets] == pytest.approx([0, 0, 6.4])
    assert budgets[-1].largest.name == WAITING
    assert parts_ms(budgets[-1])[COMPUTING] == pytest.approx(0.0, abs=TOLERANCE_MS)


def test_a_slow_link_is_the_wires(simulated: Simulated) -> None:
    budgets, truth = simulated({**QUIET, "inter_gb_per_s": 1.0})
    _, four, eight = budgets
    inside_ms = 2 * 3 / 4 * D_BYTES / 100e9 / MS
    between_ms = 2 * 1 / 2 * D_BYTES / 4 / 1e9 / MS
    parts = parts_ms(eight)
    assert parts[WIRE] == pytest.approx(inside_ms + between_ms - BACKWARD_MS)
    exposed_ms = truth[8]["exposed_s"] / MS
    assert parts[OVERHEAD] + parts[WIRE] + parts[BEYOND] == pytest.approx(exposed_ms)
    assert parts[BEYOND] < 0.1 * parts[WIRE]
    assert eight.largest.name == WIRE
    assert parts_ms(four)[WIRE] == 0.0  # 8.3 ms inside a node, which backward hides
    assert_sums(eight)


def test_horovods_overhead_is_the_wait_for_its_cycle(simulated: Simulated) -> None:
    # 32 images at 256 /s take 125 ms; at 251.2 /s 127.389 ms, and the cycle is at 128 ms
    on_the_dot, _ = simulated({**QUIET, "images_per_s": 256.0})
    between, _ = simulated({**QUIET, "images_per_s": 251.2})
    assert parts_ms(on_the_dot[0])[OVERHEAD] == pytest.approx(0.0, abs=0.001)
    assert parts_ms(between[0])[OVERHEAD] == pytest.approx(128 - 32 / 0.2512, abs=0.001)


def test_an_optimizer_does_not_shrink_with_the_batch(simulated: Simulated) -> None:
    cluster = {**QUIET, "optimizer_ms": 20.0, "inter_gb_per_s": 100.0}
    budgets, truth = simulated(cluster, scaling="strong", global_batch=256)
    for budget in budgets:
        share = 1 / budget.size  # of the baseline's step, whose optimizer takes 20 ms as well
        assert parts_ms(budget)[OPTIMIZER] == pytest.approx(20 * (1 - share))
        assert budget.ideal_s == pytest.approx((256 / 250 + 0.02) * share)
        assert budget.efficiency == pytest.approx(truth[budget.size]["efficiency"])
        assert budget.largest.name == OPTIMIZER
        assert_sums(budget)


def test_with_noise_the_intervals_hold_the_truth(simulated: Simulated) -> None:
    """Of 6 runs with 95 % each, 3 or fewer hold a value once in 400 times."""
    cluster = {"slow_rank": (SlowRank(5, 1.05),)}
    quiet, _ = simulated({**QUIET, **cluster}, sizes=(1, 8), steps=12)
    truth = parts_ms(quiet[-1])
    held = dict.fromkeys((WAITING, WIRE), 0)
    for seed in range(6):
        noisy = {**cluster, "noise": 0.005, "network_noise": 0.005}
        budgets, _ = simulated(noisy, seed=seed, sizes=(1, 8), steps=60)
        assert_sums(budgets[-1])
        for part in budgets[-1].parts:
            if part.name in held:
                held[part.name] += part.low_s <= truth[part.name] * MS <= part.high_s
    assert min(held.values()) >= 4, held


def test_the_frame_has_every_part_and_sums_exactly(run_directory: Path) -> None:
    budgets = study(run_directory)
    frame = loss_frame(budgets)
    assert frame["size"].tolist() == [2] * 7 + [4] * 7
    assert frame["part"].tolist()[-1] == RESIDUAL
    for budget, rows in zip(budgets, (frame[frame["size"] == size] for size in (2, 4))):
        assert rows["loss_s"].sum() == pytest.approx(budget.loss_s, abs=1e-12)
        assert rows["share_of_loss"].sum() == pytest.approx(1.0)
        assert rows["share"].sum() == pytest.approx(1 - budget.efficiency)
        assert (rows["step_loss_s"] == budget.loss_s).all()
    assert loss_frame(()).empty
    assert isinstance(frame, pd.DataFrame)
