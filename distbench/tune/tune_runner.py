"""The launches that a search asks for: those on record are read, others are started within the budget.

So a search that is gone through again takes the same way, and goes on where it was interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from distbench.durable_files import read_object
from distbench.errors import UsageError
from distbench.resolving import resolve
from distbench.study import study_files
from distbench.study.launch_runner import LaunchRunner, Limit, ending, next_number
from distbench.study.study import Cell, check_cell
from distbench.study.study_files import Attempt
from distbench.study.study_plan import duration
from distbench.tune.budget import MOST_RESERVED, Budget, LaunchTime, expected_s
from distbench.tune.rounds import Failure
from distbench.tune.space import Choice
from distbench.tune.tune_files import EFFICIENCY, RATE, Purpose, TuneRecord

if TYPE_CHECKING:
    from distbench.analysis.tuned_launches import TunedLaunch

OVER_BUDGET = "the budget was spent before it ended"
RESERVED_LAUNCHES = 2  # the efficiency of the winner and of the one behind it
NOT_ALL_READ = "its records hold no step of all ranks"


@dataclass
class TuneRunner:
    """Launches of one tuning; without `launcher` only those on record."""

    record: TuneRecord
    budget: Budget
    launcher: LaunchRunner | None = None
    times: list[LaunchTime] = field(default_factory=list)
    read: dict[Purpose, TunedLaunch] = field(default_factory=dict)
    why_stopped: str = ""
    on_gpu: bool = False  # as far as launches have told

    def rate(self, choice: Choice, round_number: int) -> float | Failure | None:
        """Images/s of one launch of a setting; None: no launch can be had any more."""
        found = self._measured(Purpose(RATE, choice, round_number))
        return found if found is None or isinstance(found, Failure) else found.images_per_s

    def efficiency(self, choice: Choice) -> TunedLaunch | Failure | None:
        """One launch of a setting in which one rank alone is timed too; None: not to be had."""
        return self._measured(Purpose(EFFICIENCY, choice, 0))

    def is_half_spent(self, round_number: int) -> bool:
        """Whether half of the budget was used by the end of this round; told alike ever after."""
        if round_number not in self.record.half_spent:
            is_half = self.budget.spent_s >= self.budget.total_s / 2
            self.record.half_spent[round_number] = is_half
            self._save()
        return self.record.half_spent[round_number]

    def _measured(self, purpose: Purpose) -> TunedLaunch | Failure | None:
        cell = self._cell(purpose)
        try:
            check_cell(self.record.tuning.study, cell)
        except UsageError as error:
            return Failure(error.sentence)
        attempt = self._on_record(purpose, cell)
        if attempt is None or attempt.verdict.state == study_files.INTERRUPTED:
            attempt = self._launched(purpose, cell)
        if attempt is None or attempt.verdict.state == study_files.INTERRUPTED:
            return None
        if attempt.verdict.state != study_files.COMPLETE:
            return Failure(f"{attempt.verdict.state}: {attempt.verdict.cause}")
        return self._read(purpose, attempt)

    def _cell(self, purpose: Purpose) -> Cell:
        tuning = self.record.tuning
        make = tuning.efficiency_cell if purpose.what == EFFICIENCY else tuning.cell
        return make(purpose.choice)

    def _on_record(self, purpose: Purpose, cell: Cell) -> Attempt | None:
        number = self.record.launches.get(purpose)
        if number is None:
            return None
        attempt = study_files.attempt_of(self.record.layout, cell, number)
        self._note_time(attempt)
        return attempt

    def _launched(self, purpose: Purpose, cell: Cell) -> Attempt | None:
        if self.launcher is None or not self._may_start(purpose, cell):
            return None
        attempts = study_files.attempts_of(self.record.layout, cell)
        number = next_number(attempts)
        self.record.launches[purpose] = number
        self._save()
        where = f"{_name(purpose)} of {cell.label}"
        self.launcher.console.say(f"{where} begins, {duration(self.budget.left_s)} left")
        attempt = self.launcher.launch(cell, number, where, self._limit())
        self.launcher.console.say(f"{where} {ending(attempt.verdict)}")
        self._note_time(attempt)
        self._save()
        if attempt.verdict.state == study_files.INTERRUPTED:
            self.why_stopped = attempt.verdict.cause
        return attempt

    def _limit(self) -> Limit:
        limit_s = self.record.tuning.study.time_limit_s
        if self.budget.left_s < limit_s:
            return Limit(max(0.0, self.budget.left_s), study_files.INTERRUPTED, OVER_BUDGET)
        return Limit(limit_s)

    def _may_start(self, purpose: Purpose, cell: Cell) -> bool:
        """Whether one more launch fits into the budget, by what launches took so far."""
        if self.launcher is not None and self.launcher.interrupts.number is not None:
            self.why_stopped = "it was ended by a signal"
            return False
        left_s = self.budget.left_s
        needed_s = expected_s(cell.id, self._work(cell), self.times)
        kept_s = self._reserved_s() if purpose.what == RATE else 0.0
        if left_s > 0 and (needed_s is None or needed_s + kept_s <= left_s):
            return True
        why = f"the budget of {duration(self.budget.total_s)} is spent"
        if left_s > 0 and needed_s is not None:
            kept = f", {duration(kept_s)} of it kept for the efficiency" if kept_s else ""
            why = (
                f"the next launch may take {duration(needed_s)} by what launches took so far, and "
                f"{duration(left_s)} of the budget of {duration(self.budget.total_s)} were left{kept}"
            )
        self.why_stopped = self.why_stopped or why
        return False

    def _reserved_s(self) -> float:
        """What must be left for the efficiency of the best, as far as it is known."""
        tuning = self.record.tuning
        if tuning.study.ranks == 1:
            return 0.0
        cell = tuning.efficiency_cell(tuning.space.default)
        one_s = expected_s(cell.id, self._work(cell), self.times) or 0.0
        return min(RESERVED_LAUNCHES * one_s, MOST_RESERVED * self.budget.total_s)

    def _note_time(self, attempt: Attempt) -> None:
        if attempt.verdict.state == study_files.COMPLETE and attempt.verdict.wall_s is not None:
            self.on_gpu = read_object(attempt.layout.run.config).get("preset") != "cpu"
            work = self._work(attempt.cell)
            self.times.append(LaunchTime(attempt.cell.id, work, attempt.verdict.wall_s))

    def _work(self, cell: Cell) -> float:
        """Images of all planned steps of a rank."""
        settings = resolve(dict(cell.settings), self.on_gpu, cell.ranks)
        return float(max(1, cell.steps_of(settings) * settings.batch_size))

    def _read(self, purpose: Purpose, attempt: Attempt) -> TunedLaunch | Failure:
        from distbench.analysis.studies import FinishedLaunch  # what needs pandas loads late
        from distbench.analysis.tuned_launches import read_tuned

        study = self.record.tuning.study
        launch = FinishedLaunch(
            cell=attempt.cell.label,
            attempt=attempt.number,
            varied=attempt.cell.varied,
            launcher=study.launcher,
            hosts=attempt.cell.hosts,
            directory=attempt.layout.run.directory,
        )
        found = read_tuned(launch, study.ranks)
        if found is None:
            return Failure(NOT_ALL_READ)
        if found.obstacles:
            return Failure(f"not valid: {found.obstacles[0]}")
        self.read[purpose] = found
        return found

    def _save(self) -> None:
        if self.launcher is not None:
            self.record.spent_s = self.budget.spent_s
            self.record.save()


def _name(purpose: Purpose) -> str:
    return "efficiency" if purpose.what == EFFICIENCY else f"round {purpose.round}"
