"""A study on disk: study.json, its lock, and the launches of its cells with how each of them ended.

    study.json                       the description and its cells, written once; `repeat` may grow
    cells/<cell>/attempt-<n>/        one launch: argv.json, log, verdict.json, and run/, the run itself

How a launch ended follows from evidence: it is complete where its run says so and every rank's file is
whole, whatever else was noted.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from distbench.durable_files import (
    json_document,
    read_object,
    write_atomically,
)
from distbench.errors import OutputError, UsageError
from distbench.layout import AttemptLayout, LaunchesLayout, StudyLayout
from distbench.study import study_fields
from distbench.study.documents import Schema, read_document
from distbench.study.run_evidence import problems_of_run
from distbench.study.study import Cell, Study, cell_from_dict, cells_of

SCHEMA = Schema("distbench.study", 1)
COMPLETE, FAILED, OUT_OF_MEMORY, TIMEOUT, INTERRUPTED, WAITING = (
    "complete",
    "failed",
    "out of memory",
    "timeout",
    "interrupted",
    "waiting",
)
FAILURES = (FAILED, OUT_OF_MEMORY, TIMEOUT)


class Verdict(NamedTuple):
    """How one launch ended: `state` is one of the words above, `cause` says why, '' where complete.

    `wall_s` is its duration, start-up included; None where nobody was there to take it.
    """

    state: str
    cause: str = ""
    wall_s: float | None = None


@dataclass(frozen=True)
class Attempt:
    """One launch of one cell, and how it ended."""

    cell: Cell
    number: int
    layout: AttemptLayout
    verdict: Verdict


@dataclass(frozen=True)
class StudyRecord:
    """A study as its directory tells it. `emitted` is the batch system that runs it, '' for none."""

    layout: StudyLayout
    mark: str  # names its processes
    emitted: str
    repeat: int
    description: Mapping[str, Any]
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.description["study"]["name"])

    @property
    def order_seed(self) -> int:
        """What the order of the launches follows from."""
        return int(self.description["study"]["order_seed"])

    def attempts(self, cell: Cell) -> list[Attempt]:
        """All launches of a cell, in order."""
        return attempts_of(self.layout, cell, bool(self.emitted))

    def all_attempts(self) -> dict[str, list[Attempt]]:
        """All launches of all cells, by the cell's id."""
        return {cell.id: self.attempts(cell) for cell in self.cells}


def attempts_of(layout: LaunchesLayout, cell: Cell, is_emitted: bool = False) -> list[Attempt]:
    """All launches of a cell, in order."""
    numbers = []
    for path in layout.cell(cell.id).glob("attempt-*"):
        number = path.name.removeprefix("attempt-")
        if number.isdecimal() and path.is_dir():
            numbers.append(int(number))
    return [attempt_of(layout, cell, number, is_emitted) for number in sorted(numbers)]


def attempt_of(
    layout: LaunchesLayout, cell: Cell, number: int, is_emitted: bool = False
) -> Attempt:
    """One launch of a cell as its directory tells it."""
    own = layout.attempt(cell.id, number)
    return Attempt(cell, number, own, verdict_of(own, cell, is_emitted))


def verdict_of(layout: AttemptLayout, cell: Cell, is_emitted: bool) -> Verdict:
    """How a launch ended, by what it left: the run itself first, then what the study noted."""
    noted = _noted_verdict(layout)
    problems = problems_of_run(layout.run, cell.ranks, cell.settings)
    if not problems:
        return Verdict(COMPLETE, wall_s=noted.wall_s if noted else None)
    if noted is None:
        state = WAITING if is_emitted else INTERRUPTED
        return Verdict(state, f"nobody saw its end; {problems[0]}")
    if noted.state == COMPLETE:
        return Verdict(FAILED, f"was complete and is not any more: {problems[0]}", noted.wall_s)
    return noted


def _noted_verdict(layout: AttemptLayout) -> Verdict | None:
    try:
        noted = read_object(layout.verdict)
        wall_s = noted["wall_s"]
        return Verdict(
            str(noted["state"]), str(noted["cause"]), None if wall_s is None else float(wall_s)
        )
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def write_verdict(layout: AttemptLayout, verdict: Verdict, **more: Any) -> None:
    """Notes how a launch ended."""
    document = {
        "state": verdict.state,
        "cause": verdict.cause,
        "wall_s": verdict.wall_s,
        **more,
    }
    write_atomically(layout.verdict, json_document(document))


