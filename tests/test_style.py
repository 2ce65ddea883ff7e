from __future__ import annotations

from pathlib import Path

import pytest

from distbench.analysis.collect import load_run
from distbench.report import plots, style
from distbench.report.build import find
from tests.fakes import study_config, write_study


@pytest.mark.parametrize("image_format", ["png", "svg"])
def test_the_same_run_gives_the_same_bytes(run_directory: Path, image_format: str) -> None:
    write_study(run_directory, study_config(), [0, 0, 1, 1])
    found = find(load_run(run_directory))
    with style.style():
        first = [style.image_bytes(item, image_format) for item, _ in plots.figures(found).values()]
        second = [
            style.image_bytes(item, image_format) for item, _ in plots.figures(found).values()
        ]
    assert first == second


def test_no_line_above_a_chart_is_wider_than_the_chart(run_directory: Path) -> None:
    write_study(run_directory, study_config(), [0, 0, 1, 1], finished=False)
    text = style.subtitle(find(load_run(run_directory)))
    assert text.startswith("NOT VALID, see the report's checks: ")
    assert max(map(len, text.splitlines())) <= 95
    assert len(text.splitlines()) == 2


def test_a_dollar_in_a_name_is_no_formula(run_directory: Path) -> None:
    write_study(run_directory, study_config(), [0, 0, 1, 1], header_changes={"device": DOLLAR})
    assert r"\$\frac\$" in style.subtitle(find(load_run(run_directory)))


DOLLAR = {"kind": "$\\frac$", "name": "x", "nvml_name": "", "threads": 1, "threads_reason": "y"}
