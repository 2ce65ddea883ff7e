"""What is left of a run whose processes are killed with SIGKILL at random moments.

Two kinds of runs. Writers: one process that writes blocks as fast as it can, lines of up to half a MB,
and replaces status.json beside them; it tells each block on a pipe once it is on disk. Every second one
has a disk that takes a line in pieces, so that kills come in the middle of lines. Real runs: two ranks
under horovodrun and mpirun in turns; one rank, the launcher, or all of them are killed after a random
number of blocks, and what was on disk just before is what they told.

Afterwards no process is left; every block that was told is there and is the one that was written; at
most one line of a rank is torn, and it is the last; status.json is whole; and `distbench report` (after
each real run and every fifth writer) makes a report, marked INCOMPLETE where a rank has no end line; it
refuses with exit code 10 only where no timed block was finished by all ranks.

    python benchmarks/kill_campaign.py [--writers 40] [--real 10] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from distbench.config import Config, from_dict
from distbench.durable_files import json_document, read_object, write_atomically
from distbench.errors import RankFailedError, RecordsError
from distbench.groups import plan_groups
from distbench.layout import RunLayout
from distbench.plan import plan_blocks
from distbench.rank_writer import RankWriter
from distbench.records import SCHEMA_NAME, SCHEMA_VERSION, decode, raw_file_name
from distbench.study import processes

RUN_ID = "kill-campaign"
MARK = "KILL_CAMPAIGN_MARK"
STEPS_OF_BLOCKS = (1, 10, 1_000, 30_000)
PIECE_BYTES = 64
REPORT_EVERY = 5  # of the writers
WRITER_ALIVE_S = 0.8  # at most, after its header is on disk
GONE_WITHIN_S = 60.0
REPORT_WITHIN_S = 120.0
LAUNCHERS = {
    "horovodrun": "horovodrun --gloo -np 2 -H localhost:2",
    "mpirun": "mpirun --allow-run-as-root --oversubscribe -np 2",
}
TINY = "--preset quick --batch-size 2 --steps 12 --warmup-steps 1 --output run"
VICTIMS = ("rank 0", "rank 1", "launcher", "all")


@dataclass
class Outcome:
    """What one kill left; `faults` are broken promises."""

    kind: str
    victim: str
    told_blocks: int = 0
    found_blocks: int = 0
    torn_lines: int = 0  # by the bytes alone
    problems: int = 0  # that the reader tells of
    half_made_files: int = 0
    gone_after_s: float = 0.0
    was_complete: bool = False
    has_timed_block: bool = False  # that every rank has finished
    report: str = "not asked for"
    faults: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writers", type=int, default=40)
    parser.add_argument("--real", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--be-writer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--in-pieces", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.be_writer:
        if arguments.in_pieces:
            whole_write = os.write
            os.write = lambda file, data: whole_write(file, data[:PIECE_BYTES])
        write_until_killed(arguments.be_writer)
    from interleaved import save

    outcomes = campaign(arguments.writers, arguments.real, arguments.seed, with_reports=True)
    document = {"seed": arguments.seed, "outcomes": [asdict(one) for one in outcomes]}
    save("kill_campaign", tally(outcomes), document)
    sys.exit(any(one.faults for one in outcomes))


def campaign(writers: int, real: int, seed: int, with_reports: bool) -> list[Outcome]:
    """Kills that many runs of each kind, one after the other."""
    chance, outcomes = random.Random(seed), []
    for number in range(writers + real):
        with tempfile.TemporaryDirectory(prefix="distbench-kill-") as folder:
            if number < writers:
                outcome = kill_writer(Path(folder), number % 2 == 1, chance)
            else:
                turn = number - writers
                launcher = list(LAUNCHERS)[turn % len(LAUNCHERS)]
                victim = VICTIMS[turn // len(LAUNCHERS) % len(VICTIMS)]
                outcome = kill_real_run(Path(folder), launcher, victim, chance)
            if with_reports and (number >= writers or number % REPORT_EVERY == 0):
                check_report(Path(folder) / "run", outcome)
        outcomes.append(outcome)
        print(f"{number + 1} of {writers + real}: {asdict(outcome)}", flush=True)
    return outcomes


def tally(outcomes: Sequence[Outcome]) -> list[str]:
    """The campaign in a few lines."""
    lines = []
    for kind in dict.fromkeys(one.kind for one in outcomes):
        of_kind = [one for one in outcomes if one.kind == kind]
        victims = Counter(one.victim for one in of_kind)
        reports = Counter(one.report for one in of_kind)
        told, found = (
            sum(getattr(one, f"{w}_blocks") for one in of_kind) for w in ("told", "found")
        )
        lines += [
            f"{kind}: {len(of_kind)} killed ({_counted(victims)})",
            f"  blocks told before the kill: {told}; of these readable afterwards: "
            f"{told - sum(_lost(one) for one in of_kind)}; found in all: {found}",
            f"  torn last lines: {sum(one.torn_lines for one in of_kind)}; half-made files left and "
            f"not read: {sum(one.half_made_files for one in of_kind)}",
            f"  all processes gone after at most {max(one.gone_after_s for one in of_kind):.1f} s; "
            f"reports: {_counted(reports)}",
        ]
    faults = [fault for one in outcomes for fault in one.faults]
    return [*lines, f"promises broken: {len(faults)} in {len(outcomes)} kills", *faults]


def _counted(counter: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


def _lost(outcome: Outcome) -> int:
    return max(0, outcome.told_blocks - outcome.found_blocks)


# A process that only writes


def write_until_killed(directory: Path) -> None:
    """Writes blocks of known content until the end, and tells each one that is on disk."""
    layout = RunLayout(directory)
    layout.raw.mkdir(parents=True)
    config = Config(steps=10_000, blocks=1_000, warmup_steps=0, phases=("forward",))
    write_atomically(layout.config, json_document({"run_id": RUN_ID, **config.as_dict()}))
    writer = RankWriter(layout.raw, RUN_ID, 0)
    writer.append("header", **_header())
    os.write(1, b"0\n")
    index = 0
    while True:
        index += 1
        writer.append("block", **_block(index))
        os.write(1, b"%d\n" % index)
        write_atomically(layout.status, json_document({"state": "running", "block": index}))


def _header() -> dict[str, Any]:
    device = {"kind": "CPU", "name": "", "nvml_name": "", "threads": 1, "threads_reason": ""}
    return {
        "schema": SCHEMA_NAME,
        "schema_version": SCHEMA_VERSION,
        "size": 1,
        "local_rank": 0,
        "local_size": 1,
        "host": "node",
        "boot_id": "boot",
        "device": device,
        "controller": "gloo",
        "transport": "none",
        "grad_bytes": 1000,
        "tensor_count": 1,
    }


def _block(index: int) -> dict[str, Any]:
    """The block of this number, which a reader can work out again."""
    steps = STEPS_OF_BLOCKS[index % len(STEPS_OF_BLOCKS)]
    return {
        "phase": "forward",
        "group": "world",
        "group_size": 1,
        "role": "reducing",
        "block": index,
        "warmup": False,
        "images_per_step": 4,
        "telemetry": None,
        "start_ns": [1000 * index + step for step in range(steps)],
        "duration_ns": [index + 1] * steps,
    }


def kill_writer(folder: Path, in_pieces: bool, chance: random.Random) -> Outcome:
    """Kills one writer at a random moment after its header."""
    outcome = Outcome("writers of lines in pieces" if in_pieces else "writers", "the writer")
    command = [sys.executable, __file__, "--be-writer", str(folder / "run")]
    if in_pieces:
        command.append("--in-pieces")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            time.sleep(chance.uniform(0, WRITER_ALIVE_S))
        finally:
            process.kill()
        killed_s = time.monotonic()
        told = process.stdout.read().split(b"\n")
    outcome.gone_after_s = time.monotonic() - killed_s
    outcome.told_blocks = len([line for line in told if line])
    check_directory(RunLayout(folder / "run"), 1, outcome)
    check_blocks(folder / "run", outcome)
    return outcome


def check_blocks(directory: Path, outcome: Outcome) -> None:
    """A writer's blocks are those that it wrote, and all that it told; one more may have got there."""
    records = [one for one in whole_lines(directory, 0, outcome) if one["kind"] == "block"]
    outcome.found_blocks = len(records)
    for index, record in enumerate(records, 1):
        if not _block(index).items() <= record.items():
            outcome.faults.append(f"block {index} is not what was written")
    if outcome.found_blocks - outcome.told_blocks not in (0, 1):
        outcome.faults.append(
            f"{outcome.found_blocks} blocks found where {outcome.told_blocks} were told"
        )


