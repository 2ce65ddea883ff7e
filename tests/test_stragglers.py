from __future__ import annotations

from pathlib import Path

import pytest

from distbench.analysis.collect import load_run
from distbench.analysis.stragglers import find_stragglers
from tests.fakes import ladder_blocks, write_run


def write_scaled(directory: Path, *scales: float) -> None:
    write_run(
        directory,
        [[{**one, "group_size": len(scales)} for one in ladder_blocks(scale)] for scale in scales],
    )


def test_the_named_carry_their_evidence_the_slowest_first(run_directory: Path) -> None:
    write_scaled(run_directory, 1.0, 1.0, 1.1, 1.0, 1.2, 1.0)
    found = find_stragglers(load_run(run_directory))
    assert found is not None
    assert [straggler.rank for straggler in found.named] == [4, 2]
    slowest = found.named[0]
    assert (slowest.host, slowest.device) == ("node", "a processor")
    assert slowest.relative_lag == pytest.approx(0.2)
    assert slowest.relative_lag_low <= slowest.relative_lag <= slowest.relative_lag_high
    assert slowest.since_block is None
    assert slowest.evidence.startswith("Rank 4 on node (a processor) computes 20.0 % (")
    assert found.verdict.startswith("2 of 6 ranks hold the others up: ranks 2 and 4 on node")
    assert found.notes[-1].startswith("The slowest rank of a step takes ")


def test_nobody_is_named_where_all_measure_the_same(run_directory: Path) -> None:
    write_scaled(run_directory, 1.0, 1.0, 1.0)
    found = find_stragglers(load_run(run_directory))
    assert found is not None
    assert found.named == ()
    assert found.verdict.startswith("No straggler: the 3 ranks are alike within 0.0 %")


def test_there_is_nothing_to_find_without_two_ranks_or_a_phase_that_computes(
    run_directory: Path, tmp_path: Path
) -> None:
    write_scaled(run_directory, 1.0)
    assert find_stragglers(load_run(run_directory)) is None
    blocks = [one for one in ladder_blocks() if one["phase"] == "allreduce"]
    write_run(tmp_path / "other", [blocks, blocks])
    assert find_stragglers(load_run(tmp_path / "other")) is None


def test_the_same_records_give_the_same_findings(run_directory: Path) -> None:
    write_scaled(run_directory, 1.0, 1.01, 1.2, 0.99)
    first, second = (find_stragglers(load_run(run_directory)) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.scores.equals(second.scores)
    for one, other in zip(vars(first).values(), vars(second).values()):
        assert repr(one) == repr(other)
