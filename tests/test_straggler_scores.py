from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distbench.analysis.collect import load_run
from distbench.analysis.rank_grid import computing_grid
from distbench.analysis.straggler_scores import Comparison, compare_ranks
from distbench.simulation.cluster import SlowRank, Spike
from tests.fakes import MS, block, study_config, write_run, write_study
from tests.test_arrivals import meeting_blocks

Factor = Callable[[int, int], float]  # of a rank at a step


def compared(directory: Path) -> Comparison:
    run = load_run(directory)
    grid = computing_grid(run.steps)
    assert grid is not None
    return compare_ranks(run, grid)


def written(
    directory: Path, ranks: int, factor: Factor, steps: int = 60, seed: int = 0
) -> Comparison:
    """Ten blocks of forward_backward of 100 ms with 1 % of noise, times a factor."""
    noise = np.exp(0.01 * np.random.default_rng(seed).standard_normal((ranks, steps)))
    each = steps // 10
    by_rank = []
    for rank in range(ranks):
        times = [100 * noise[rank, step] * factor(rank, step) for step in range(steps)]
        by_rank.append(
            [
                block(
                    "forward_backward",
                    index + 1,
                    times[index * each : (index + 1) * each],
                    group_size=ranks,
                )
                for index in range(10)
            ]
        )
    write_run(directory, by_rank)
    return compared(directory)


def named(found: Comparison) -> list[int]:
    return found.scores.loc[found.scores["is_straggler"], "rank"].tolist()


def slow(ranks: Sequence[int], by: float) -> Factor:
    return lambda rank, step: by if rank in ranks else 1.0


@pytest.mark.parametrize("ranks", [2, 3, 8, 16])
def test_a_slow_rank_is_named_and_its_interval_holds_the_truth(
    run_directory: Path, ranks: int
) -> None:
    found = written(run_directory, ranks, slow([1], 1.05))
    assert named(found) == [1]
    row = found.scores.set_index("rank").loc[1]
    assert row["relative_lag_low"] < 0.05 < row["relative_lag_high"]
    assert row["relative_lag"] == pytest.approx(0.05, abs=0.006)
    assert row["z"] > 10
    assert not row["became_slow"]
    assert (found.phase, found.steps_per_rank, found.units) == ("forward_backward", 60, 20)


@pytest.mark.parametrize("ranks", [2, 3, 8, 16])
def test_ranks_that_are_alike_are_named_by_nobody(run_directory: Path, ranks: int) -> None:
    found = written(run_directory, ranks, slow([], 1.0))
    assert named(found) == []
    assert not found.is_uneven
    assert found.gain == 0.0
    assert found.slowdown == found.slowdown_without > 1.0
    assert 0.01 <= found.least_named < 0.05


def test_several_and_whole_nodes_are_named(run_directory: Path) -> None:
    assert named(written(run_directory, 16, slow([4, 5, 6, 7], 1.05))) == [4, 5, 6, 7]


def test_evenly_spread_devices_are_uneven_and_none_is_named(run_directory: Path) -> None:
    found = written(run_directory, 8, lambda rank, step: 1 + 0.02 * rank)
    assert named(found) == []
    assert found.is_uneven


def test_a_lag_below_a_per_cent_is_not_worth_a_name(run_directory: Path) -> None:
    found = written(run_directory, 64, slow([5], 1.008), steps=1000)
    row = found.scores.set_index("rank").loc[5]
    assert row["z"] > 10  # as sure as can be
    assert named(found) == []
    assert found.least_named == pytest.approx(0.01)


def test_a_noisy_rank_is_no_slow_one(run_directory: Path) -> None:
    noisy = np.exp(0.15 * np.random.default_rng(7).standard_normal(60))
    found = written(run_directory, 8, lambda rank, step: noisy[step] if rank == 2 else 1.0)
    row = found.scores.set_index("rank").loc[2]
    assert row["relative_lag_high"] - row["relative_lag_low"] > 0.05
    assert named(found) == []


def test_a_rank_that_became_slow_is_named_with_the_block(run_directory: Path) -> None:
    late = 36  # of 60 steps: after the sixth of ten blocks
    found = written(
        run_directory, 8, lambda rank, step: 1.06 if rank == 3 and step >= late else 1.0
    )
    row = found.scores.set_index("rank").loc[3]
    assert named(found) == [3]
    assert row["became_slow"]
    assert row["own_change_block"] == 7
    assert row["own_change"] == pytest.approx(0.06, abs=0.01)
    assert row["late_lag"] == pytest.approx(0.06, abs=0.01)
    assert row["relative_lag"] == pytest.approx(0.024, abs=0.01)


