from __future__ import annotations

from pathlib import Path

import pytest

from distbench.analysis.compared_launches import read_compared
from distbench.analysis.studies import FinishedLaunch
from distbench.errors import RecordsError
from tests.fakes import block, ladder_blocks, study_config, write_run, write_study


def finished(directory: Path, cell: str = "", **varied: str) -> FinishedLaunch:
    return FinishedLaunch(cell, 2, varied, "local", "", directory)


def test_a_plain_run_gives_the_rounds_of_its_one_size(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks(scale=2.0)])
    found = read_compared(finished(run_directory))
    assert list(found.timings) == [
        (2, phase)
        for phase in (
            "forward",
            "forward_backward",
            "allreduce",
            "forward_backward_allreduce",
            "train_step",
        )
    ]
    step = found.timings[2, "train_step"]
    # rank 1 is the slower one: 2 · (45 + b / 1000) ms in block b
    assert step.rounds_s == {
        block: pytest.approx(0.09 + 2e-6 * block, abs=1e-9) for block in range(1, 7)
    }
    assert step.step_s == pytest.approx(0.090007, abs=1e-9)
    assert step.images == 8
    assert (found.curve_phase, found.measures_sizes_together) == ("train_step", False)
    assert (found.network[:8], found.devices) == ("NOT VGG:", "CPUs")
    assert (found.name, found.obstacles) == ("", ())


def test_a_study_gives_every_size_and_no_control(run_directory: Path) -> None:
    write_study(run_directory, study_config(), nodes=[0, 0, 0, 0])
    found = read_compared(finished(run_directory, "config D", size="4", config="D"))
    assert sorted({size for size, _ in found.timings}) == [1, 2, 4]
    assert (1, "allreduce") not in found.timings
    assert (2, "allreduce") in found.timings
    assert found.timings[1, "train_step"].images == 2
    assert found.timings[4, "train_step"].images == 8
    assert found.measures_sizes_together
    assert found.name == "config D, launch 2"
    assert found.varied == {"config": "D"}


def test_what_makes_a_run_invalid_or_suspect_is_kept(run_directory: Path) -> None:
    blocks = [
        one if one["phase"] != "forward_backward" else {**one, "duration_ns": [11_000_000] * 2}
        for one in ladder_blocks()
    ]
    write_run(run_directory, [blocks, blocks], unfinished=[1])
    found = read_compared(finished(run_directory))
    assert any("rank 1 has no end line" in why for why in found.obstacles)
    assert any("forward_backward takes 1.10 × forward" in why for why in found.warnings)


def test_a_simulated_run_says_so(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()], header_changes={"simulated": True})
    found = read_compared(finished(run_directory))
    assert found.network.startswith("SIMULATED: ")
    assert found.facts["simulated"] == "yes"


def test_a_run_without_a_whole_step_cannot_be_compared(run_directory: Path) -> None:
    write_run(run_directory, [[block("forward", 0, [5.0], warmup=True)]] * 2)
    with pytest.raises(RecordsError, match="nothing to compare"):
        read_compared(finished(run_directory))
