"""What earlier runs left: ranks that still live, runs that never ended, half-written files.

Nothing is ended and nothing deleted: whether a process or a file is still wanted, only its owner knows.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from distbench.doctor.output_place import PREFIX
from distbench.doctor.verdicts import Verdict, note, ok, problem
from distbench.durable_files import read_object
from distbench.layout import RunLayout
from distbench.process_stat import read_stat

MOST_PATHS = 20_000  # looked at; a place of results holds fewer
MOST_DEPTH = 5  # of a study: cells/<id>/attempt-1/run/raw
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]+\.tmp")  # as durable_files names them
WRITING_S = 60.0  # another node may still be at a file that is younger
_LAUNCHERS = ("mpirun", "mpiexec", "horovodrun", "orted", "prted", "srun", "slurmstepd", "hydra")
_PROBE = "distbench.doctor.probe_rank"
_FLAGS_WITH_VALUE = ("-W", "-X")


class OldRank(NamedTuple):
    """A living process that is a rank; without a launcher nobody will end it."""

    pid: int
    age_s: float
    has_launcher: bool
    is_stopped: bool


class Leftovers(NamedTuple):
    """All that was found."""

    ranks: Sequence[OldRank] = ()
    stale_runs: Sequence[tuple[str, float]] = ()  # directory, seconds since its last write
    temporary_files: Sequence[str] = ()
    is_complete: bool = True


def collect(place: Path, proc: Path = Path("/proc")) -> Leftovers:
    """Looks at this user's processes and at the files under `place`."""
    paths = list(islice(_paths(place), MOST_PATHS + 1))
    written = _files_open(proc)
    runs = [path.parent for path in paths if path.name == "status.json"]
    stale = [
        (str(run), _run_age_s(run))
        for run in runs
        if read_object(RunLayout(run).status).get("state") == "running"
        and not any(name.startswith(f"{run.resolve()}/") for name in written)
    ]
    temporary = [str(path) for path in paths if _is_abandoned(path, written)]
    return Leftovers(tuple(living_ranks(proc)), stale, temporary, len(paths) <= MOST_PATHS)


def living_ranks(proc: Path = Path("/proc")) -> Iterator[OldRank]:
    """This user's processes that are ranks of distbench."""
    for folder in _own_processes(proc):
        try:
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            if not is_rank(words):
                continue
            state, parent, started_s = read_stat(folder)
        except (OSError, ValueError, IndexError):
            continue
        has_launcher = parent > 1 or _is_launcher(proc / str(parent))
        age_s = max(0.0, _uptime_s(proc) - started_s)
        yield OldRank(int(folder.name), age_s, has_launcher, is_stopped=state in "Tt")


def is_rank(words: Sequence[str]) -> bool:
    """Whether a command line is a rank's: `python -m distbench`, with no sub-command or with `run`."""
    if "python" not in Path(words[0]).name:
        return False  # mpirun's words hold those of the ranks that it starts
    rest = list(words[1:])
    while rest and rest[0].startswith("-") and rest[0] != "-m":
        rest = rest[2 if rest[0] in _FLAGS_WITH_VALUE else 1 :]
    if rest[:1] == ["-m"]:
        rest = rest[1:]
    elif rest:
        rest[0] = Path(rest[0]).name  # the command that pip installs: python …/bin/distbench
    program, command = [*rest, "", ""][:2]
    if program == "distbench":
        return command in ("", "run") or command.startswith("-")
    return program == _PROBE


def _own_processes(proc: Path) -> Iterator[Path]:
    own = os.getpid()
    for folder in proc.iterdir():
        try:
            is_own = folder.name.isdecimal() and folder.stat().st_uid == os.getuid()
        except OSError:
            continue
        if is_own and int(folder.name) != own:
            yield folder


def _is_launcher(folder: Path) -> bool:
    """A launcher may be the first process of a container."""
    try:
        words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return False
    return any(name in Path(word).name for word in words[:2] for name in _LAUNCHERS)


def _uptime_s(proc: Path) -> float:
    try:
        return float((proc / "uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0


def _files_open(proc: Path) -> set[str]:
    """The files that this user's processes hold open."""
    found = set()
    for folder in _own_processes(proc):
        try:
            for descriptor in (folder / "fd").iterdir():
                found.add(os.readlink(descriptor))
        except OSError:
            continue
    return found


def _paths(folder: Path, depth: int = 0) -> Iterator[Path]:
    """Files under `folder`, links not followed."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if depth < MOST_DEPTH:
                yield from _paths(Path(entry.path), depth + 1)
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def _is_abandoned(path: Path, written: Collection[str]) -> bool:
    """A file of a write, or of a doctor, that was killed: nobody here holds it open, and it is old."""
    if not path.name.startswith(PREFIX) and not _TEMPORARY.fullmatch(path.name):
        return False
    return str(path.resolve()) not in written and _age_s(path) > WRITING_S


def _run_age_s(run: Path) -> float:
    """Seconds since anything in the run was last written."""
    layout = RunLayout(run)
    return min(map(_age_s, (layout.status, *layout.raw.glob("rank-*.jsonl"))))


def _age_s(path: Path) -> float:
    """Seconds since a file was last written; 0 where it is gone by now."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return 0.0


def judge(found: Leftovers) -> list[Verdict]:
    """Verdicts on what is left, each with what to do."""
    verdicts = [*_ranks(found.ranks), *_runs(found.stale_runs), *_temporary(found.temporary_files)]
    if not found.is_complete:
        verdicts.append(
            note(f"only the first {MOST_PATHS} files there were looked at", "name a smaller place")
        )
    return verdicts or [ok("no living rank, no run without an end, no half-written file")]


def _ranks(ranks: Sequence[OldRank]) -> Iterator[Verdict]:
    lost = [rank for rank in ranks if not rank.has_launcher or rank.is_stopped]
    if lost:
        how = "stopped" if lost[0].is_stopped else "without a launcher"
        yield problem(
            f"{len(lost)} rank(s) of earlier runs are left, the first process {lost[0].pid}, {how}, "
            f"started {_span(lost[0].age_s)} ago: they hold cores, GPUs and memory",
            f"end them: kill -9 {_pids(lost)}",
        )
    others = [rank for rank in ranks if rank not in lost]
    if others:
        yield note(
            f"{len(others)} rank(s) of another job of yours run here, the first process "
            f"{others[0].pid}, started {_span(others[0].age_s)} ago",
            f"wait for that job, or end it: kill {_pids(others)}",
        )


def _pids(ranks: Sequence[OldRank]) -> str:
    shown = " ".join(str(rank.pid) for rank in ranks[:8])
    return shown if len(ranks) <= 8 else f"{shown} …"


def _runs(stale: Sequence[tuple[str, float]]) -> Iterator[Verdict]:
    if stale:
        directory, age_s = stale[0]
        yield note(
            f"{len(stale)} run(s) say 'running', but no process of this machine writes them, the "
            f"first {directory}, last written {_span(age_s)} ago",
            f"if no other node runs it, see what it measured: distbench report {directory}",
        )


def _temporary(files: Sequence[str]) -> Iterator[Verdict]:
    if files:
        yield note(
            f"{len(files)} half-written file(s) that no process holds open, the first {files[0]}",
            "they are no results and can be deleted",
        )


def _span(seconds: float) -> str:
    for length_s, unit in ((86400, "day(s)"), (3600, "hour(s)"), (60, "minute(s)")):
        if seconds >= length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} second(s)"
