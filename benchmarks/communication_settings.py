"""How much communication a step exposes, setting by setting: Horovod's own, MPI's, and the controller.

Each setting is a job of its own and meets the default in pairs: in each round both time every phase once,
in random order, while the ranks of the other are stopped. Exposed communication is
forward_backward_allreduce − forward_backward of the same round.

    python benchmarks/communication_settings.py [--np 2] [--config D] [--batch-size 1] [--rounds 8]
        [--settings NAME,NAME] [--smoke] [--output FOLDER]
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from contenders import start, trial
from contenders.job import ContenderFailedError, Job
from contenders.task import Task
from interleaved import ratio, ratio_text, save, spread, time_rounds

from distbench import vgg
from distbench.worker import host

CONTENDER = "distbench_settings"
DEFAULT = "default"
COMPUTING, ALLREDUCE, BOTH = "forward_backward", "allreduce", "forward_backward_allreduce"
DISTURBING = ("HOROVOD_", "DISTBENCH_", "OMPI_MCA_")  # variables of the shell
BLOCK_S = 1.5  # of a phase in a round, at the least


class Setting(NamedTuple):
    """Variables of the job, and what Horovod runs over."""

    variables: Mapping[str, str] = {}
    controller: str = "mpi"


SETTINGS = {
    DEFAULT: Setting(),
    "mpi_polls": Setting({"OMPI_MCA_mpi_yield_when_idle": "0"}),
    "cycle_0.1_ms": Setting({"HOROVOD_CYCLE_TIME": "0.1"}),
    "cycle_10_ms": Setting({"HOROVOD_CYCLE_TIME": "10"}),
    "no_fusion": Setting({"HOROVOD_FUSION_THRESHOLD": "0"}),
    "fusion_512_mib": Setting({"HOROVOD_FUSION_THRESHOLD": str(512 * 2**20)}),
    "one_group": Setting({"DISTBENCH_GROUPED_ALLREDUCE": "1"}),
    "four_groups": Setting({"DISTBENCH_GROUPED_ALLREDUCE": "4"}),
    "fp16": Setting({"DISTBENCH_COMPRESSION": "fp16"}),
    "no_cache": Setting({"HOROVOD_CACHE_CAPACITY": "0"}),
    "gloo": Setting({}, "gloo"),
    "gloo_cycle_10_ms": Setting({"HOROVOD_CYCLE_TIME": "10"}, "gloo"),
}
Times = dict[tuple[str, str], list[float]]


def main() -> None:
    arguments = _arguments()
    threads = max(1, len(os.sched_getaffinity(0)) // arguments.np)
    task = Task(arguments.config, arguments.batch_size, arguments.np, threads, arguments.smoke)
    lines = [f"{task.label}; each setting beside the default (Horovod over MPI), in pairs"]
    document: dict[str, Any] = {"label": task.label, "settings": {}, "failed": {}}
    with tempfile.TemporaryDirectory(prefix="communication-settings-") as folder:
        for name in arguments.settings:
            try:
                times = _measured(name, task, arguments.rounds, Path(folder))
            except ContenderFailedError as error:
                document["failed"][name] = str(error)
                lines.append(f"{name}: FAILED: {error}")
                continue
            found = _found(name, times)
            document["settings"][name] = {
                "variables": SETTINGS[name].variables,
                "controller": SETTINGS[name].controller,
                "seconds": {f"{who} {phase}": values for (who, phase), values in times.items()},
                **found,
            }
            lines += _lines(name, found)
            print("\n".join(lines[-4:]), flush=True)
            _save(arguments, lines, document)
    _save(arguments, lines, document)


def _save(arguments: argparse.Namespace, lines: list[str], document: dict[str, Any]) -> None:
    machine = {key: value for key, value in host.machine().items() if key != "host"}
    whole = {"rounds": arguments.rounds, "manifest": machine, **document}
    save("communication_settings", lines, whole, arguments.output, is_shown=False)


def _arguments() -> argparse.Namespace:
    others = [name for name in SETTINGS if name != DEFAULT]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--np", type=int, default=2)
    parser.add_argument("--config", choices=vgg.CONFIGURATIONS, default="D")
    parser.add_argument("--batch-size", type=int, default=1, help="of each rank")
    parser.add_argument("--rounds", type=int, default=8, help="6 or more give an interval")
    parser.add_argument("--settings", type=lambda text: text.split(","), default=others)
    parser.add_argument("--smoke", action="store_true", help="a tiny network that is no VGG")
    parser.add_argument("--output", type=Path, help="folder of the files (benchmarks/output)")
    arguments = parser.parse_args()
    unknown = set(arguments.settings) - set(others)
    if unknown:
        parser.error(f"--settings: {', '.join(sorted(unknown))}: choose from {', '.join(others)}")
    disturbing = [name for name in sorted(os.environ) if name.startswith(DISTURBING)]
    if disturbing:
        parser.error(f"{', '.join(disturbing)}: unset what would change the default too")
    if arguments.np < 2:
        parser.error("--np: one rank reduces nothing")
    return arguments


def _measured(name: str, task: Task, rounds: int, folder: Path) -> Times:
    """The median steps of each round, of the default and of the setting."""
    with ExitStack() as stack:
        calls: dict[tuple[str, str], Callable[[], float]] = {}
        for who in (DEFAULT, name):
            print(f"starting {who}", flush=True)
            job = Job(CONTENDER, task.ranks, folder)
            stack.callback(job.end)
            job.start(_commands(SETTINGS[who], task))
            steps = trial.tried(job, BLOCK_S)
            for phase in job.phases:
                calls[who, phase] = functools.partial(_median_s, job, phase, steps[phase])
        return time_rounds(calls, rounds)


def _commands(setting: Setting, task: Task) -> list[Any]:
    commands = start.commands(CONTENDER, task, setting.controller, {})
    return [(argv, {**variables, **setting.variables}) for argv, variables in commands]


def _median_s(job: Job, phase: str, steps: int) -> float:
    return statistics.median(job.run(phase, steps))


def _found(name: str, times: Times) -> dict[str, Any]:
    def exposed_s(who: str) -> list[float]:
        return [
            both - alone
            for both, alone in zip(times[who, BOTH], times[who, COMPUTING], strict=True)
        ]

    ratios = {
        phase: ratio({"this": times[name, phase], "it": times[DEFAULT, phase]}, "this", "it")
        for phase in (COMPUTING, ALLREDUCE, BOTH)
    }
    return {
        "ratios_to_default": ratios,
        "exposed_s": spread(exposed_s(name)),
        "exposed_of_default_s": spread(exposed_s(DEFAULT)),
    }


def _lines(name: str, found: Mapping[str, Any]) -> list[str]:
    exposed = ", ".join(
        f"{found[key]['median'] * 1e3:.0f} ms ({found[key]['low'] * 1e3:.0f} to "
        f"{found[key]['high'] * 1e3:.0f}){of}"
        for key, of in (("exposed_s", ""), ("exposed_of_default_s", " by default"))
    )
    return [
        f"{name}: exposed communication {exposed}",
        *(
            f"    {phase} ÷ the default's: {ratio_text(one)}"
            for phase, one in found["ratios_to_default"].items()
        ),
    ]


if __name__ == "__main__":
    main()
