"""The recipes under launch/, without building anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = [*sorted((ROOT / "launch").glob("*.sh")), ROOT / ".ci" / "run"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_valid_and_quoted(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    subprocess.run(["shellcheck", "-x", str(script)], check=True, cwd=ROOT)


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "launch" / script), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_setup_refuses_what_it_does_not_know() -> None:
    ended = run("setup.sh", "--fast")
    assert ended.returncode == 8
    assert "unknown argument --fast" in ended.stderr


def test_setup_names_a_missing_python(tmp_path: Path) -> None:
    tools = ("bash", "dirname", "env", "sha256sum", "cat")
    for tool in tools:
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    ended = run("setup.sh", PATH=str(tmp_path))
    assert ended.returncode == 8
    assert "no Python 3.11 was found; install it" in ended.stderr


def test_setup_checks_the_environment_that_it_is_told_to_use(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    ended = run("setup.sh", "--use-current-env", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert ended.returncode == 8
    assert "this environment cannot run distbench" in ended.stderr


@pytest.mark.parametrize("ranks", ["0", "two", "-1", "1;id"])
def test_local_wants_a_number_of_ranks(ranks: str) -> None:
    ended = run("local.sh", "-np", ranks)
    assert ended.returncode == 2
    assert f"-np is '{ranks}'; it must be a whole number" in ended.stderr


def function_of_setup(name: str, *arguments: str, log: Path) -> str:
    """Runs one function of setup.sh alone."""
    text = (ROOT / "launch" / "setup.sh").read_text()
    without_main = re.sub(r"^main .*$", "", text, flags=re.MULTILINE)
    script = f"{without_main}\n{name} {' '.join(arguments)} {log}\n"
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    return ended.stderr


def test_a_failed_build_shows_the_compilers_error_and_not_the_whole_log(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    noise = [f"[ 10%] Building CXX object number {index}" for index in range(4000)]
    noise[2000] = "/src/xla_mpi_ops.cc:41:10: fatal error: xla/client.h: No such file or directory"
    log.write_text("\n".join(noise))
    shown = function_of_setup("explain_failed_build", log=log)
    assert "2001:/src/xla_mpi_ops.cc:41:10: fatal error: xla/client.h" in shown
    assert str(log) in shown
    assert len(shown.splitlines()) < 40


def test_a_failed_build_without_a_known_error_shows_the_end(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    log.write_text("\n".join(f"line {index}" for index in range(4000)))
    shown = function_of_setup("explain_failed_build", log=log)
    assert "line 3999" in shown
    assert len(shown.splitlines()) < 40


def test_ci_calls_the_test_command() -> None:
    assert "launch/test.sh" in (ROOT / ".ci" / "run").read_text()


def test_the_pair_of_versions_is_the_same_everywhere() -> None:
    constraints = (ROOT / "launch" / "constraints.txt").read_text().splitlines()
    setup = (ROOT / "launch" / "setup.sh").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    assert {"tensorflow-cpu==2.18.1", "tensorflow_cpu==2.18.1"} & set(constraints)
    assert "horovod==0.28.1" in constraints
    assert "TENSORFLOW_VERSION=2.18.1 HOROVOD_VERSION=0.28.1" in setup
    assert project.count("horovod==0.28.1") == 2
