"""The command line: parses, calls, prints, and turns errors into exit codes. No logic of its own."""

from __future__ import annotations

import argparse
import functools
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from distbench import __version__, command_flags, config, units
from distbench.errors import DistbenchError, MissingPartError, RankFailedError
from distbench.launched import launched_as, without_launcher_variables
from distbench.layout import StudyLayout, TuneLayout
from distbench.overrides import read_overrides
from distbench.resolving import resolve
from distbench.simulation import cluster

if TYPE_CHECKING:
    from distbench.analysis.collect import Progress

# By then the launcher has ended this rank, if rank 0 failed too and told why.
WAIT_FOR_RANK_0_S = 3.0
EXIT_CODES = """\
exit codes:
  0   success
  1   an error of distbench itself, with its traceback
  2   a flag, variable or file holds a wrong value
  3   the ranks hold different configurations or versions
  4   a rank failed; what was measured until then is kept
  5   the run, or a part of it, did not end within its time limit
  6   a phase does not do its work, so that no speed is shown
  8   this machine lacks a package, a build option or a device
  9   the run directory exists already or cannot be written
  10  there are no readable records to report on
  11  compare: B is slower than A by more than --fail-above
  128 + n  ended by signal n, such as 143 by SIGTERM; a study or tuning goes on with --resume
horovodrun over Gloo turns each of these into 1; the message and status.json hold the code.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    try:
        parsed = _parse(sys.argv[1:] if arguments is None else arguments)
        code = int(parsed.action(parsed))
        sys.stdout.flush()
        return code
    except DistbenchError as error:
        return _tell(error)
    except BrokenPipeError:  # whoever read the output has had enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still buffered
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        clear = "\r\x1b[K" if sys.stderr.isatty() else ""  # the line that progress updates
        print(f"{clear}distbench: ended by SIGINT; what was on disk is as it was", file=sys.stderr)
        return 128 + signal.SIGINT


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """`run` is what no sub-command means, so that `horovodrun -np 8 python -m distbench` just runs."""
    is_run = not arguments or (
        arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version")
    )
    return _parser().parse_args(["run", *arguments] if is_run else list(arguments))


def _parser() -> command_flags.Parser:
    parser = command_flags.Parser(
        prog="distbench",
        description="How well does data-parallel training of VGG scale on these machines?",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"distbench {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    for add, action in (
        (command_flags.add_run, _run),
        (command_flags.add_simulate, _simulate),
        (command_flags.add_study, _study),
        (command_flags.add_tune, _tune),
        (command_flags.add_collect, _collect),
        (command_flags.add_report, _report),
        (command_flags.add_compare, _compare),
        (command_flags.add_doctor, _doctor),
    ):
        add(commands).set_defaults(action=action)
    return parser


def _run(parsed: argparse.Namespace) -> int:
    flags = {name: getattr(parsed, name) for name in config.settings()}
    overrides = read_overrides(flags, os.environ, parsed.toml)
    # says what is wrong before TensorFlow is loaded
    resolve(overrides, on_gpu=True, world_size=launched_as(os.environ).size)
    from distbench.worker.rank import run_rank

    directory = run_rank(overrides)
    if directory is not None:
        _report_in_child(directory)
    return 0


def _simulate(parsed: argparse.Namespace) -> int:
    from distbench.simulation.simulate import simulate

    flags = {name: getattr(parsed, name, None) for name in config.settings()}
    simulated = cluster.read_cluster(vars(parsed))
    overrides = read_overrides(flags, os.environ)
    settings = resolve(overrides, on_gpu=True, world_size=simulated.ranks)
    layout, truth = simulate(simulated, settings)
    for row in truth["with_noise"]:
        efficiency = "" if row["efficiency"] is None else units.percent(row["efficiency"])
        print(
            f"true values of {row['size']} rank(s): {units.rate(row['images_per_s'])} images/s"
            + (f", efficiency {efficiency}" if efficiency else "")
        )
    print(f"simulated run: {layout.directory}")
    print(f"make its report with: distbench report {shlex.quote(str(layout.directory))}")
    return 0


def _study(parsed: argparse.Namespace) -> int:
    from distbench.study.study_command import Options, report, run_study
    from distbench.study.study_plan import Console

    options = Options(
        toml=parsed.toml,
        output=parsed.output,
        dry_run=parsed.dry_run,
        resume=parsed.resume,
        repeat=parsed.repeat,
        emit=parsed.emit,
    )
    outcome = run_study(options, os.environ, Console(sys.stdout, sys.stderr))
    if outcome.record is not None:
        try:
            _need_report_packages()
            print(report(outcome.record))
        except DistbenchError as error:
            told = f"the launches are kept, but the report failed: {error}; make it again with --resume"
            print(f"distbench: {told}", file=sys.stderr)
    if outcome.error is not None:
        raise outcome.error
    return outcome.exit_code


def _tune(parsed: argparse.Namespace) -> int:
    from distbench.study.study_plan import Console
    from distbench.tune.tune_command import Options, report, run_tune

    if not parsed.dry_run:
        _need_report_packages()  # which decide, too
    options = Options(
        toml=parsed.toml,
        ranks=parsed.ranks,
        budget=parsed.budget,
        output=parsed.output,
        dry_run=parsed.dry_run,
        resume=parsed.resume,
    )
    outcome = run_tune(options, os.environ, Console(sys.stdout, sys.stderr))
    if outcome.record is not None:
        print(report(outcome.record))
    if outcome.error is not None:
        raise outcome.error
    return outcome.exit_code


def _report_in_child(directory: str) -> None:
    """Makes the report in a process of its own, which is no rank of the job and loads no TensorFlow.

    The run is over and its records are safe: a failing report does not change the exit code.
    """
    command = [sys.executable, "-m", "distbench", "report", directory]
    sys.stdout.flush()
    try:
        code = subprocess.run(
            command,
            env=without_launcher_variables(os.environ),
            stdin=subprocess.DEVNULL,
            check=False,
        ).returncode
    except OSError as error:
        code = error.errno or 1
    if code:
        print(
            f"distbench: the run is complete, but its report failed ({code}); "
            f"make it again with: distbench report {directory}",
            file=sys.stderr,
        )


@contextmanager
def _progress() -> Iterator[Progress]:
    from distbench.report.report_progress import ReportProgress

    progress = ReportProgress(sys.stderr, time.monotonic)
    try:
        yield progress
    finally:
        progress.finish()


def _collect(parsed: argparse.Namespace) -> int:
    _need_report_packages()
    from distbench.report.build import collect

    with _progress() as progress:
        run, path = collect(parsed.directory, progress)
    print(f"{len(run.steps)} rows of {len(run.ranks)} rank(s): {path}")
    return _incomplete(run.incomplete)


def _report(parsed: argparse.Namespace) -> int:
    _need_report_packages()
    from distbench.report.build import report

    if StudyLayout(Path(parsed.directory)).study.exists():
        return _report_study(parsed.directory)
    if TuneLayout(Path(parsed.directory)).tune.exists():
        return _report_tune(parsed.directory)
    with _progress() as progress:
        findings, text, path = report(parsed.directory, parsed.published, progress)
    print(text)
    print(f"\nreport: {path}")
    return _incomplete(findings.run.incomplete)


def _report_study(directory: str) -> int:
    from distbench.study import study_command, study_files

    print(study_command.report(study_files.load(Path(directory))))
    return 0


def _report_tune(directory: str) -> int:
    from distbench.tune import tune_command, tune_files

    print(tune_command.report(tune_files.load(Path(directory))))
    return 0


def _compare(parsed: argparse.Namespace) -> int:
    _need_report_packages()
    from distbench.compare_command import Options, run_compare

    options = Options(
        a=parsed.a,
        b=parsed.b,
        fail_above=parsed.fail_above,
        json_file=parsed.json,
        output=parsed.output,
        despite_differences=parsed.despite_differences,
    )
    run_compare(options, print)
    return 0


def _doctor(parsed: argparse.Namespace) -> int:
    from distbench.doctor.doctor_command import Options, run_doctor

    options = Options(ranks=parsed.ranks, output=parsed.output, json_file=parsed.json)
    run_doctor(options, os.environ, functools.partial(print, flush=True))
    return 0


def _incomplete(reasons: Sequence[str]) -> int:
    if reasons:
        raise RankFailedError(
            f"the run is incomplete: {reasons[0]}; what is there was reported, marked INCOMPLETE; "
            "run again for a result"
        )
    return 0


def _need_report_packages() -> None:
    for package in ("pandas", "pyarrow", "scipy", "matplotlib"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingPartError(
                f"{package} is missing, which reports need; install distbench[report]"
            ) from error


def _tell(error: DistbenchError) -> int:
    """Prints the sentence once for the whole job, and returns its exit code.

    What all ranks found is told by rank 0. What this rank found alone it tells itself: at once where
    it failed while running, else after a wait in which the launcher ends it if rank 0 told the same.
    """
    launched = launched_as(os.environ)
    failed_alone = isinstance(error, RankFailedError) and not error.on_every_rank
    if launched.rank == 0 or failed_alone:
        if not error.is_echo:
            print(f"distbench: {error}", file=sys.stderr, flush=True)
    else:
        time.sleep(WAIT_FOR_RANK_0_S)
        if not error.on_every_rank:
            print(f"distbench: rank {launched.rank}: {error}", file=sys.stderr, flush=True)
    if launched.size > 1 and not error.on_every_rank:
        from distbench.worker.world import leave_alone

        sys.stdout.flush()
        leave_alone(error.exit_code)
    return error.exit_code
