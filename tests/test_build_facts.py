from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from distbench.doctor import build_facts
from distbench.doctor.build_facts import facts_in, mpirun_facts
from distbench.doctor.probe_build import MARKER
from distbench.study import processes


def test_facts_are_found_among_what_libraries_print() -> None:
    printed = f'warning: x\n{MARKER}{{"horovod": "0.28.1"}}\nbye\n'
    assert facts_in(printed, 0) == {"horovod": "0.28.1"}


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("", "exit code -11, last line: it printed nothing"),
        ("loading\nundefined symbol: x\n\n", "last line: undefined symbol: x"),
        (f"{MARKER}{{torn", "exit code -11"),
        (f"{MARKER}[1]", "told no facts"),
    ],
)
def test_a_probe_that_told_nothing_has_crashed(printed: str, said: str) -> None:
    assert said in facts_in(printed, -11)["crashed"]


def test_a_probe_that_hangs_is_ended_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    real_start = processes.start

    def start(argv, environ, log: Path) -> processes.Process:
        command = ["sleep", "100"] if argv[-1] == "training" else ["echo", f'{MARKER}{{"a": 1}}']
        started.append(real_start(command, environ, log))
        return started[-1]

    monkeypatch.setattr(processes, "start", start)
    began_s = time.monotonic()
    facts = build_facts.collect(os.environ, limit_s=1.0)
    assert time.monotonic() - began_s < 60
    assert facts["training"] == {"crashed": "not loaded after 1 s"}
    assert facts["mpi4py"] == facts["report"] == {"a": 1}
    assert all(process.returncode is not None for process in started)


def launcher(folder: Path, words: str) -> dict[str, str]:
    program = folder / "mpirun"
    program.write_text(f"#!/bin/sh\n{words}\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_mpirun_is_asked_for_its_version(tmp_path: Path) -> None:
    environ = launcher(tmp_path, 'echo "asked $*: mpirun (Open MPI) 4.1.8"')
    facts = mpirun_facts(environ)
    assert facts["mpirun"] == str(tmp_path / "mpirun")
    assert facts["says"] == "asked --version: mpirun (Open MPI) 4.1.8\n"


def test_mpirun_that_hangs_or_is_missing_says_nothing(tmp_path: Path) -> None:
    assert mpirun_facts(launcher(tmp_path, "exec sleep 100"), limit_s=0.2)["says"] == ""
    assert mpirun_facts({"PATH": str(tmp_path / "empty")}) == {
        "mpirun": "",
        "says": "",
        "horovodrun": "",
    }
