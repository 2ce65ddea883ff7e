"""The pure parts of benchmarks/settings_in_pairs.py; its jobs are tested in test_side_by_side."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    found = importlib.import_module("settings_in_pairs")
    for name in list(os.environ):
        if name.startswith(found.DISTURBING):
            monkeypatch.delenv(name)
    return found


def arguments(script: Any, monkeypatch: pytest.MonkeyPatch, *given: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["settings_in_pairs.py", *given])
    return script._arguments()


def test_all_settings_of_a_kind_are_tried(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    computing = arguments(script, monkeypatch, "computing")
    assert computing.np == 1
    assert "winograd" in computing.settings
    communication = arguments(script, monkeypatch, "communication", "--settings", "gloo,fp16")
    assert (communication.np, communication.settings) == (2, ["gloo", "fp16"])


@pytest.mark.parametrize(
    ("given", "variable", "told"),
    [
        (["computing", "--settings", "gloo"], "", "gloo: choose from winograd"),
        (["communication", "--np", "1"], "", "one rank reduces nothing"),
        (["communication"], "HOROVOD_CYCLE_TIME", "HOROVOD_CYCLE_TIME: unset"),
    ],
)
def test_what_would_compare_nothing_is_refused(
    script: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    variable: str,
    told: str,
) -> None:
    if variable:
        monkeypatch.setenv(variable, "5")
    with pytest.raises(SystemExit):
        arguments(script, monkeypatch, *given)
    assert told in capsys.readouterr().err


def test_a_setting_is_compared_round_by_round(script: Any) -> None:
    times = {
        ("default", "forward_backward"): [2.0] * 6,
        ("default", "forward_backward_allreduce"): [3.0] * 6,
        ("fp16", "forward_backward"): [2.0] * 6,
        ("fp16", "forward_backward_allreduce"): [2.4] * 6,
    }
    found = script._found("fp16", times)
    assert found["ratios_to_default"]["forward_backward_allreduce"]["median"] == pytest.approx(0.8)
    assert found["exposed_s"]["fp16"]["median"] == pytest.approx(0.4)
    assert found["exposed_s"]["default"]["median"] == pytest.approx(1.0)
    lines = script._lines("fp16", found)
    assert lines[-2:] == [
        "fp16: exposed communication 400 ms (400 to 400), fp16",
        "fp16: exposed communication 1000 ms (1000 to 1000), default",
    ]
    alone = {key: value for key, value in times.items() if key[1] == "forward_backward"}
    assert "exposed_s" not in script._found("fp16", alone)
