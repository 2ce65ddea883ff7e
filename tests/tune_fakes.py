"""Tunings whose launches write a small valid run at once, in this process."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distbench.layout import LaunchesLayout
from distbench.study import study_files
from distbench.study.launch_runner import Interrupts, Limit
from distbench.study.study import Cell
from distbench.study.study_files import Attempt, Verdict
from distbench.study.study_plan import Console
from distbench.tune import tune_files
from distbench.tune.budget import Budget
from distbench.tune.default_axes import Machine
from distbench.tune.rounds import Failure
from distbench.tune.space import Axis, Choice, Space
from distbench.tune.tune_file import Tuning, make_tuning
from distbench.tune.tune_files import TuneRecord
from distbench.tune.tune_runner import TuneRunner
from tests.fakes import FakeClock
from tests.study_fakes import run_of_cell

TWO_CORES = Machine(on_gpu=False, cores=2)
SMALL_RUN = {"preset": "quick", "steps": 6, "warmup_steps": 1}
SMALL_TOML = """\
[study]
name = "small"
ranks = 2
[run]
preset = "quick"
steps = 6
warmup_steps = 1
[axes]
batch_size = [2, 4]
"""


def tuning_of(ranks: int = 2, run: Mapping[str, Any] | None = None, **tables: Any) -> Tuning:
    """A tuning of short runs; `tables` are further tables, by default two batch sizes as axes."""
    study = tables.pop("study", {"name": "small", "ranks": ranks})
    own = {"study": study, "run": {**SMALL_RUN, **(run or {})}}
    if not {"axes", "horovod"} & set(tables):
        tables["axes"] = {"batch_size": [2, 4]}
    return make_tuning({**own, **tables}, "tune.toml", None, TWO_CORES)


def space_of(*counts: int) -> Space:
    """Axes a, b, … with so many levels each."""
    return Space(
        tuple(Axis("abcdefgh"[place], tuple(range(count))) for place, count in enumerate(counts))
    )


class KnownLaunches:
    """Launches whose rates a function of (choice, round) gives; None after `most` of them."""

    def __init__(self, rate: Callable[[Choice, int], float | Failure], most: int = 10**6) -> None:
        self._rate, self.most = rate, most
        self.asked: list[tuple[Choice, int]] = []

    def rate(self, choice: Choice, round_number: int) -> float | Failure | None:
        if len(self.asked) >= self.most:
            return None
        self.asked.append((choice, round_number))
        return self._rate(choice, round_number)

    def is_half_spent(self, round_number: int) -> bool:
        return len(self.asked) >= self.most / 2


class FakeLauncher:
    """Stands in for LaunchRunner; `step_ms` and `verdict_of` say what a cell's launch comes to."""

    def __init__(self, layout: LaunchesLayout, clock: FakeClock, took_s: float = 10.0) -> None:
        self.layout, self.clock, self.took_s = layout, clock, took_s
        self.err = io.StringIO()
        self.console = Console(io.StringIO(), self.err)
        self.interrupts = Interrupts()
        self.launched: list[str] = []
        self.limits: list[Limit | None] = []
        self.step_ms: Callable[[Cell, int], Any] = lambda cell, number: 10.0 + 0.01 * number
        self.verdict_of: Callable[[Cell, int], Verdict | None] = lambda cell, number: None

    def launch(self, cell: Cell, number: int, where: str, limit: Limit | None = None) -> Attempt:
        layout = study_files.make_attempt(self.layout, cell, number)
        self.launched.append(cell.label)
        self.limits.append(limit)
        self.clock.advance(round(self.took_s * 1e9))
        verdict = self.verdict_of(cell, number)
        if verdict is None:
            verdict = Verdict(study_files.COMPLETE, wall_s=self.took_s)
            run_of_cell(layout.run.directory, cell, self.step_ms(cell, number), drift_ms=0.001)
        study_files.write_verdict(layout, verdict)
        return Attempt(cell, number, layout, verdict)


class TuneRuns:
    """A tuning with a launcher and a clock of this process."""

    def __init__(self, folder: Path, tuning: Tuning, budget_s: float = 600.0) -> None:
        self.record: TuneRecord = tune_files.create(tuning, budget_s, str(folder / "tuning"))
        self.clock = FakeClock()
        self.launcher = FakeLauncher(self.record.layout, self.clock)

    def runner(self) -> TuneRunner:
        budget = Budget(self.record.budget_s, self.record.spent_s, lambda: self.clock.now_ns / 1e9)
        return TuneRunner(self.record, budget, self.launcher)  # type: ignore[arg-type]
