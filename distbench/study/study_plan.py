"""What a study will do and how long it may take: the plan before it, the progress while it runs."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from distbench import config
from distbench.durable_files import read_object
from distbench.errors import DistbenchError
from distbench.plain_text import aligned, printable
from distbench.study.study import Cell
from distbench.study.study_files import COMPLETE, FAILURES, Attempt, completed

LINE_EVERY_S = 60.0  # of the running launch, where no terminal shows it all the time
_BY_DEVICE = "* on GPUs, or on CPUs: no preset is named, so that it follows from the device"
_ESTIMATE = (
    "A time is the median of the cell's own complete launches; of a cell without, its steps times "
    "the median time per step of the others, start-up included."
)


@dataclass(frozen=True)
class FinishedTime:
    """How long a complete launch took, start-up included."""

    cell_id: str
    steps: int
    wall_s: float
    on_gpu: bool


def finished_times(attempts: Iterable[Attempt]) -> list[FinishedTime]:
    """The times of the complete launches that somebody took."""
    found = []
    for attempt in attempts:
        if attempt.verdict.state != COMPLETE or attempt.verdict.wall_s is None:
            continue
        document = read_object(attempt.layout.run.config)
        document.pop("run_id", None)
        try:
            settings = config.from_dict(document)
        except DistbenchError:
            continue  # of another version; its time is no guide
        steps = attempt.cell.steps_of(settings)
        on_gpu = settings.preset != "cpu"
        found.append(FinishedTime(attempt.cell.id, steps, attempt.verdict.wall_s, on_gpu))
    return found


def expected_s(cell: Cell, finished: Sequence[FinishedTime]) -> float | None:
    """How long one launch of the cell may take: as its own did, else by its steps; None: unknown."""
    own = [time.wall_s for time in finished if time.cell_id == cell.id]
    if own:
        return statistics.median(own)
    if not finished:
        return None
    per_step_s = statistics.median(time.wall_s / time.steps for time in finished)
    return per_step_s * cell.planned_steps(finished[0].on_gpu)


def time_left(cells: Sequence[Cell], finished: Sequence[FinishedTime], limit_s: int) -> str:
    """The time that one launch of each of `cells` may take together, and what that rests on."""
    at_most = f"at most {duration(len(cells) * limit_s)} by the time limit"
    if not finished:
        return f"time unknown until the first launch is complete, {at_most}"
    total_s = sum(expected_s(cell, finished) or 0.0 for cell in cells)
    return f"about {duration(total_s)}, judging by {len(finished)} complete launch(es), {at_most}"


def plan_lines(
    cells: Sequence[Cell],
    repeat: int,
    attempts: Mapping[str, Sequence[Attempt]],
    limit_s: int,
) -> list[str]:
    """The table of the cells, with the steps, what is done and the time of each, and of all."""
    finished = finished_times(one for of_cell in attempts.values() for one in of_cell)
    rows = [("cell", "ranks", "steps", "launches", "done", "failed", "time of a launch")]
    left: list[Cell] = []
    for cell in cells:
        of_cell = attempts.get(cell.id, ())
        done = completed(of_cell)
        failed = sum(one.verdict.state in FAILURES for one in of_cell)
        left += [cell] * max(0, repeat - done)
        time_s = expected_s(cell, finished)
        rows.append(
            (
                cell.label,
                str(cell.ranks),
                _steps_text(cell, finished),
                str(repeat),
                str(done),
                str(failed),
                "unknown" if time_s is None else f"about {duration(time_s)}",
            )
        )
    notes = [_BY_DEVICE] if any(row[2].endswith("*") for row in rows) else []
    if finished and left:
        notes.append(_ESTIMATE)
    time = time_left(left, finished, limit_s) if left else "all are complete"
    return [*aligned(rows), *notes, f"{len(left)} launch(es) to run: {time}"]


def _steps_text(cell: Cell, finished: Sequence[FinishedTime]) -> str:
    """Exact where a preset is given; else it follows from the device, which is not known yet."""
    steps = {on_gpu: cell.planned_steps(on_gpu) for on_gpu in (True, False)}
    if finished:
        return str(steps[finished[0].on_gpu])
    return (
        str(steps[True]) if len(set(steps.values())) == 1 else f"{steps[True]} or {steps[False]}*"
    )


def duration(time_s: float) -> str:
    """A duration for a person: '45 s', '3 min 20 s', '2 h 5 min'."""
    whole = max(1, round(time_s))
    if whole < 60:
        return f"{whole} s"
    minutes, seconds = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    return f"{minutes // 60} h {minutes % 60} min"


class RunProgress:
    """Follows what a launch prints, for the last 'step 120 of 600' in it."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read_bytes = 0
        self._rest = b""
        self.text = ""

    def look(self) -> str:
        """The last step that was told, '' before the first."""
        try:
            with open(self._log, "rb") as file:
                file.seek(self._read_bytes)
                new = file.read()
        except OSError:
            return self.text
        self._read_bytes += len(new)
        told = re.findall(rb"distbench: step (\d{1,9}) of (\d{1,9}),", self._rest + new)
        if told:
            self.text = f"step {int(told[-1][0])} of {int(told[-1][1])}"
        self._rest = new[-100:]  # a line may have been written in part
        return self.text


class Console:
    """Tells a person how a study goes: tables on `out`; on `err` lines that stay, and one that moves."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out, self._err = out, err
        self._on_terminal = err.isatty()
        self._is_open = False  # a line that moves stands there

    def table(self, lines: Iterable[str]) -> None:
        """Lines as they are."""
        self._print(self._out, "".join(f"{printable(line)}\n" for line in lines))

    def say(self, text: str) -> None:
        """One line that stays."""
        start = "\r\x1b[K" if self._is_open else ""
        self._is_open = False
        self._print(self._err, f"{start}distbench: {printable(text)}\n")

    def update(self, text: str, since_last_s: float) -> bool:
        """Where the running launch is, `since_last_s` after the last such; whether it was shown."""
        if self._on_terminal:
            self._is_open = True
            self._print(self._err, f"\r\x1b[Kdistbench: {printable(text)}")
            return True
        if since_last_s < LINE_EVERY_S:
            return False
        self.say(text)
        return True

    @staticmethod
    def _print(stream: TextIO, text: str) -> None:
        stream.write(text)
        stream.flush()
