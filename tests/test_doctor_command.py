from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from distbench.doctor import build_facts, doctor_command, free_memory, started_ranks
from distbench.doctor.doctor_command import Options, read_ranks, run_doctor
from distbench.errors import MissingPartError, OutputError, UsageError
from tests.launching import clean_environment, need, processes_left
from tests.test_allreduce_verdicts import rank, started
from tests.test_packages import healthy


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Facts that the doctor finds, to be changed, and the commands that it starts."""
    facts: dict[str, Any] = {
        "built": healthy(),
        "mpirun": {"mpirun": "/x/mpirun", "says": "mpirun (Open MPI) 4.1.8", "horovodrun": "/x/h"},
        "job": lambda controller: started(rank(0), rank(1)),
        "started": [],
    }

    def run(argv: list[str], environ: Mapping[str, str], ranks: int, limits: Any) -> Any:
        facts["started"].append(argv[0])
        return facts["job"](argv[0])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build_facts, "collect", lambda environ: facts["built"])
    monkeypatch.setattr(build_facts, "mpirun_facts", lambda environ: facts["mpirun"])
    monkeypatch.setattr(started_ranks, "run", run)
    return facts


def lines_said(options: Options, environ: Mapping[str, str] | None = None) -> list[str]:
    """What the doctor says; of its last error only that it came."""
    lines: list[str] = []
    try:
        run_doctor(options, environ or {}, lines.append)
    except MissingPartError as error:
        lines.append(f"raised: {error}")
    return "\n".join(lines).splitlines()


def about(lines: list[str], words: str) -> list[str]:
    return [line.strip() for line in lines if words in line]


def test_both_controllers_are_tried_and_the_last_line_counts(machine: dict) -> None:
    lines = lines_said(Options())
    assert machine["started"] == ["horovodrun", "mpirun"]
    assert len(about(lines, "2 rank(s) met")) == 2
    notes = sum(line.startswith("  note:") for line in lines)
    problems = sum(line.startswith("  problem:") for line in lines)
    counted = f"doctor: {problems} problem(s), {notes} note(s)"
    assert counted in lines
    assert (lines[-1] == counted) is (problems == 0)


def test_a_problem_is_an_error_that_names_it_and_has_code_8(machine: dict) -> None:
    machine["job"] = lambda program: started(rank(0, stage="hvd.init"), rank(1), exit_code=None)
    lines = lines_said(Options())
    assert len(about(lines, "problem: Gloo (horovodrun): not finished")) == 1
    assert lines[-1].startswith("raised: the doctor found ")
    assert lines[-1].endswith("(exit code 8)")


def test_json_says_the_same_also_where_there_is_a_problem(machine: dict, tmp_path: Path) -> None:
    machine["job"] = lambda program: started(exit_code=1, log="no such host")
    lines = lines_said(Options(ranks="3", json_file="doctor.json"))
    told = json.loads((tmp_path / "doctor.json").read_text())
    assert told["ranks"] == 3
    assert f"doctor: {told['problems']} problem(s), {told['notes']} note(s)" in lines
    for section in told["sections"]:
        assert section["title"] in lines
        for one in section["verdicts"]:
            assert about(lines, one["found"])


def test_json_that_cannot_be_written_is_said(machine: dict, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"doctor\.json"):
        run_doctor(Options(json_file="none/doctor.json"), {}, lambda line: None)


@pytest.mark.parametrize(
    ("built", "tried"),
    [({"gloo_built": True}, ["horovodrun"]), ({"mpi_built": True}, ["mpirun"]), ({}, [])],
)
def test_only_what_is_built_is_tried(machine: dict, built: dict, tried: list) -> None:
    machine["built"] = healthy(horovod_build=built)
    lines = lines_said(Options())
    assert machine["started"] == tried
    assert len(about(lines, "none was started")) == (not tried)


def test_only_launchers_on_the_path_are_tried(machine: dict) -> None:
    machine["mpirun"] = {"mpirun": "", "says": "", "horovodrun": "/x/h"}
    lines_said(Options())
    assert machine["started"] == ["horovodrun"]


def test_without_any_launcher_nothing_is_proven(machine: dict, tmp_path: Path) -> None:
    machine["mpirun"] = {"mpirun": "", "says": "", "horovodrun": ""}
    environ = {"PATH": str(tmp_path / "bin")}
    assert about(lines_said(Options(), environ), "problem: none was started")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/srun").write_text("")
    (tmp_path / "bin/srun").chmod(0o755)
    assert about(lines_said(Options(), environ), "note:    none was started")
    assert machine["started"] == []


def test_a_launcher_that_vanished_is_a_problem_and_the_other_is_tried(machine: dict) -> None:
    def job(program: str) -> started_ranks.Started:
        if program == "horovodrun":
            raise MissingPartError("horovodrun cannot be started (Text file busy)")
        return started(rank(0), rank(1))

    machine["job"] = job
    lines = lines_said(Options())
    assert about(lines, "problem: horovodrun cannot be started")
    assert about(lines, "MPI (mpirun): 2 rank(s) met")


def test_broken_software_is_no_reason_to_crash(machine: dict) -> None:
    machine["built"] = {kind: {"crashed": "exit code -11"} for kind in machine["built"]}
    lines = lines_said(Options())
    assert machine["started"] == []
    assert about(lines, "do not load together (exit code -11)")


def test_ranks_that_memory_cannot_hold_are_not_started(
    machine: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free_memory, "collect", lambda: 10**9)
    lines = lines_said(Options(ranks="2"))
    assert machine["started"] == []
    assert about(lines, "none was started")


def test_without_a_temporary_directory_it_says_so(
    machine: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(doctor_command.tempfile, "gettempdir", fail)
    monkeypatch.setattr(build_facts, "collect", None)  # is not come to
    # the small file of the place of the results needs none
    assert about(lines_said(Options()), "no temporary directory can be written")


@pytest.mark.parametrize("text", ["0", "-1", "two", "257", "9" * 5000, "1.5", "", "٣"])
def test_a_number_of_ranks_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="-np is "):
        read_ranks(text)


def test_the_number_of_ranks_is_2_unless_told() -> None:
    assert (read_ranks(None), read_ranks("256")) == (2, 256)


def test_it_is_started_once_and_not_by_a_launcher(machine: dict) -> None:
    environ = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"}
    with pytest.raises(UsageError, match="starts its own ranks"):
        run_doctor(Options(), environ, lambda line: None)


def test_it_makes_and_leaves_nothing_in_the_folder(machine: dict, tmp_path: Path) -> None:
    lines_said(Options())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="mpirun is not installed")
def test_real_ranks_meet_over_both_controllers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("horovodrun", "mpirun")
    monkeypatch.chdir(tmp_path)
    environ = clean_environment(PYTHONPATH=str(Path(__file__).parent.parent))
    lines = lines_said(Options(ranks="2", json_file="doctor.json"), environ)
    told = json.loads((tmp_path / "doctor.json").read_text())
    ranks = next(one for one in told["sections"] if one["title"] == "ranks, really started")
    assert [one["level"] for one in ranks["verdicts"]] == ["ok"] * 8, lines
    busbw = [one["numbers"].get("busbw_bytes_per_s", 0.0) for one in ranks["verdicts"]]
    assert sum(value > 0 for value in busbw) == 6
    assert about(lines, "Horovod sees 2 on each, as mpi4py does on 2")
    assert about(lines, "ok:      TensorFlow 2.18.1")
    assert about(lines, "ok:      Horovod is linked with Open MPI")
    assert processes_left(str(tmp_path)) == []


def test_it_loads_nothing_heavy(tmp_path: Path) -> None:
    import subprocess

    code = (
        "import sys\nimport distbench.doctor.doctor_command\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for package in ("tensorflow", "horovod", "mpi4py", "numpy", "pandas", "pynvml"):
        assert f"'{package}'" not in ended.stdout
    assert os.listdir(tmp_path) == []
