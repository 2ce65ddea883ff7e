"""Every kind of fault in real jobs of three ranks: bounded, named, and with what was measured kept.

`launch/test.sh --faults` runs all of them; a slice runs every day.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from distbench.records import raw_file_name, read_rank_file
from tests.launching import TINY, distbench, launch, on_own_disks, processes_left, run

STEP_TIMEOUT_S = 10
BOUND_S = STEP_TIMEOUT_S + 15
NOT_STRUCK = ("wrong-gradient", "wrong-version")  # which are there from the beginning
PHASE = "forward_backward_allreduce"
FLAGS = [*TINY, "--blocks", "6", "--step-timeout", str(STEP_TIMEOUT_S), "--output", "run"]


@dataclass(frozen=True)
class Expected:
    """How a fault must end: `cause` with {rank} for the rank that it was done to."""

    exit_code: int
    cause: str
    mpi_exit_codes: tuple[int, ...] = ()  # that mpirun may pass on instead
    names_rank: bool = True
    starts: bool = True  # far enough for a run directory
    times: bool = True  # far enough for timed blocks


FAULTS = {
    "raise": Expected(4, r"rank {rank} failed with RuntimeError: raised on purpose"),
    "exit0": Expected(4, r"rank {rank} was lost \(last heard of in ", (1,)),
    "sigkill": Expected(4, r"rank {rank} was lost \(last heard of in ", (137,)),
    "sigstop": Expected(5, r"no rank moved for 10 s: rank {rank} is frozen"),
    "sleep": Expected(5, r"the others wait for rank {rank}, which stands at faults\.py"),
    "oom": Expected(4, r"rank {rank} failed with MemoryError"),
    "no-space": Expected(9, raw_file_name(0)[:-7] + r"{rank}\.jsonl cannot be written \(No space"),
    "nan": Expected(6, r"", names_rank=False),
    "wrong-gradient": Expected(6, r"allreduce", names_rank=False, times=False),
    "wrong-version": Expected(3, r"version of tensorflow", names_rank=False, starts=False),
}
LOST = ("exit0", "sigkill", "sigstop")
HARMLESS = {
    "slow": r"Rank {rank} on .* computes \d.* slower than the other 2 ranks",
    "skewed-clock": r"clock of rank {rank} ",
}
SLICE = (("sigkill", "mpi", 1), ("sigstop", "gloo", 0), ("no-space", "mpi", 0))


def case(kind: str, launcher: str, rank: int) -> object:
    everyday = (kind, launcher, rank) in SLICE
    marks = [pytest.mark.real] if everyday else [pytest.mark.faults]
    return pytest.param(kind, launcher, rank, marks=marks, id=f"{kind}-{launcher}-rank{rank}")


@pytest.mark.parametrize(
    ("kind", "launcher", "rank"),
    [case(kind, by, rank) for kind in FAULTS for by in ("gloo", "mpi") for rank in (0, 1)],
)
def test_a_fault_ends_in_time_with_its_first_cause_named(
    kind: str, launcher: str, rank: int, tmp_path: Path
) -> None:
    expected = FAULTS[kind]
    plan = fault(f"{kind}:rank={rank},{where(kind)}")
    ended = launch(launcher, distbench(*FLAGS), tmp_path, 3, **plan)
    ended_s, text = time.monotonic(), ended.stdout + ended.stderr
    if kind not in NOT_STRUCK:
        struck_s = re.findall(r"DISTBENCH_FAULT at ([\d.]+) s: ", text)
        assert len(struck_s) == 1 or kind == "exit0"  # horovodrun may lose what was printed last
        assert all(ended_s - float(begun_s) < BOUND_S for begun_s in struck_s), text
    # horovodrun ends with 1 whatever happened; mpirun with the code of whichever rank it saw end first.
    codes = {"gloo": [1], "mpi": [expected.exit_code, *expected.mpi_exit_codes]}
    assert ended.returncode in codes[launcher], text
    assert processes_left(str(tmp_path)) == []
    cause = re.compile(expected.cause.format(rank=rank))
    # mpirun cuts off what the survivors of a lost rank say; the verdict on disk is what counts
    assert cause.search(text) or (launcher == "mpi" and kind in LOST), text
    if expected.starts:
        verdict = json.loads((tmp_path / "run" / "status.json").read_text())
        assert (verdict["state"], verdict["exit_code"]) == ("failed", expected.exit_code), text
        assert cause.search(verdict["cause"])
        assert verdict["rank"] == rank or not expected.names_rank
    if expected.starts and expected.times:
        blocks_are_kept_and_reported(tmp_path, cause)


def blocks_are_kept_and_reported(directory: Path, cause: re.Pattern[str]) -> None:
    """What was measured before the fault is whole on every rank, and makes a report that says so."""
    for rank in range(3):
        records = read_rank_file(directory / "run" / "raw" / raw_file_name(rank))
        assert records.problems == []
        assert sum(not block["warmup"] for block in records.blocks) > 0
    reported = run(distbench("report", "run"), directory)
    assert reported.returncode == 4, reported.stderr
    assert "INCOMPLETE" in reported.stdout
    assert cause.search(reported.stdout), reported.stdout


@pytest.mark.faults
@pytest.mark.parametrize("kind", HARMLESS)
@pytest.mark.parametrize("launcher", ["gloo", "mpi"])
@pytest.mark.parametrize("rank", [0, 1])
def test_what_is_no_failure_ends_well_and_is_named(
    kind: str, launcher: str, rank: int, tmp_path: Path
) -> None:
    phase = "phase=forward_backward" if kind == "slow" else "phase=train_step"
    flags = [*FLAGS, "--steps", "48"]  # of few steps nothing can be said beside others' noise
    ended = launch(launcher, distbench(*flags), tmp_path, 3, **fault(f"{kind}:rank={rank},{phase}"))
    assert ended.returncode == 0, ended.stderr
    assert re.search(HARMLESS[kind].format(rank=rank), ended.stdout), ended.stdout
    assert "DISTBENCH_FAULT was on while timing" in ended.stdout


@pytest.mark.faults
@pytest.mark.parametrize("launcher", ["gloo", "mpi"])
def test_what_a_lost_rank_left_on_its_own_disk_can_be_brought(
    launcher: str, tmp_path: Path
) -> None:
    """Without a shared disk rank 0's part alone makes no job step; with the others' it makes a report."""
    plan = fault(f"sigkill:rank=1,{where('sigkill')}")
    command = on_own_disks(launcher, distbench(*FLAGS))
    launch(launcher, command, tmp_path, 3, **plan)
    assert processes_left(str(tmp_path)) == []
    own, lost = (tmp_path / f"disk-{rank}" for rank in (0, 1))
    assert json.loads((own / "run" / "status.json").read_text())["rank"] == 1
    alone = run(distbench("report", "run"), own)
    assert alone.returncode == 10
    assert "ranks 1 and 2 left no record" in alone.stderr
    for rank in (1, 2):
        name = f"run/raw/{raw_file_name(rank)}"
        (own / name).write_bytes((tmp_path / f"disk-{rank}" / name).read_bytes())
    blocks_are_kept_and_reported(own, re.compile(r"rank 1 was lost"))
    assert not (lost / "run" / "status.json").exists()


START_TIMEOUT_S = 40
START_FAULTS = {
    "raise": r"RuntimeError: raised on purpose",
    "sigkill": r"signal 9|SIGKILL|-9|code: 137",  # nobody but the launcher can know of it
    "sigstop": rf"no step was timed within {START_TIMEOUT_S} s of the start: rank [02] was still "
    r"starting Horovod, which waits for every rank; .*; of this node ranks 0 and 2 came so far",
}


@pytest.mark.faults
@pytest.mark.parametrize("kind", START_FAULTS)
@pytest.mark.parametrize("launcher", ["gloo", "mpi"])
@pytest.mark.parametrize("phase", ["import", "init"])
def test_a_job_that_cannot_start_ends_in_time(
    kind: str, launcher: str, phase: str, tmp_path: Path
) -> None:
    flags = [*TINY, "--start-timeout", str(START_TIMEOUT_S), "--output", "run"]
    plan = fault(f"{kind}:rank=1,phase={phase}")
    ended = launch(launcher, distbench(*flags), tmp_path, 3, **plan)
    ended_s, text = time.monotonic(), ended.stdout + ended.stderr
    assert ended.returncode != 0, text
    (struck_s,) = re.findall(r"DISTBENCH_FAULT at ([\d.]+) s: ", text)
    assert ended_s - float(struck_s) < START_TIMEOUT_S + 15
    assert processes_left(str(tmp_path)) == []
    assert re.search(START_FAULTS[kind], text), text
    assert "Traceback" not in text.split("distbench: ")[0]
    assert not (tmp_path / "run").exists()


def where(kind: str) -> str:
    """NaN must be there when the training is checked; everything else strikes among other blocks."""
    return "phase=train_step,step=4" if kind == "nan" else f"phase={PHASE},step=8"


def fault(text: str) -> dict[str, str]:
    return {"DISTBENCH_TESTING": "1", "DISTBENCH_FAULT": text}
