"""Starts the build probes side by side, and collects what each tells within its time."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distbench.doctor.probe_build import KINDS, MARKER
from distbench.study import processes

LIMIT_S = 40.0  # TensorFlow from a cold network disk; 4 s where it is at hand
MPIRUN_LIMIT_S = 10.0

Facts = dict[str, Any]


def collect(environ: Mapping[str, str], limit_s: float = LIMIT_S) -> dict[str, Facts]:
    """The facts of each kind; {'crashed': why} where a probe told none."""
    with tempfile.TemporaryDirectory(prefix="distbench-doctor-") as folder:
        started: dict[str, tuple[processes.Process, Path]] = {}
        try:
            for kind in KINDS:
                log = Path(folder, kind)
                argv = [sys.executable, "-m", "distbench.doctor.probe_build", kind]
                started[kind] = (processes.start(argv, environ, log), log)
            deadline_s = time.monotonic() + limit_s
            return {
                kind: _told(process, log, deadline_s - time.monotonic(), limit_s)
                for kind, (process, log) in started.items()
            }
        finally:
            for process, _ in started.values():
                if process.poll() is None:
                    process.kill()
                process.wait()


def _told(process: processes.Process, log: Path, patience_s: float, limit_s: float) -> Facts:
    if not processes.wait(process, max(0.0, patience_s)):
        return {"crashed": f"not loaded after {limit_s:.0f} s"}
    return facts_in(log.read_text("utf-8", "replace"), process.returncode)


def facts_in(printed: str, exit_code: int) -> Facts:
    """The facts in what a probe printed; why there are none where it ended before it told them."""
    lines = printed.splitlines()
    for line in reversed(lines):
        if line.startswith(MARKER):
            try:
                facts = json.loads(line.removeprefix(MARKER))
            except ValueError:
                break
            return facts if isinstance(facts, dict) else {"crashed": "it told no facts"}
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
    return {"crashed": f"exit code {exit_code}, last line: {last}"}


def mpirun_facts(environ: Mapping[str, str], limit_s: float = MPIRUN_LIMIT_S) -> Facts:
    """Where mpirun is on PATH and what it says of itself; 'horovodrun' likewise, its place only."""
    place = shutil.which("mpirun", path=environ.get("PATH"))
    facts: Facts = {
        "mpirun": place or "",
        "says": "",
        "horovodrun": shutil.which("horovodrun", path=environ.get("PATH")) or "",
    }
    if place:
        facts["says"] = _version_text([place, "--version"], environ, limit_s)
    return facts


def _version_text(argv: Sequence[str], environ: Mapping[str, str], limit_s: float) -> str:
    try:
        ended = subprocess.run(
            argv,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (ended.stdout + ended.stderr).decode("utf-8", "replace")[:4000]
