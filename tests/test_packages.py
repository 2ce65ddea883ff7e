from __future__ import annotations

from typing import Any

import pytest

from distbench.doctor import packages
from distbench.doctor.verdicts import NOTE, OK, PROBLEM, Verdict

PYTHON = (3, 11, 7)


def healthy(**training: Any) -> dict[str, dict[str, Any]]:
    """The facts of a CPU machine where all is well, with changes to those of the training kind."""
    built = {"mpi_built": True, "gloo_built": True, "nccl_built": False}
    facts = {
        "tensorflow": "2.18.1",
        "tensorflow_build": {"is_cuda_build": False},
        "gpus": [],
        "horovod": "0.28.1",
        "horovod_build": built,
        "mpi_library": "Open MPI v4.1.8",
        "import_s": 4.0,
    }
    report = {"numpy": "2.0.2", "pandas": "3.1.1", "pyarrow": "26.0", "scipy": "1.17"}
    return {
        "training": {**facts, **training},
        "mpi4py": {"mpi4py": "4.1.2", "mpi_library": "Open MPI v4.1.8"},
        "report": {name: {"version": v} for name, v in {**report, "matplotlib": "3.11"}.items()},
    }


def worst(said: list[Verdict]) -> list[str]:
    return [f"{one.level}: {one.text}" for one in said if one.level != OK]


def test_a_healthy_machine_has_nothing_to_mend() -> None:
    said = packages.judge(healthy(), PYTHON)
    assert worst(said) == []
    assert "Horovod 0.28.1, built with MPI, Gloo, without NCCL" in [one.text for one in said]


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"tensorflow": "2.19.0"}, NOTE, "not tried with"),
        ({"tensorflow": "2.180.0"}, NOTE, "not tried with"),
        ({"horovod": "0.27.0"}, NOTE, "use 0.28.1"),
        ({"horovod_error": "ImportError: libmpi.so.40"}, PROBLEM, "libmpi.so.40"),
        ({"tensorflow_error": "ImportError: none"}, PROBLEM, "TensorFlow does not load"),
        ({"horovod_build": {"gloo_built": True}}, NOTE, "HOROVOD_WITH_MPI=1"),
        ({"horovod_build": {"mpi_built": 1}}, NOTE, "HOROVOD_WITH_GLOO=1"),
        ({"horovod_build": {}}, PROBLEM, "neither MPI nor Gloo"),
        ({"tensorflow_build": {"is_cuda_build": True}}, NOTE, "HOROVOD_GPU_OPERATIONS=NCCL"),
    ],
)
def test_what_is_missing_in_the_build_is_said(changes: dict, level: str, words: str) -> None:
    said = worst(packages.judge(healthy(**changes), PYTHON))
    assert said[0].startswith(f"{level}: ")
    assert words in said[0]


def test_a_crash_while_loading_is_a_problem() -> None:
    facts = {**healthy(), "training": {"crashed": "exit code -11, last line: segfault"}}
    assert "exit code -11" in worst(packages.judge(facts, PYTHON))[0]


@pytest.mark.parametrize(("has_mpi", "level"), [(True, PROBLEM), (False, NOTE)])
def test_mpi4py_is_needed_where_horovod_has_mpi(has_mpi: bool, level: str) -> None:
    facts = healthy(horovod_build={"mpi_built": has_mpi, "gloo_built": True})
    facts["mpi4py"] = {"mpi4py_error": "ModuleNotFoundError: mpi4py"}
    said = [text for text in worst(packages.judge(facts, PYTHON)) if "mpi4py" in text]
    assert [text.partition(":")[0] for text in said] == [level]


def test_report_packages_that_fail_or_are_old_are_notes() -> None:
    facts = healthy()
    facts["report"]["pyarrow"] = {"error": "ImportError: numpy"}
    facts["report"]["pandas"] = {"version": "2.3.1"}
    said = worst(packages.judge(facts, PYTHON))
    assert len(said) == 2
    assert "pandas 2.3.1 is older than 3" in said[0]
    assert "pyarrow does not load (ImportError: numpy)" in said[1]
    assert all(text.startswith("note: ") and "distbench[report]" in text for text in said)


def test_an_old_python_is_a_problem() -> None:
    assert worst(packages.judge(healthy(), (3, 10, 2))) == [
        "problem: Python 3.10.2 is too old; use Python 3.11"
    ]


@pytest.mark.parametrize(
    ("text", "numbers"), [("3.0.0rc1", (3, 0, 0)), ("26", (26,)), ("unknown", ())]
)
def test_version_numbers(text: str, numbers: tuple) -> None:
    assert packages.version_numbers(text) == numbers
