"""The command line: parses, calls, prints, and turns errors into exit codes. No logic of its own."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from distbench import __version__, config, units
from distbench.errors import DistbenchError, MissingPartError, RankFailedError, UsageError
from distbench.job_scripts import JOB_KINDS
from distbench.launched import launched_as, without_launcher_variables
from distbench.layout import StudyLayout
from distbench.overrides import read_overrides
from distbench.simulation import cluster

# By then the launcher has ended this rank, if rank 0 failed too and told why.
WAIT_FOR_RANK_0_S = 3.0
EXIT_CODES = """\
exit codes:
  0   success
  1   an error of distbench itself, with its traceback
  2   a flag, variable or file holds a wrong value
  3   the ranks hold different configurations or versions
  4   a rank failed; what was measured until then is kept
  6   a phase does not do its work, so that no speed is shown
  8   this machine lacks a package, a build option or a device
  9   the run directory exists already or cannot be written
  10  there are no readable records to report on
  128 + n  a study was ended by signal n, such as 143 by SIGTERM; --resume goes on
horovodrun over Gloo turns each of these into 1; the message and status.json hold the code.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    try:
        parsed = _parse(sys.argv[1:] if arguments is None else arguments)
        return int(parsed.action(parsed))
    except DistbenchError as error:
        return _tell(error)


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """`run` is what no sub-command means, so that `horovodrun -np 8 python -m distbench` just runs."""
    is_run = not arguments or (
        arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version")
    )
    return _parser().parse_args(["run", *arguments] if is_run else list(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="distbench",
        description="How well does data-parallel training of VGG scale on these machines?",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"distbench {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_run(commands)
    _add_simulate(commands)
    _add_study(commands)
    for name, action, text in (
        ("collect", _collect, "read the raw records of a run again and write steps.parquet"),
        (
            "report",
            _report,
            "make tables and charts of a run, or of a study, again from its raw records",
        ),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("directory", help="a run directory, such as results/<run id>")
        command.set_defaults(action=action)
    command.add_argument(
        "--published",
        action="store_true",
        help="draw published results of VGG-16 beside the curve, as a layer of their own",
    )
    return parser


def _add_run(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = "time the phases on every rank of this job (what no command means)"
    command = commands.add_parser(
        "run",
        help=text,
        description=text,
        epilog="Each setting can also stand in the [run] table of a TOML file or in a DISTBENCH_* "
        "variable, such as DISTBENCH_BATCH_SIZE. Flags win over variables, variables over the file, "
        "the file over the preset.",
    )
    command.add_argument("--toml", metavar="FILE", help="a TOML file with settings in [run]")
    for name, setting in config.settings().items():
        is_switch = setting.type == "bool"
        command.add_argument(
            config.flag_of(name),
            help=setting.metadata["help"],
            **({"action": "store_const", "const": True} if is_switch else {"metavar": "VALUE"}),
        )
    command.set_defaults(action=_run)


def _run(parsed: argparse.Namespace) -> int:
    flags = {name: getattr(parsed, name) for name in config.settings()}
    overrides = read_overrides(flags, os.environ, parsed.toml)
    # says what is wrong before TensorFlow is loaded
    config.resolve(overrides, on_gpu=True, world_size=launched_as(os.environ).size)
    from distbench.worker.rank import run_rank

    directory = run_rank(overrides)
    if directory is not None:
        _report_in_child(directory)
    return 0


def _add_simulate(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = "write the run directory of a simulated cluster, whose true values are known"
    command = commands.add_parser("simulate", help=text, description=text)
    for name, parameter in cluster.parameters().items():
        repeated = parameter.metadata.get("repeated", False)
        command.add_argument(
            config.flag_of(name),
            help=parameter.metadata["help"].replace("%", "%%"),
            required=parameter.metadata.get("required", False),
            action="append" if repeated else "store",
            metavar="VALUE",
        )
    for name in config.settings():
        if name not in cluster.MEANINGLESS_SETTINGS:
            help_text = config.settings()[name].metadata["help"]
            command.add_argument(config.flag_of(name), help=help_text, metavar="VALUE")
    command.set_defaults(action=_simulate)


def _simulate(parsed: argparse.Namespace) -> int:
    from distbench.simulation.simulate import simulate

    flags = {name: getattr(parsed, name, None) for name in config.settings()}
    simulated = cluster.read_cluster(vars(parsed))
    overrides = read_overrides(flags, os.environ)
    settings = config.resolve(overrides, on_gpu=True, world_size=simulated.ranks)
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


def _add_study(commands: argparse._SubParsersAction[_Parser]) -> None:
    text = "run the cells of a study, a launch for each, and draw their curves"
    command = commands.add_parser("study", help=text, description=text)
    command.add_argument("toml", metavar="FILE", help="the study, such as study.toml")
    command.add_argument(
        "--output", metavar="DIR", default="", help="its directory; by default one under results/"
    )
    command.add_argument(
        "--dry-run", action="store_true", help="show the plan and its time, and start nothing"
    )
    command.add_argument(
        "--resume",
        action="store_true",
        help="go on with a study that was begun: run what is missing",
    )
    command.add_argument("--repeat", metavar="K", help="launches of each cell")
    command.add_argument(
        "--emit", choices=JOB_KINDS, default="", help="write job scripts instead, and start nothing"
    )
    command.set_defaults(action=_study)


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


def _collect(parsed: argparse.Namespace) -> int:
    _need_report_packages()
    from distbench.report.build import collect

    run, path = collect(parsed.directory)
    print(f"{len(run.steps)} rows of {len(run.ranks)} rank(s): {path}")
    return _incomplete(run.incomplete)


def _report(parsed: argparse.Namespace) -> int:
    _need_report_packages()
    from distbench.report.build import report

    if StudyLayout(Path(parsed.directory)).study.exists():
        return _report_study(parsed.directory)
    findings, text, path = report(parsed.directory, parsed.published)
    print(text)
    print(f"\nreport: {path}")
    return _incomplete(findings.run.incomplete)


def _report_study(directory: str) -> int:
    from distbench.study import study_command, study_files

    print(study_command.report(study_files.load(Path(directory))))
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
