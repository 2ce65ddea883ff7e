from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from distbench.analysis.collect import load_run
from distbench.report import plots, tables
from distbench.report.build import find
from distbench.report.findings import arithmetic, title
from distbench.report.scaling_tables import nvidia_table
from tests.fakes import ladder_blocks, study_config, write_run, write_study


def test_a_studys_title_names_its_sizes(run_directory: Path) -> None:
    write_study(run_directory, study_config(), [0, 0, 1, 1])
    assert title(load_run(run_directory)).endswith("batch 2 per rank, on 1, 2 and 4 CPUs")


def test_a_strong_study_says_so(run_directory: Path) -> None:
    config = study_config(scaling="strong", global_batch=8, sizes=(2, 4))
    write_study(run_directory, config, [0, 0, 1, 1])
    assert title(load_run(run_directory)).endswith(
        "global batch 8 (strong scaling), on 2 and 4 CPUs"
    )


@pytest.mark.parametrize(("ranks", "devices"), [(1, "on 1 CPU"), (2, "on 2 CPUs")])
def test_a_plain_runs_title(run_directory: Path, ranks: int, devices: str) -> None:
    write_run(run_directory, [[{**one, "group_size": ranks} for one in ladder_blocks()]] * ranks)
    assert title(load_run(run_directory)).endswith(devices)


def test_a_simulated_run_is_labelled_everywhere(run_directory: Path) -> None:
    write_study(
        run_directory, study_config(sizes=(1, 2)), [0, 0], header_changes={"simulated": True}
    )
    run = load_run(run_directory)
    assert title(run).startswith("SIMULATED: ")
    found = find(run)
    assert tables.scraper_lines(found) == []
    assert "Throughput - FP32 (SIMULATED)" in nvidia_table(found)
    for figure, _ in plots.figures(found).values():
        shown = figure.get_suptitle()
        assert "SIMULATED: " in shown


def test_the_main_group_is_the_largest_that_reduces(run_directory: Path) -> None:
    write_study(run_directory, study_config(sizes=(1, 2)), [0, 0, 1, 1])
    found = find(load_run(run_directory))
    assert found.ranks == 2
    assert set(found.summary["group"]) == {"size-2"}
    assert set(found.steps["rank"]) == {0, 1}
    assert set(found.groups["group"]) == {"alone", "size-2"}


def test_ranks_alone_are_the_main_group_where_nothing_reduces(run_directory: Path) -> None:
    write_study(run_directory, study_config(sizes=(1,)), [0, 0, 1, 1])
    found = find(load_run(run_directory))
    assert found.ranks == 1
    assert set(found.summary["group"]) == {"alone"}
    assert found.parts == pytest.approx(
        {"forward": 0.01, "backward": 0.02, "optimizer": 0.002}, rel=1e-3
    )


def test_the_title_and_the_arithmetic_name_what_is_not_as_by_default(run_directory: Path) -> None:
    run = load_run(write_run(run_directory, [ladder_blocks()]).directory)
    config = dataclasses.replace(run.config, precision="bfloat16", xla="compute")
    changed = dataclasses.replace(run, config=config)
    assert "10 classes, bfloat16, XLA compute, batch 2 per rank" in title(changed)
    assert "bfloat16" not in title(run)
    assert (arithmetic(run), arithmetic(changed)) == ("FP32", "BF16")
