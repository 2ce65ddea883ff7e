"""Real Horovod processes over Gloo and over MPI, from the command to the report."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import pytest

import distbench as public
from distbench.analysis.collect import load_run
from distbench.cli import main
from distbench.config import PHASES
from distbench.records import raw_file_name
from tests.launching import (
    TINY,
    distbench,
    launch,
    need,
    on_own_disks,
    only_run,
    processes_left,
    run,
    status,
)

pytestmark = pytest.mark.real
TRANSPORT = {"gloo": "Horovod allgather (uint8)", "mpi": "mpi4py Gatherv"}
SCRIPTS = Path(__file__).parent / "real_ranks"


@pytest.mark.parametrize("launcher", ["gloo", "mpi"])
def test_two_ranks_from_the_command_to_the_report(launcher: str, tmp_path: Path) -> None:
    ended = launch(launcher, distbench(*TINY), tmp_path)
    assert ended.returncode == 0, ended.stderr
    directory = only_run(tmp_path)
    found = load_run(directory)
    assert (found.size, found.incomplete, found.problems) == (2, (), ())
    # 12 timed steps and a warm-up step, of five phases, on two ranks
    assert len(found.steps) == 2 * 5 * 13
    assert found.steps["duration_ns"].min() > 0
    for records in found.ranks:
        assert records.preflight is not None
        assert records.preflight["groups"]["world"]["executed_allreduces"] == {
            "forward": 0,
            "forward_backward": 0,
            "allreduce": 32,
            "forward_backward_allreduce": 32,
            "train_step": 32,
        }
        assert records.preflight["computing"]["2"]["forward_backward"] < 1e-4
    gathered = status(directory)["gather"]
    assert gathered["transport"] == TRANSPORT[launcher]
    assert (gathered["files_verified"], gathered["files_written"]) == (2, 0)
    assert "Total img/sec on 2 CPU(s): " in ended.stdout
    assert "total images/sec: " in ended.stdout
    assert ended.stdout.rstrip().endswith("derived/report.md")
    assert "step 60 of 65" in ended.stderr
    assert "oneDNN" not in ended.stdout + ended.stderr
    _same_bytes_when_made_again(directory)
    assert public.load(str(directory)).steps.equals(found.steps)


def _same_bytes_when_made_again(directory: Path) -> None:
    derived = directory / "derived"
    first = {path.name: path.read_bytes() for path in derived.iterdir()}
    shutil.rmtree(derived)
    assert main(["report", str(directory)]) == 0
    assert {path.name: path.read_bytes() for path in derived.iterdir()} == first
    assert {"throughput.png", "throughput.svg", "steps.parquet", "summary.csv"} <= set(first)


@pytest.mark.parametrize("launcher", ["gloo", "mpi"])
def test_ranks_with_separate_disks_reach_rank_0(launcher: str, tmp_path: Path) -> None:
    command = distbench(*TINY, "--phases", "forward", "--output", "run")
    ended = launch(launcher, on_own_disks(launcher, command), tmp_path)
    assert ended.returncode == 0, ended.stderr
    first, second = tmp_path / "disk-0" / "run", tmp_path / "disk-1" / "run"
    gathered = status(first)["gather"]
    assert (gathered["files_verified"], gathered["files_written"]) == (1, 1)
    assert gathered["transport"] == TRANSPORT[launcher]
    name = raw_file_name(1)
    assert (first / "raw" / name).read_bytes() == (second / "raw" / name).read_bytes()
    assert not (second / "status.json").exists()
    assert load_run(first).incomplete == ()


@pytest.mark.parametrize("launcher", ["gloo", "mpi"])
def test_work_that_is_not_done_is_not_timed(launcher: str, tmp_path: Path) -> None:
    """A step that returns only its loss runs no allreduce; preflight must see that on every rank."""
    ended = launch(launcher, [sys.executable, str(SCRIPTS / "pruned_step.py")], tmp_path)
    # mpirun may join the lines of two ranks
    assert ended.stdout.count("honest: executed 32") == 2, ended.stderr
    assert ended.stdout.count("executed 0 allreduces in a step instead of 32") == 2


def test_a_lone_process_runs_without_a_launcher(tmp_path: Path) -> None:
    need()
    ended = run(distbench(*TINY, "--output", "run"), tmp_path)
    assert ended.returncode == 0, ended.stderr
    found = load_run(tmp_path / "run")
    assert found.size == 1
    for records in found.ranks:
        assert records.preflight is not None
        assert records.preflight["groups"]["world"]["executed_allreduces"] == dict.fromkeys(
            PHASES, 0
        )
    assert "one rank: nothing is reduced, 0 allreduces expected and executed" in ended.stdout
    again = run(distbench(*TINY, "--output", "run"), tmp_path)
    assert again.returncode == 9
    assert again.stderr.count("exists already and a run is never overwritten") == 1


@pytest.mark.parametrize("launcher", ["gloo", "mpi"])
def test_a_wrong_value_is_told_once_by_the_whole_job(launcher: str, tmp_path: Path) -> None:
    ended = launch(launcher, distbench("--batch-size", "-3"), tmp_path)
    assert ended.returncode == {"gloo": 1, "mpi": 2}[launcher]
    sentence = "--batch-size is '-3'; it must be a whole number of at least 1 (exit code 2)"
    assert (ended.stdout + ended.stderr).count(sentence) == 1
    # horovodrun itself ends with a traceback of its own whenever a rank ends with an error
    of_ranks = [line for line in ended.stderr.splitlines() if line.startswith("[")]
    assert "Traceback" not in "\n".join(of_ranks if launcher == "gloo" else [ended.stderr])
    assert not (tmp_path / "results").exists()


def test_ranks_that_disagree_are_refused_and_told_once(tmp_path: Path) -> None:
    need("mpirun")
    first, second = (distbench(*TINY, "--steps", steps) for steps in ("6", "7"))
    start = ["mpirun", "--allow-run-as-root", "--oversubscribe"]
    ended = run([*start, "-np", "1", *first, ":", "-np", "1", *second], tmp_path)
    assert ended.returncode == 3
    assert ended.stderr.count("rank 1 has config.steps = 7, rank 0 has 6") == 1
    assert "Traceback" not in ended.stderr
    assert processes_left(str(tmp_path)) == []


@pytest.mark.parametrize("launcher", ["gloo", "mpi"])
def test_an_existing_directory_is_refused_by_the_whole_job(launcher: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    ended = launch(launcher, distbench(*TINY, "--output", "run"), tmp_path)
    assert ended.returncode == {"gloo": 1, "mpi": 9}[launcher]
    assert (ended.stdout + ended.stderr).count("exists already and a run is never overwritten") == 1
    assert list((tmp_path / "run").iterdir()) == []
    assert processes_left(str(tmp_path)) == []


def test_ranks_that_horovod_does_not_see_are_refused(tmp_path: Path) -> None:
    """As where Horovod was built without MPI, and mpirun starts lone processes."""
    without_mpi = {"HOROVOD_CONTROLLER": "gloo", "HOROVOD_CPU_OPERATIONS": "gloo"}
    ended = launch("mpi", distbench(*TINY), tmp_path, **without_mpi)
    assert ended.returncode == 8
    assert ended.stderr.count("Open MPI started 2 ranks, but Horovod sees 1") == 1


@pytest.mark.parametrize("launcher", ["gloo", "mpi"])
def test_a_rank_that_fails_ends_the_job_and_is_named(launcher: str, tmp_path: Path) -> None:
    started = time.monotonic()
    command = [sys.executable, str(SCRIPTS / "failing_rank.py"), *TINY, "--output", "run"]
    ended = launch(launcher, command, tmp_path)
    assert ended.returncode == {"gloo": 1, "mpi": 4}[launcher]
    assert time.monotonic() - started < 120
    told = ended.stdout + ended.stderr
    assert told.count("distbench: rank ") == 1
    assert "rank 1 failed with ZeroDivisionError: by the test" in told
    document = status(tmp_path / "run")
    assert (document["state"], document["exit_code"], document["rank"]) == ("failed", 4, 1)
    assert "by the test" in document["cause"]
    assert processes_left(str(tmp_path)) == []
    found = load_run(tmp_path / "run")
    assert found.incomplete[0].startswith("rank 1 failed: ")
    failure = found.ranks[1].failure
    assert failure is not None
    assert "ZeroDivisionError" in failure["traceback"]
    assert len(found.ranks[0].blocks) >= 6  # what was measured before is there
    assert main(["report", str(tmp_path / "run")]) == 4
    assert "INCOMPLETE: rank 1 failed" in (tmp_path / "run/derived/report.md").read_text()


def test_incorrect_weights_at_the_end_leave_no_headline(tmp_path: Path) -> None:
    need()
    command = [sys.executable, str(SCRIPTS / "runaway_weights.py"), *TINY, "--output", "run"]
    ended = run(command, tmp_path)
    assert ended.returncode == 6, ended.stderr
    assert "the network holds a NaN" in ended.stderr
    assert "Total img/sec" not in ended.stdout
    document = status(tmp_path / "run")
    assert (document["state"], document["exit_code"]) == ("failed", 6)
    assert load_run(tmp_path / "run").ranks[0].blocks  # the times are kept, but
    assert main(["report", str(tmp_path / "run")]) == 4
    assert "No headline" in (tmp_path / "run/derived/report.md").read_text()


@pytest.mark.parametrize("launcher", ["gloo", "mpi"])
def test_a_run_whose_step_is_pruned_times_nothing(launcher: str, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "pruned_run.py"), *TINY, "--output", "run"]
    ended = launch(launcher, command, tmp_path)
    assert ended.returncode == {"gloo": 1, "mpi": 6}[launcher]
    sentence = "forward_backward_allreduce executed 0 allreduces in a step instead of 32"
    assert (ended.stdout + ended.stderr).count(sentence) == 1
    document = status(tmp_path / "run")
    assert (document["state"], document["exit_code"]) == ("failed", 6)
    assert document["gather"]["files_verified"] == 2
    assert all(not records.blocks for records in load_run(tmp_path / "run").ranks)
    assert "Total img/sec" not in ended.stdout


def test_settings_of_the_speed_are_in_use_proven_and_reported(tmp_path: Path) -> None:
    """Several at once, over MPI: each must be read back, and the work must still be proven."""
    settings = ["--precision", "bfloat16", "--compression", "fp16", "--grouped-allreduce", "5"]
    settings += ["--input", "host", "--fusion-threshold-mb", "16", "--cycle-time-ms", "2"]
    ended = launch("mpi", distbench(*TINY, *settings, "--inter-op-threads", "1"), tmp_path)
    assert ended.returncode == 0, ended.stderr
    found = load_run(only_run(tmp_path))
    assert (found.incomplete, found.problems) == ((), ())
    for records in found.ranks:
        assert records.preflight is not None
        in_use = {one["name"]: one["in_use"] for one in records.preflight["settings_in_use"]}
        assert (in_use["precision"], in_use["compression"]) == ("bfloat16", "fp16")
        assert (in_use["grouped_allreduce"], in_use["input"]) == ("5", "host")
        assert (in_use["inter_op_threads"], in_use["cycle_time_ms"]) == ("1", None)
        executed = records.preflight["groups"]["world"]["executed_allreduces"]
        assert (executed["allreduce"], executed["train_step"]) == (32, 32)
        assert records.preflight["computing"]["2"]["against_float32"]["cosine"] > 0.99
    assert found.manifest["environment"]["HOROVOD_FUSION_THRESHOLD"] == str(16 * 2**20)
    assert "bfloat16, fed by the host, fp16 on the wire, gradients in 5 group(s)" in ended.stdout
    assert "(sent as 1.910 MB of fp16" in ended.stdout


@pytest.mark.parametrize("reduction", ["adasum", "scaled_sum"])
def test_other_reductions_are_proven_over_mpi(tmp_path: Path, reduction: str) -> None:
    command = distbench(*TINY, "--reduction", reduction, "--phases", "allreduce,train_step")
    ended = launch("mpi", command, tmp_path)
    assert ended.returncode == 0, ended.stderr
    (first, _) = load_run(only_run(tmp_path)).ranks
    assert first.preflight is not None
    assert first.preflight["groups"]["world"]["executed_allreduces"]["allreduce"] == 32
