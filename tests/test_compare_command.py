from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distbench import cli
from distbench.analysis.collect import load_run
from distbench.compare_command import Options, read_threshold, run_compare
from distbench.durable_files import json_document
from distbench.errors import RecordsError, SlowerError, UsageError
from distbench.resolving import resolve
from distbench.simulation.cluster import Cluster, DeadRank
from distbench.simulation.simulate import simulate
from distbench.study import study_files
from distbench.study.study_files import Verdict
from tests.study_fakes import run_of_cell, study_of


def simulated(directory: Path, seed: int, images_per_s: float = 250.0, **settings: Any) -> str:
    """A study of 1, 2 and 4 simulated ranks, 2 % noise."""
    cluster = Cluster(ranks=4, ranks_per_node=2, images_per_s=images_per_s, noise=0.02)
    given = {"seed": seed, "sizes": (1, 2, 4), "steps": 60, "output": str(directory), **settings}
    layout, _ = simulate(cluster, resolve(given, on_gpu=True, world_size=4))
    return str(layout.directory)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two runs of one cluster, one of a cluster that computes 5 % slower, and a smaller network."""
    folder = tmp_path_factory.mktemp("compared")
    return {
        "a": simulated(folder / "a", seed=1),
        "b": simulated(folder / "b", seed=2),
        "slow": simulated(folder / "slow", seed=3, images_per_s=250 / 1.05),
        "other": simulated(folder / "other", seed=4, config="A"),
    }


@pytest.mark.parametrize(
    ("text", "value"), [("3%", 0.03), ("3 %", 0.03), ("0.5%", 0.005), ("1000%", 10.0)]
)
def test_thresholds_are_per_cent_with_their_sign(text: str, value: float) -> None:
    assert read_threshold(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    ["3", "0.03", "", "%", "-3%", "0%", "0.0%", "1001%", "3%%", "nan%", "1e1%", "3  %", "٣%"],
)
def test_anything_else_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="a positive number of per cent with its sign, such as 3%"):
        read_threshold(text)


def test_equal_clusters_show_no_difference_that_matters(
    runs: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", runs["a"], runs["b"], "--fail-above", "3%"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"A: {runs['a']} (SIMULATED: VGG-D")
    assert "train_step" in text
    assert "seed  1  2" in text
    assert " slower than A" not in text
    assert " faster than A" not in text


def test_slower_computing_is_found_and_fails(
    runs: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", runs["a"], runs["slow"], "--fail-above", "3%"]) == 11
    printed = capsys.readouterr()
    assert "simulated images_per_s  250.0" in printed.out
    assert "B is slower than A in " in printed.out
    assert len(printed.err.splitlines()) == 1
    assert "B is slower than A by more than 3 %: " in printed.err
    assert printed.err.rstrip().endswith(
        "these are single launches, so repeat them to be sure (exit code 11)"
    )


def test_without_a_threshold_nothing_fails(
    runs: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", runs["a"], runs["slow"]]) == 0
    assert "a change of more than 1 %" in capsys.readouterr().out


def test_a_slowdown_below_the_threshold_and_a_speed_up_do_not_fail(runs: dict[str, str]) -> None:
    run_compare(Options(runs["a"], runs["slow"], fail_above="8%"), lambda text: None)
    run_compare(Options(runs["slow"], runs["a"], fail_above="3%"), lambda text: None)


def test_another_network_is_refused_after_its_differences_were_shown(
    runs: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", runs["a"], runs["other"]]) == 2
    printed = capsys.readouterr()
    assert "config (NOT COMPARABLE)" in printed.out
    assert "Job steps" not in printed.out
    assert "not comparable: config (A: D, B: A); compare like with like" in printed.err
    assert cli.main(["compare", runs["a"], runs["other"], "--despite-differences"]) == 0
    assert "NOT COMPARABLE, see the differences: " in capsys.readouterr().out


def test_files_are_written_also_where_the_exit_code_is_11(
    runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, bench = tmp_path / "out", tmp_path / "bench.json"
    command = ["compare", runs["a"], runs["slow"], "--output", str(out), "--json", str(bench)]
    assert cli.main([*command, "--fail-above", "3%"]) == 11
    assert (out / "compare.md").exists()
    assert f"comparison: {out}/compare.md" in capsys.readouterr().out
    steps = load_run(runs["slow"]).config.phases
    # one rank alone does not reduce; its forward_backward_allreduce is not run in a study
    assert len(json.loads(bench.read_text())) > 2 * len(steps)


def test_the_order_of_the_flags_is_free_and_wrong_ones_are_refused(
    runs: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", "--fail-above", "0.03", runs["a"], runs["b"]]) == 2
    assert "--fail-above is '0.03'; it must be" in capsys.readouterr().err
    assert cli.main(["compare", runs["a"]]) == 2
    assert cli.main(["compare", runs["a"], str(Path(runs["a"]) / "raw")]) == 10


def launched(folder: Path, step_ms: list[float], **axes: Any) -> str:
    """A study of two cells whose launches have these steps, one launch each."""
    study = study_of(study={"repeat": len(step_ms)}, axes={"config": ["A", "D"]})
    record = study_files.create(study, str(folder), "")
    for cell in record.cells:
        for number, ms in enumerate(step_ms, start=1):
            layout = study_files.new_attempt(record, cell, number)
            run = run_of_cell(layout.run.directory, cell, ms, drift_ms=0.001)
            run.manifest.write_bytes(json_document({"environment": axes}))
            study_files.write_verdict(layout, Verdict("complete", wall_s=1.0))
    return str(folder)


def test_studies_are_compared_cell_by_cell_from_their_launches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = launched(tmp_path / "a", [10.0, 10.05, 10.1])
    b = launched(tmp_path / "b", [11.0, 11.05, 11.1], HOROVOD_CYCLE_TIME="5")
    assert cli.main(["compare", a, b, "--fail-above", "3%"]) == 11
    printed = capsys.readouterr()
    text = printed.out
    assert "Job steps of config A: NOT VGG: A with width" in text
    assert "Job steps of config D: NOT VGG: D with width" in text
    assert "HOROVOD_CYCLE_TIME  not set  5" in text
    assert text.count("9.9 % slower") == 2  # (11.00 · 11.05 · 11.10 ÷ (10.00 · 10.05 · 10.10))^⅓
    assert "All of it rests on 3 launches of A, 3 of B." in text
    assert "low confidence" not in text
    assert "single launches" not in printed.err


def test_a_study_without_a_complete_launch_has_nothing_to_compare(tmp_path: Path) -> None:
    study_files.create(study_of(), str(tmp_path / "a"), "")
    with pytest.raises(RecordsError, match="has no complete launch to compare"):
        run_compare(Options(str(tmp_path / "a"), str(tmp_path / "a")), lambda text: None)


def test_sides_without_anything_in_common_are_refused(runs: dict[str, str], tmp_path: Path) -> None:
    alone = simulated(tmp_path / "alone", seed=1, sizes=(), phases=("forward",))
    step = simulated(tmp_path / "step", seed=1, sizes=(), phases=("train_step",))
    with pytest.raises(UsageError, match="no size and phase in common: only A has forward of 4"):
        run_compare(Options(alone, step), lambda text: None)


def test_the_error_names_the_largest_slowdown(runs: dict[str, str]) -> None:
    with pytest.raises(SlowerError, match=r"takes \d\.\d % longer \(and \d+ more\)"):
        run_compare(Options(runs["a"], runs["slow"], fail_above="3%"), lambda text: None)


def test_a_run_that_died_is_refused_and_shown_only_if_told_to(
    runs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(ranks=4, ranks_per_node=2, noise=0.02, dead_rank=DeadRank(2, 0.7))
    given = {"seed": 5, "sizes": (1, 2, 4), "steps": 60, "output": str(tmp_path / "dead")}
    simulate(cluster, resolve(given, on_gpu=True, world_size=4))
    command = ["compare", runs["a"], str(tmp_path / "dead")]
    assert cli.main(command) == 2
    printed = capsys.readouterr()
    assert "B is not valid: INCOMPLETE: " in printed.out
    assert "Job steps" not in printed.out
    assert "A and B are not comparable: B is not valid: INCOMPLETE: " in printed.err
    assert cli.main([*command, "--despite-differences"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("B is not valid") < shown.index("NOT COMPARABLE, see the differences: Job")
