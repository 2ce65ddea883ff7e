"""`distbench study`: from its flags to a plan, to launches or job scripts, and to an exit code."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distbench.config import settings
from distbench.errors import DistbenchError, RankFailedError, UsageError
from distbench.launched import launched_as
from distbench.overrides import ENVIRONMENT_PREFIX, OTHER_VARIABLES
from distbench.study import study_fields, study_files
from distbench.study.launch_runner import Interrupts
from distbench.study.study import MARK_VARIABLE, Study, cells_of, changes, read_study
from distbench.study.study_files import Attempt, StudyRecord
from distbench.study.study_jobs import waiting_lines, write_jobs
from distbench.study.study_plan import Console, plan_lines
from distbench.study.study_runner import StudyRunner

_FILES = {"study": "study", "tune": "tuning"}  # whose [run] is meant, by command


@dataclass(frozen=True)
class Options:
    """The flags of `distbench study`."""

    toml: str
    output: str = ""
    dry_run: bool = False
    resume: bool = False
    repeat: str | None = None
    emit: str = ""


@dataclass(frozen=True)
class Outcome:
    """How it went: the study to report, None where there is none, and the exit code or its error."""

    record: StudyRecord | None = None
    exit_code: int = 0
    error: DistbenchError | None = None


def run_study(options: Options, environ: Mapping[str, str], console: Console) -> Outcome:
    """Plans, then runs or writes what is missing. Raises UsageError before anything is made."""
    check_environment(environ, "study")
    study = read_study(Path(options.toml))
    if options.repeat is not None:
        study = dataclasses.replace(study, repeat=study_fields.repeat_flag(options.repeat))
    record = _recorded(study, options) if options.resume else None
    if record is None and options.emit:
        _check_emission(study)
    if options.dry_run or record is None:
        _show_plan(study, record, console)
    if options.dry_run:
        return Outcome()
    if record is None:
        record = study_files.create(study, options.output, options.emit)
    with study_files.locked(record.layout):
        study_files.write_record(record)
        console.say(f"the study is in {record.layout.directory}")
        if record.emitted:
            return _emit_or_collect(study, record, options, console)
        return _run(study, record, environ, console, is_resumed=options.resume)


def check_environment(environ: Mapping[str, str], command: str) -> None:
    """Raises UsageError where this process is a rank, or holds variables that change launches."""
    launched = launched_as(environ)
    if launched.size > 1:  # one rank may be the interactive shell of an allocation
        raise UsageError(
            f"distbench {command} starts its own launches, and {launched.launcher} has started it as "
            f"{launched.size} ranks; start it once, without a launcher"
        )
    for name in sorted(environ):
        if name == MARK_VARIABLE:
            raise UsageError(
                f"the environment holds {MARK_VARIABLE}, which marks launches of distbench; "
                f"distbench {command} cannot be started by one of them"
            )
        if name.startswith(ENVIRONMENT_PREFIX) and name not in OTHER_VARIABLES:
            setting = name.removeprefix(ENVIRONMENT_PREFIX).lower()
            known = setting in settings()
            where = (
                f"write {setting} into [run] of the {_FILES[command]}"
                if known
                else "it is no setting"
            )
            raise UsageError(
                f"the environment holds {name}, which would reach every launch and stand in no "
                f"{_FILES[command]} file; unset it ({where})"
            )


def _recorded(study: Study, options: Options) -> StudyRecord:
    """The study to resume. Raises UsageError where the file asks for another one by now."""
    record = study_files.find(study, options.output)
    changed = changes(record.description, study.as_dict())
    if changed:
        raise UsageError(
            f"{options.toml} does not describe the study in {record.layout.directory} any more: "
            f"{changed[0]}{_and_more(changed)}; put it back, or begin a new study"
        )
    if options.repeat is not None and study.repeat < record.repeat:
        raise UsageError(
            f"--repeat is {study.repeat} and the study has {record.repeat} launches of each cell; "
            "it may only grow"
        )
    if options.emit and options.emit != record.emitted:
        how = f"by --emit {record.emitted}" if record.emitted else "without --emit"
        raise UsageError(
            f"--emit is {options.emit} and this study was begun {how}; go on as it was begun, or "
            "begin a new study"
        )
    return dataclasses.replace(record, repeat=max(record.repeat, study.repeat))


def _and_more(changed: Sequence[str]) -> str:
    return f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""


def _check_emission(study: Study) -> None:
    for key, is_given in (
        ("study.hosts", bool(study.hosts)),
        ("study.launcher_arguments", bool(study.launcher_arguments)),
    ):
        if is_given:
            raise UsageError(
                f"--emit leaves this to the batch system: {key}; leave it out of the study"
            )
    if not study.job["ranks_per_node"]:
        raise UsageError(
            "--emit needs to know the nodes; give ranks_per_node in the table [job] of the study"
        )


def _show_plan(study: Study, record: StudyRecord | None, console: Console) -> None:
    cells = cells_of(study)
    attempts = record.all_attempts() if record else {}
    repeat = record.repeat if record else study.repeat
    console.table(
        [
            f"Study {study.name!r}: {len(cells)} cell(s), {repeat} launch(es) of each by "
            f"{study.launcher}, in rounds shuffled with seed {study.order_seed}",
            *plan_lines(cells, repeat, attempts, study.time_limit_s),
        ]
    )


def _run(
    study: Study,
    record: StudyRecord,
    environ: Mapping[str, str],
    console: Console,
    is_resumed: bool,
) -> Outcome:
    interrupts = Interrupts()
    with interrupts.caught():
        runner = StudyRunner(study, record, environ, console, interrupts)
        if is_resumed:
            runner.end_leftovers()
            console.say(_standing(record, record.all_attempts()))
            _show_plan(study, record, console)
        attempts = runner.run_missing()
    if interrupts.number is not None:
        name = signal.Signals(interrupts.number).name
        console.say(
            f"the study was ended by {name}; {_standing(record, attempts)}; go on with --resume "
            f"(exit code {128 + interrupts.number})"
        )
        return Outcome(exit_code=128 + interrupts.number)
    return Outcome(record, error=_failures(record, attempts))


def _standing(record: StudyRecord, attempts: Mapping[str, Sequence[Attempt]]) -> str:
    """'3 of 6 cells are complete, 3 to run'."""
    done = [study_files.completed(attempts[cell.id]) for cell in record.cells]
    cells = sum(launches >= record.repeat for launches in done)
    left = len(record.cells) - cells
    text = f"{cells} of {len(record.cells)} cells are complete, {left or 'nothing'} to run"
    if record.repeat == 1:
        return text
    launches = sum(min(one, record.repeat) for one in done)
    return f"{text} ({launches} of {record.repeat * len(record.cells)} launches)"


def _failures(
    record: StudyRecord, attempts: Mapping[str, Sequence[Attempt]]
) -> RankFailedError | None:
    missing = [
        cell for cell in record.cells if study_files.completed(attempts[cell.id]) < record.repeat
    ]
    if not missing:
        return None
    cause = attempts[missing[0].id][-1].verdict
    return RankFailedError(
        f"{len(missing)} of {len(record.cells)} cells have failed, the first, {missing[0].label}, "
        f"by {cause.state}: {cause.cause}; what was measured is kept, and --resume tries these again"
    )


def _emit_or_collect(
    study: Study, record: StudyRecord, options: Options, console: Console
) -> Outcome:
    attempts = record.all_attempts()
    if options.emit:
        console.table(write_jobs(study, record, attempts))
        return Outcome()
    console.say(_standing(record, attempts))
    console.table(waiting_lines(record, attempts))
    return Outcome(record)


def report(record: StudyRecord) -> str:
    """Writes the study's derived files from its complete launches; returns the terminal's text."""
    # What needs pandas loads at the end only.
    from distbench.report.study_report import CellStanding, LaunchStanding, report_study
    from distbench.study.study_launches import finished_launches

    cells, launches = [], finished_launches(record)
    for cell in record.cells:
        attempts = record.attempts(cell)
        standings = [LaunchStanding(one.number, *one.verdict) for one in attempts]
        cells.append(
            CellStanding(
                cell_id=cell.id,
                label=cell.label,
                ranks=cell.ranks,
                hosts=cell.hosts,
                varied=cell.varied,
                wanted=record.repeat,
                complete=study_files.completed(attempts),
                failed=sum(one.verdict.state in study_files.FAILURES for one in attempts),
                launches=standings,
            )
        )
    return report_study(record.layout, record.name, cells, launches)
