from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from distbench.errors import OutputError
from distbench.layout import TuneLayout
from distbench.report.tune_report import ratio_text, report_tune
from distbench.report.tune_rows import CandidateRow, EffectRow, TuneFindings

NAN = float("nan")


def row(label: str, rate: float, winner: bool = False, efficiency: float = NAN) -> CandidateRow:
    return CandidateRow(
        label=label,
        launches=5,
        images_per_s=rate,
        images_per_s_low=rate - 2,
        images_per_s_high=rate + 2,
        ratio=rate / 100,
        ratio_low=NAN if winner else rate / 101,
        ratio_high=NAN if winner else rate / 99,
        efficiency=efficiency,
        efficiency_low=efficiency - 0.01,
        efficiency_high=efficiency + 0.01,
        one_rank_images_per_s=60.0,
        outcome="WINNER" if winner else "slower",
        is_winner=winner,
    )


def findings() -> TuneFindings:
    failed = CandidateRow("=cmd|x", 0, *([NAN] * 10), outcome="failed: `boom` | <b>")
    return TuneFindings(
        name="small",
        about="VGG-A, train_step of 2 rank(s), on CPUs",
        headline="batch_size 4 gives the most images/s at 2 rank(s): 100.0.",
        candidates=[row("batch_size 4", 100.0, True, 0.8), row("$x$ defaults", 90.0), failed],
        effects=[EffectRow("batch_size", "4", 1.11, 1.10, 1.12, "")],
        notes=["note: something"],
        method=["All combinations take part."],
        command="horovodrun -np 2 python -m distbench run --batch-size 4",
        toml="[run]\nbatch_size = 4\n",
    )


def test_every_file_and_every_word(tmp_path: Path) -> None:
    text = report_tune(TuneLayout(tmp_path), findings())
    lines = text.splitlines()
    assert lines[0] == "small: VGG-A, train_step of 2 rank(s), on CPUs"
    assert lines[1] == findings().headline
    assert any(
        line.split()[:4] == ["batch_size", "4", "5", "100.0"] and "80.0 %" in line for line in lines
    )
    command = lines.index("horovodrun -np 2 python -m distbench run --batch-size 4")
    assert lines[command - 1] == "The winner:"
    assert lines[-1] == f"report: {tmp_path}/derived/tune.md"
    derived = tmp_path / "derived"
    names = {path.name for path in derived.iterdir()}
    assert names == {
        "tune.csv",
        "effects.csv",
        "tune.md",
        "winner.toml",
        "tune.png",
        "tune.svg",
    }
    assert (derived / "winner.toml").read_text() == findings().toml
    markdown = (derived / "tune.md").read_text()
    assert "![Images per second of every setting](tune.png)" in markdown
    assert r"failed: \`boom\` \| \<b\>" in markdown
    table = pd.read_csv(derived / "tune.csv")
    assert list(table["label"]) == ["batch_size 4", "$x$ defaults", "'=cmd|x"]
    assert table["images_per_s"][0] == 100.0
    assert pd.read_csv(derived / "effects.csv")["ratio"].tolist() == [1.11]


def test_an_undecided_tuning_has_no_winner(tmp_path: Path) -> None:
    first, *others = findings().candidates
    undecided = dataclasses.replace(first, outcome="BEST SO FAR")
    text = report_tune(
        TuneLayout(tmp_path), dataclasses.replace(findings(), candidates=[undecided, *others])
    )
    assert "\nThe best so far:\n" in text
    assert "The winner" not in text


def test_the_same_findings_give_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        report_tune(TuneLayout(tmp_path / name), findings())
        contents.append(
            {path.name: path.read_bytes() for path in (tmp_path / name / "derived").iterdir()}
        )
    assert contents[0] == contents[1]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "derived").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        report_tune(TuneLayout(tmp_path), findings())


def test_ratios_in_words() -> None:
    assert [ratio_text(one) for one in (1.2345, NAN, 1e9)] == ["1.234", "n/a", "over 1000"]
