from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from distbench.doctor import probe_build
from distbench.doctor.build_facts import facts_in


def test_a_process_without_mpi_has_no_mpi_library(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text("7f-8f r-xp 00000000 08:01 123   /usr/lib/libc.so.6\n")
    assert probe_build.mpi_library_loaded(maps) == ""


def test_the_library_in_the_map_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = tmp_path / "maps"
    maps.write_text(
        "7f-8f r-xp 00000000 08:01 123   /opt/horovod/mpi_lib.so\n"
        "7f-8f r-xp 00000000 08:01 124   /opt/mpi/lib/libmpi.so.40.30.7\n"
    )
    asked = []

    class Library:
        def __init__(self, path: str) -> None:
            asked.append(path)

        def MPI_Get_library_version(self, name, length) -> None:
            name.value = b"Open MPI v4.1.8, package: x\nsecond line"

    monkeypatch.setattr(probe_build.ctypes, "CDLL", Library)
    assert probe_build.mpi_library_loaded(maps) == "Open MPI v4.1.8, package: x"
    assert asked == ["/opt/mpi/lib/libmpi.so.40.30.7"]


@pytest.mark.parametrize(
    ("text", "first"),
    [("Open MPI v4\0\0", "Open MPI v4"), ("\n MPICH 4.2\nABI", "MPICH 4.2"), ("", "")],
)
def test_first_words(text: str, first: str) -> None:
    assert probe_build.first_words(text) == first


def test_a_package_that_does_not_load_is_told_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr(probe_build, "REPORT_PACKAGES", ("numpy", "pyarrow"))
    facts = probe_build.report()
    assert facts["numpy"]["version"].startswith("2")
    assert facts["pyarrow"]["error"].startswith("ModuleNotFoundError")


@pytest.mark.parametrize(
    ("blocked", "error"),
    [("tensorflow", "tensorflow_error"), ("mpi4py", "mpi4py_error")],
)
def test_a_missing_package_is_a_fact_and_no_crash(blocked: str, error: str) -> None:
    kind = "training" if blocked == "tensorflow" else "mpi4py"
    code = (
        f"import sys; sys.modules[{blocked!r}] = None; sys.argv = ['probe', {kind!r}]\n"
        "from distbench.doctor.probe_build import main; main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    facts = facts_in(ended.stdout, 0)
    assert list(facts) == [error]
    assert blocked in facts[error]