def test_a_rank_that_became_fast_is_not_named(run_directory: Path) -> None:
    found = written(run_directory, 8, lambda rank, step: 0.94 if rank == 3 and step >= 30 else 1.0)
    assert named(found) == []


def test_a_shared_thermal_step_is_nobodys_fault(run_directory: Path) -> None:
    found = written(run_directory, 8, lambda rank, step: 1.3 if step >= 30 else 1.0)
    assert named(found) == []


def test_spikes_are_counted_and_cost_what_the_others_wait(run_directory: Path) -> None:
    found = written(run_directory, 4, lambda rank, step: 5.0 if (rank, step) == (2, 30) else 1.0)
    row = found.scores.set_index("rank").loc[2]
    assert named(found) == []
    assert (row["spikes"], found.scores["spikes"].sum()) == (1, 1)
    assert row["longest_spike"] == pytest.approx(5.0, rel=0.05)
    # 400 of about 60 × 101 + 400 ms
    assert row["spike_share"] == pytest.approx(400 / 6460, rel=0.05)


def test_waiting_for_the_slowest_follows_the_formulas(run_directory: Path) -> None:
    times = [[10.0, 20.0, 10.0], [10.0, 10.0, 40.0]]
    write_run(run_directory, [[block("forward_backward", 1, own)] for own in times])
    found = compared(run_directory)
    assert found.slowdown == pytest.approx((10 + 20 + 40) / (100 / 2))
    # where two are equally slow, the first of them is taken for the slowest
    assert found.scores["slowest_share"].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert not found.was_tested


@pytest.mark.parametrize("is_slow_alone", [True, False])
def test_a_study_shows_whether_a_rank_is_slow_alone(
    run_directory: Path, is_slow_alone: bool
) -> None:
    def changed(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        factor = 1.0 if is_slow_alone or blocks[0]["group"] != "alone-00001" else 1 / 1.02
        durations = [round(factor * time) for time in blocks[0]["duration_ns"]]
        return [{**blocks[0], "duration_ns": durations}]

    write_study(run_directory, study_config(), [0] * 4, changed_blocks=changed)
    found = compared(run_directory)
    assert named(found) == [1]  # it is 2 % slower in every study of fakes.py
    row = found.scores.set_index("rank").loc[1]
    assert row["relative_lag"] == pytest.approx(0.02, abs=1e-4)
    assert row["alone_lag"] == pytest.approx(0.02 if is_slow_alone else 0.0, abs=1e-4)
    assert found.scores["alone_lag"].notna().all()


def test_without_a_study_nothing_is_known_of_ranks_alone(run_directory: Path) -> None:
    found = written(run_directory, 3, slow([], 1.0))
    assert found.scores[["alone_lag", "alone_lag_low", "alone_lag_high"]].isna().all(axis=None)


@pytest.mark.parametrize(("between_ms", "is_late"), [(0.7, True), (0.05, False)])
def test_late_without_slow_steps_is_another_reason(
    run_directory: Path, between_ms: float, is_late: bool
) -> None:
    """Rank 2 loses time between the two steps of a block; less than 1 % of it does not matter."""
    blocks = meeting_blocks([[10.0, 10.0, 10.0]] * 12, [0, 5, 10**9])
    for rank, of_rank in enumerate(blocks):
        between_ns = round(between_ms * MS) if rank == 2 else 0
        for one in of_rank:
            first_ns = one["start_ns"][0]
            one["start_ns"] = [first_ns, first_ns + 5 * MS + between_ns]
            one["duration_ns"] = [5 * MS, 5 * MS]
    write_run(run_directory, blocks)
    scores = compared(run_directory).scores.set_index("rank")
    assert scores.loc[2, "last_arrivals"] == scores.loc[2, "meetings"] == 11
    assert scores["is_late"].tolist() == [False, False, is_late]
    assert not scores["is_straggler"].any()


def test_a_simulated_cluster_is_read_from_its_files(tmp_path: Path) -> None:
    from distbench.config import Config
    from distbench.simulation.cluster import Cluster
    from distbench.simulation.simulate import simulate

    cluster = Cluster(
        ranks=8,
        ranks_per_node=4,
        noise=0.02,
        autocorrelation=0.6,
        slow_rank=(SlowRank(6, 1.05),),
        spike=(Spike(2, 0.5, 10.0),),
    )
    config = Config(phases=("forward", "forward_backward"), output=str(tmp_path / "run"))
    simulate(cluster, config)
    found = compared(tmp_path / "run")
    row = found.scores.set_index("rank").loc[6]
    assert named(found) == [6]
    assert row["relative_lag_low"] < 0.05 < row["relative_lag_high"]
    assert (row["host"], row["device"]) == (
        "simulated-node-001",
        "simulated device, simulated-00006",
    )
    assert row["last_arrivals"] > row["meetings"] / 2