def new_attempt(record: StudyRecord, cell: Cell, number: int) -> AttemptLayout:
    """Makes the directory of one more launch. Raises OutputError where it cannot be made."""
    return make_attempt(record.layout, cell, number)


def make_attempt(layout: LaunchesLayout, cell: Cell, number: int) -> AttemptLayout:
    """The same in any directory of launches."""
    own = layout.attempt(cell.id, number)
    try:
        own.directory.mkdir(parents=True)
    except OSError as error:
        raise _cannot_make(own.directory, error) from error
    return own


def create(study: Study, output: str, emitted: str) -> StudyRecord:
    """Makes the directory of a new study: `output`, or one under results/ named after the study.

    Raises OutputError where it exists already or cannot be made.
    """
    directory = new_directory(output, study.name, "study")
    record = StudyRecord(
        layout=StudyLayout(directory),
        mark=str(uuid.uuid4()),
        emitted=emitted,
        repeat=study.repeat,
        description=study.as_dict(),
        cells=cells_of(study),
    )
    write_record(record)
    return record


def new_directory(output: str, name: str, what: str) -> Path:
    """Makes `output`, or where it is empty a directory under results/ named after `name`.

    `what` is a study or a tuning. Raises OutputError where it exists already or cannot be made.
    """
    if output:
        directory = Path(output)
    else:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())  # a label; no duration uses it
        label = f"{directory_name(name, what)}-{stamp}-{uuid.uuid4().hex[:4]}"
        directory = Path("results") / label
    _make(directory, what)
    return directory


def _make(directory: Path, what: str) -> None:
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_make(directory.parent, error) from error
    try:
        directory.mkdir()
    except FileExistsError as error:
        raise OutputError(
            f"the directory {directory} exists already and a {what} is never overwritten; "
            f"name another one with --output, or go on with this {what} with --resume"
        ) from error
    except OSError as error:
        raise _cannot_make(directory, error) from error


def directory_name(name: str, what: str) -> str:
    """The beginning of the names of all directories under results/ of that study or tuning."""
    return study_fields.file_name(name, what, longest=40)


def _cannot_make(directory: Path, error: OSError) -> OutputError:
    return OutputError(
        f"the directory {directory} cannot be made ({error.strerror}); "
        "name a place that can be written with --output"
    )


def write_record(record: StudyRecord) -> None:
    """Writes study.json."""
    document = {
        **SCHEMA.as_dict(),
        "mark": record.mark,
        "emitted": record.emitted,
        "repeat": record.repeat,
        "description": record.description,
        "cells": [cell.as_dict() for cell in record.cells],
    }
    write_atomically(record.layout.study, json_document(document))


def load(directory: Path) -> StudyRecord:
    """Reads study.json. Raises RecordsError where the directory holds no study."""
    layout = StudyLayout(directory)
    return read_document(
        layout.study,
        "study",
        SCHEMA,
        lambda document: StudyRecord(
            layout=layout,
            mark=str(uuid.UUID(document["mark"])),
            emitted=str(document["emitted"]),
            repeat=int(document["repeat"]),
            description=document["description"],
            cells=tuple(cell_from_dict(cell) for cell in document["cells"]),
        ),
    )


def find(study: Study, output: str) -> StudyRecord:
    """The study to resume: the one in `output`, else the newest of that name under results/.

    Raises UsageError where there is none.
    """
    if output:
        return load(Path(output))
    found = sorted(Path("results").glob(f"{directory_name(study.name, 'study')}-*/study.json"))
    records = [load(path.parent) for path in found]
    of_that_name = [record for record in records if record.name == study.name]
    if not of_that_name:
        raise UsageError(
            f"there is no study {study.name!r} under results/ to resume; "
            "name its directory with --output, or leave --resume out to begin"
        )
    return of_that_name[-1]


@contextmanager
def locked(layout: LaunchesLayout, what: str = "study") -> Iterator[None]:
    """Holds the directory's lock, which the kernel takes away when this process ends, however it does.

    Raises OutputError where another process holds it.
    """
    try:
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise OutputError(
            f"{layout.lock} cannot be opened ({error.strerror}); make the {what}'s directory writable"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(
                f"another distbench works on the {what} in {layout.directory} already; "
                "wait for its end, or end it"
            ) from error
        yield
    finally:
        os.close(descriptor)


def completed(attempts: Sequence[Attempt]) -> int:
    """How many of these launches are complete."""
    return sum(attempt.verdict.state == COMPLETE for attempt in attempts)
