"""The flags of every sub-command. What each does is in `cli.py`."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn, TypeAlias

from distbench import config
from distbench.errors import UsageError
from distbench.job_scripts import JOB_KINDS
from distbench.simulation import cluster


class Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would print its usage and exit; no flag may be shortened."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def add_run(commands: Commands) -> Parser:
    """All settings of a run."""
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
    return command


def add_simulate(commands: Commands) -> Parser:
    """The cluster, and the settings that bear on it."""
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
    return command


def add_study(commands: Commands) -> Parser:
    """How a study is run."""
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
    return command


def add_tune(commands: Commands) -> Parser:
    """What is tuned, and for how long."""
    text = "find the settings that give the most images/s at a number of ranks"
    command = commands.add_parser(
        "tune",
        help=text,
        description=f"{text}: launches in rounds, from which the slower settings leave",
        epilog="FILE holds the tables of a study, its lists being the levels to try; without lists, or "
        "without FILE, the levels follow from the device. A budget that is spent is no error.",
    )
    command.add_argument("toml", metavar="FILE", nargs="?", help="what to tune, such as tune.toml")
    command.add_argument("-np", dest="ranks", metavar="N", help="ranks of each launch")
    command.add_argument(
        "--budget", metavar="TIME", help="the time that all of it may take, by default 10m"
    )
    command.add_argument(
        "--output", metavar="DIR", default="", help="its directory; by default one under results/"
    )
    command.add_argument(
        "--dry-run", action="store_true", help="show settings and method, and start nothing"
    )
    command.add_argument("--resume", action="store_true", help="go on with a tuning that was begun")
    return command


def add_report(commands: Commands) -> Parser:
    """What is drawn beside the results."""
    text = "make tables and charts of a run, a study or a tuning again from its raw records"
    command = _of_directory(commands, "report", text)
    command.add_argument(
        "--published",
        action="store_true",
        help="draw published results of VGG-16 beside the curve, as a layer of their own",
    )
    return command


def add_collect(commands: Commands) -> Parser:
    """Only the directory."""
    text = "read the raw records of a run again and write steps.parquet"
    return _of_directory(commands, "collect", text)


def _of_directory(commands: Commands, name: str, text: str) -> Parser:
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument("directory", help="a run directory, such as results/<run id>")
    return command


def add_compare(commands: Commands) -> Parser:
    """The two sides, what matters, and where the findings go."""
    text = "compare two runs or studies, size by size and phase by phase"
    command = commands.add_parser(
        "compare",
        help=text,
        description=f"{text}: first what they differ in, then by how much B's steps take longer than "
        "A's, with intervals corrected for the number of comparisons",
        epilog="Exit code 11: B is slower than --fail-above allows in at least one size and phase, "
        "which takes a change larger than that and a corrected p-value below 0.05. Without "
        "--fail-above a change of 1 % matters, and the exit code is 0 whatever is found.",
    )
    command.add_argument("a", metavar="A", help="the baseline: a run or a study directory")
    command.add_argument("b", metavar="B", help="the candidate: a run or a study directory")
    command.add_argument(
        "--fail-above",
        metavar="PERCENT",
        help="the slowdown that matters, such as 3%%; a larger one is an error (exit code 11)",
    )
    command.add_argument(
        "--json",
        metavar="FILE",
        default="",
        help="write B's step times for github-action-benchmark, tool customSmallerIsBetter",
    )
    command.add_argument(
        "--output", metavar="DIR", default="", help="write compare.md and compare.csv there"
    )
    command.add_argument(
        "--despite-differences",
        action="store_true",
        help="show the numbers also where A and B are not comparable",
    )
    return command


def add_doctor(commands: Commands) -> Parser:
    """How many ranks to try, and where results are to go."""
    text = "find what is wrong with this machine, before a long job does"
    command = commands.add_parser(
        "doctor",
        help=text,
        description=f"{text}: what is installed and built, MPI, GPUs, network, disk, clock, cores, "
        "and a small job that is really started, over each controller that Horovod has. Run it on a "
        "node of the job, without a launcher. It deletes nothing and ends only what it started.",
        epilog="Exit code 8 where there is a problem, 0 where there is none; notes do not count.",
    )
    command.add_argument(
        "-np", dest="ranks", metavar="N", help="ranks to start on this machine, by default 2"
    )
    command.add_argument(
        "--output", metavar="DIR", default="", help="where results are to go, by default results/"
    )
    command.add_argument("--json", metavar="FILE", default="", help="write the same as JSON")
    return command
