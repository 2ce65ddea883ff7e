"""`distbench tune`: from its flags to a plan, to a search by launches, and to an exit code."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distbench.errors import DistbenchError, RankFailedError, TimeLimitError, UsageError
from distbench.overrides import toml_table
from distbench.study import study_files
from distbench.study.launch_runner import Interrupts, LaunchRunner
from distbench.study.study_command import check_environment
from distbench.study.study_plan import Console, duration
from distbench.tune import tune_files
from distbench.tune.budget import Budget
from distbench.tune.default_axes import this_machine
from distbench.tune.tune_file import Tuning, make_tuning, own_table, read_budget
from distbench.tune.tune_files import WHAT, TuneRecord
from distbench.tune.tune_plan import plan_lines

if TYPE_CHECKING:
    from distbench.tune.tune_runner import TuneRunner


@dataclass(frozen=True)
class Options:
    """The flags of `distbench tune`."""

    toml: str | None = None
    ranks: str | None = None
    budget: str | None = None
    output: str = ""
    dry_run: bool = False
    resume: bool = False


@dataclass(frozen=True)
class Outcome:
    """How it went: the tuning to report, None where there is none, and the exit code or its error."""

    record: TuneRecord | None = None
    exit_code: int = 0
    error: DistbenchError | None = None


def run_tune(options: Options, environ: Mapping[str, str], console: Console) -> Outcome:
    """Plans, then searches. Raises UsageError before anything is made."""
    check_environment(environ, "tune")
    tables = toml_table(Path(options.toml)) if options.toml else {}
    source = options.toml or "distbench tune"
    budget_s = _budget_s(options, tables, source)
    if options.resume:
        record = _recorded(options, tables, source)
        if budget_s is not None:
            record.budget_s = budget_s
    else:
        tuning = _tuning(options, tables, source)
        budget_s = budget_s or read_budget(own_table(tables, source)[1], "the default")
        if options.dry_run:
            console.table(plan_lines(tuning, budget_s))
            return Outcome()
        record = tune_files.create(tuning, budget_s, options.output)
    if options.dry_run or not options.resume:
        console.table(plan_lines(record.tuning, record.budget_s))
    if options.dry_run:
        return Outcome()
    with study_files.locked(record.layout, WHAT):
        console.say(f"the {WHAT} is in {record.layout.directory}")
        return _run(record, environ, console, options.resume)


def _budget_s(options: Options, tables: Mapping[str, Any], source: str) -> float | None:
    """The budget that was asked for, by flag or file; None where neither names one."""
    if options.budget is not None:
        return read_budget(options.budget, "--budget")
    _, budget = own_table(tables, source)
    return read_budget(budget, f"{source} key tune.budget") if "tune" in tables else None


def _tuning(options: Options, tables: Mapping[str, Any], source: str) -> Tuning:
    if not options.toml and options.ranks is None:
        raise UsageError(
            "distbench tune needs a number of ranks or a file; give -np 2, or the file of a tuning"
        )
    return make_tuning(tables, source, options.ranks, this_machine())


def _recorded(options: Options, tables: Mapping[str, Any], source: str) -> TuneRecord:
    """The tuning to resume. Raises UsageError where another one is described by now."""
    if not options.toml and options.ranks is None:
        return tune_files.find("tune", options.output)
    wanted = _tuning(options, tables, source)
    record = tune_files.find(wanted.study.name, options.output)
    if wanted.as_dict() != record.tuning.as_dict():
        raise UsageError(
            f"{source} does not describe the tuning in {record.layout.directory} any more; put it "
            "back, begin a new tuning, or resume with --output DIR alone"
        )
    return record


def _run(
    record: TuneRecord, environ: Mapping[str, str], console: Console, is_resumed: bool
) -> Outcome:
    # numpy and scipy load only where something is run
    from distbench.tune.rounds import DECIDED
    from distbench.tune.tune_runner import TuneRunner

    interrupts = Interrupts()
    with interrupts.caught():
        launcher = LaunchRunner(
            record.tuning.study,
            record.layout,
            record.mark,
            environ,
            console,
            interrupts,
            WHAT,
        )
        launcher.need_launcher(record.tuning.cell(record.tuning.space.default))
        if is_resumed:
            launcher.end_leftovers()
        runner = TuneRunner(record, Budget(record.budget_s, record.spent_s), launcher)
        ended = _search(runner, console)
    record.ended = "" if ended == DECIDED else runner.why_stopped
    record.spent_s = runner.budget.spent_s
    record.save()
    return _outcome(record, runner, interrupts, console)


def _search(runner: TuneRunner, console: Console) -> str:
    """The search, then the efficiency of what it found; how the search ended."""
    from distbench.tune.search import search
    from distbench.tune.tune_findings import efficiency_order

    tuning = runner.record.tuning
    found = search(tuning.space, runner, tuning.study.order_seed, console.say)
    if tuning.study.ranks > 1:
        why_stopped = runner.why_stopped
        for choice in efficiency_order(found):
            if runner.efficiency(choice) is None:
                break
        runner.why_stopped = why_stopped
    return found.ended


def _outcome(
    record: TuneRecord, runner: TuneRunner, interrupts: Interrupts, console: Console
) -> Outcome:
    if interrupts.number is not None:
        name = signal.Signals(interrupts.number).name
        console.say(
            f"the {WHAT} was ended by {name}; go on with --resume "
            f"(exit code {128 + interrupts.number})"
        )
        is_known = any(purpose.what == tune_files.RATE for purpose in runner.read)
        return Outcome(record if is_known else None, 128 + interrupts.number)
    if any(purpose.what == tune_files.RATE for purpose in runner.read):
        return Outcome(record)
    return Outcome(record, error=_why_nothing(record, runner))


def _why_nothing(record: TuneRecord, runner: TuneRunner) -> DistbenchError:
    """The error of a tuning in which nothing was measured."""
    if runner.why_stopped:
        return TimeLimitError(
            f"no launch was complete within the budget of {duration(record.budget_s)} "
            f"({runner.why_stopped}); go on with --resume and a longer --budget"
        )
    cell = record.tuning.cell(record.tuning.space.default)
    attempts = study_files.attempts_of(record.layout, cell)
    cause = f"{attempts[-1].verdict.state}: {attempts[-1].verdict.cause}" if attempts else "refused"
    return RankFailedError(
        f"every setting has failed, {cell.label} by {cause}; see the report for the others, and "
        "begin again with settings that run"
    )


def report(record: TuneRecord) -> str:
    """Writes the tuning's derived files from its records; returns the terminal's text."""
    from distbench.report.tune_report import report_tune
    from distbench.tune.tune_findings import findings_of

    return report_tune(record.layout, findings_of(record))