# Real ranks


def kill_real_run(folder: Path, launcher: str, victim: str, chance: random.Random) -> Outcome:
    """Kills one rank, the launcher, or all, after a random number of blocks."""
    outcome, mark = Outcome(launcher, victim), str(uuid.uuid4())
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DISTBENCH_", "OMPI_", "HOROVOD_", "PMI"))
    }
    argv = [*LAUNCHERS[launcher].split(), sys.executable, "-m", "distbench", *TINY.split()]
    process = subprocess.Popen(
        argv,
        cwd=folder,
        env={**environment, MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for_blocks(folder / "run", process, chance)
        before = _files(folder / "run")
        for pid in _victims(victim, process.pid, mark):
            _kill(pid)
        killed_s = time.monotonic()
        if not _all_gone(process, mark):
            outcome.faults.append(
                f"{victim} of {launcher}: processes left after {GONE_WITHIN_S:g} s"
            )
        outcome.gone_after_s = time.monotonic() - killed_s
    finally:
        processes.end_marked(MARK, mark, grace_s=0)
        process.wait()
    check_directory(RunLayout(folder / "run"), 2, outcome)
    for rank in range(2):
        _compare_rank(folder / "run", rank, before.get(raw_file_name(rank), b""), outcome)
    return outcome


def _wait_for_blocks(
    directory: Path, process: subprocess.Popen[bytes], chance: random.Random
) -> None:
    """Returns at a random moment between the first block and the end of the run."""
    wanted = None
    while process.poll() is None:
        held = _files(directory).get(raw_file_name(0), b"")
        if wanted is None and (values := read_object(RunLayout(directory).config)):
            del values["run_id"]
            config = from_dict(values)
            wanted = chance.randint(1, len(plan_blocks(config, plan_groups(config, [0, 0]))))
        if wanted is not None and held.count(b'"kind":"block"') >= wanted:
            time.sleep(chance.uniform(0, 0.1))
            return
        time.sleep(0.005)


def _files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in RunLayout(directory).raw.glob("rank-*")}


def _victims(victim: str, launcher_pid: int, mark: str) -> list[int]:
    if victim == "launcher":
        return [launcher_pid]
    if victim == "all":
        return processes.marked(MARK, mark)
    return [pid for pid in processes.marked(MARK, mark) if _rank_of(pid) == victim]


def _rank_of(pid: int) -> str | None:
    """'rank 1' where the process is Python as that rank and not what a launcher started it with."""
    try:
        program = Path(os.readlink(f"/proc/{pid}/exe")).name
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    if not program.startswith("python") or words[1:3] != [b"-m", b"distbench"]:
        return None
    for name in (b"HOROVOD_RANK=", b"OMPI_COMM_WORLD_RANK="):
        for variable in variables:
            if variable.startswith(name):
                return f"rank {int(variable.removeprefix(name))}"
    return None


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:  # its end came first
        return


def _all_gone(process: subprocess.Popen[bytes], mark: str) -> bool:
    ended = processes.wait(process, GONE_WITHIN_S)
    return processes.wait_until_gone(MARK, mark, GONE_WITHIN_S) and ended


def _compare_rank(directory: Path, rank: int, before: bytes, outcome: Outcome) -> None:
    """Whatever line stood on disk just before the kill must stand there, the same, after it."""
    told = before[: before.rfind(b"\n") + 1]
    after = (RunLayout(directory).raw / raw_file_name(rank)).read_bytes()
    if not after.startswith(told):
        outcome.faults.append(f"{raw_file_name(rank)} changed what it held before the kill")
    found = [one for one in whole_lines(directory, rank, outcome) if one["kind"] == "block"]
    outcome.told_blocks += told.count(b'"kind":"block"')
    outcome.found_blocks += len(found)


# What must hold afterwards


def check_directory(layout: RunLayout, size: int, outcome: Outcome) -> None:
    """Documents are whole, and only the ranks' own files are taken for records."""
    for path in (layout.config, layout.manifest, layout.status):
        if path.exists() and not read_object(path):
            outcome.faults.append(f"{path.name} is half of a document")
    outcome.half_made_files = sum(path.suffix == ".tmp" for path in layout.directory.rglob(".*"))
    from distbench.analysis.collect import load_run  # the writers start faster without it

    run = load_run(layout.directory)
    if [records.rank for records in run.ranks] != list(range(size)):
        outcome.faults.append(f"the reader found the ranks {[one.rank for one in run.ranks]}")
    outcome.problems = sum(len(records.problems) for records in run.ranks)
    outcome.was_complete = not run.incomplete
    outcome.has_timed_block = bool(set.intersection(*(_timed(one.blocks) for one in run.ranks)))
    if outcome.was_complete and any(records.end is None for records in run.ranks):
        outcome.faults.append("a run without all end lines is called complete")


def _timed(blocks: Sequence[Mapping[str, Any]]) -> set[tuple[str, int]]:
    return {(one["phase"], one["block"]) for one in blocks if not one["warmup"]}


def whole_lines(directory: Path, rank: int, outcome: Outcome) -> Iterator[dict[str, Any]]:
    """The records of a rank by its bytes alone; anything but a torn last line is a fault."""
    content = (RunLayout(directory).raw / raw_file_name(rank)).read_bytes()
    *lines, torn = content.split(b"\n")
    outcome.torn_lines += bool(torn)
    for number, line in enumerate(lines):
        try:
            record = decode(line)
        except ValueError as error:
            outcome.faults.append(f"line {number + 1} of rank {rank}: {error}")
            continue
        if record["seq"] != number:
            outcome.faults.append(f"line {number + 1} of rank {rank} has number {record['seq']}")
        yield record


def check_report(directory: Path, outcome: Outcome) -> None:
    """The command makes a report that says whether the run is whole."""
    shutil.rmtree(RunLayout(directory).derived, ignore_errors=True)
    ended = subprocess.run(
        [sys.executable, "-m", "distbench", "report", str(directory)],
        capture_output=True,
        text=True,
        timeout=REPORT_WITHIN_S,
    )
    path = RunLayout(directory).derived / "report.md"
    text = path.read_text() if path.exists() else ""
    if outcome.problems != outcome.torn_lines:
        outcome.faults.append(f"{outcome.problems} problems told, {outcome.torn_lines} lines torn")
    is_marked = "INCOMPLETE" in text
    if not outcome.has_timed_block:
        wanted, outcome.report = RecordsError.exit_code, "refused, nothing timed yet"
        is_right = not text
    else:
        wanted = 0 if outcome.was_complete else RankFailedError.exit_code
        outcome.report = "marked INCOMPLETE" if is_marked else "complete"
        is_right = bool(text) and is_marked != outcome.was_complete
    if ended.returncode != wanted or not is_right:
        outcome.report = "missing or wrong"
        last = json.dumps(ended.stderr[-300:])
        outcome.faults.append(f"report: exit code {ended.returncode}, marked {is_marked}, {last}")


if __name__ == "__main__":
    main()
