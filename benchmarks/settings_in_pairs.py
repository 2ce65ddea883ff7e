"""What single settings make of a step: TensorFlow's and the machine's, or Horovod's and MPI's.

Each setting is a job of its own and meets the default in pairs: in each round both time every phase once,
in random order, while the ranks of the other are stopped. Exposed communication is
forward_backward_allreduce − forward_backward of the same round.

    python benchmarks/settings_in_pairs.py computing [--batch-size 8] [--rounds 8]
    python benchmarks/settings_in_pairs.py communication [--np 2] [--batch-size 1] [--rounds 8]
        [--config D] [--settings NAME,NAME] [--smoke] [--output FOLDER]
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

from contenders import comparison, start, trial
from contenders.cores import BIND_VARIABLE
from contenders.job import ContenderFailedError, Job
from contenders.task import Task
from interleaved import ratio, ratio_text, save, time_rounds

from distbench import vgg
from distbench.worker import host

CONTENDER = "distbench_settings"
DEFAULT = "default"
# Variables of the shell that would change the default too.
DISTURBING = (
    "HOROVOD_",
    "DISTBENCH_",
    "OMPI_MCA_",
    "TF_ENABLE_",
    "TF_ONEDNN_",
    "TF_XLA_",
    "GLIBC_",
)
BLOCK_S = 1.0  # of a phase in a round, at the least


class Setting(NamedTuple):
    """Variables of the job, and what Horovod runs over."""

    variables: Mapping[str, str]
    controller: str = "mpi"


COMPUTING_SETTINGS = {
    "winograd": Setting({"DISTBENCH_CONVOLUTION": "winograd"}),
    "bfloat16": Setting({"DISTBENCH_PRECISION": "bfloat16"}),
    "xla": Setting({"DISTBENCH_XLA": "compute"}),
    "no_onednn": Setting({"TF_ENABLE_ONEDNN_OPTS": "0"}),
    "one_inter_op_thread": Setting({"DISTBENCH_INTER_OP_THREADS": "1"}),
    "four_inter_op_threads": Setting({"DISTBENCH_INTER_OP_THREADS": "4"}),
    "huge_pages": Setting({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}),
    "no_memory_pool": Setting({"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1"}),
}
COMMUNICATION_SETTINGS = {
    "mpi_polls": Setting({"OMPI_MCA_mpi_yield_when_idle": "0"}),
    "gloo": Setting({}, "gloo"),
    "gloo_cycle_10_ms": Setting({"HOROVOD_CYCLE_TIME": "10"}, "gloo"),
    "cycle_0.1_ms": Setting({"HOROVOD_CYCLE_TIME": "0.1"}),
    "cycle_10_ms": Setting({"HOROVOD_CYCLE_TIME": "10"}),
    "no_fusion": Setting({"HOROVOD_FUSION_THRESHOLD": "0"}),
    "fusion_512_mib": Setting({"HOROVOD_FUSION_THRESHOLD": str(512 * 2**20)}),
    "one_group": Setting({"DISTBENCH_GROUPED_ALLREDUCE": "1"}),
    "four_groups": Setting({"DISTBENCH_GROUPED_ALLREDUCE": "4"}),
    "bound_to_cores": Setting({BIND_VARIABLE: "1"}),
    "scaled_sum": Setting({"DISTBENCH_REDUCTION": "scaled_sum"}),
    "fp16": Setting({"DISTBENCH_COMPRESSION": "fp16"}),
}
KINDS = {"computing": COMPUTING_SETTINGS, "communication": COMMUNICATION_SETTINGS}
Times = dict[tuple[str, str], list[float]]


def main() -> None:
    arguments = _arguments()
    threads = max(1, len(os.sched_getaffinity(0)) // arguments.np)
    task = Task(arguments.config, arguments.batch_size, arguments.np, threads, arguments.smoke)
    over = ", Horovod over MPI" if task.ranks > 1 else ""
    lines = [f"{task.label}{over}; each setting beside the default, in pairs"]
    document: dict[str, Any] = {"label": task.label, "settings": {}, "failed": {}}
    known = KINDS[arguments.kind]
    with tempfile.TemporaryDirectory(prefix="settings-in-pairs-") as folder:
        for name in arguments.settings:
            try:
                times = _measured(name, known[name], task, arguments.rounds, Path(folder))
            except ContenderFailedError as error:
                document["failed"][name] = str(error)
                lines.append(f"{name}: FAILED: {error}")
                continue
            found = _found(name, times)
            document["settings"][name] = {
                **known[name]._asdict(),
                "seconds": {f"{who} {phase}": values for (who, phase), values in times.items()},
                **found,
            }
            told = _lines(name, found)
            lines += told
            print("\n".join(told), flush=True)
            _save(arguments, lines, document)
    _save(arguments, lines, document)


def _save(arguments: argparse.Namespace, lines: list[str], document: dict[str, Any]) -> None:
    machine = {key: value for key, value in host.machine().items() if key != "host"}
    whole = {"rounds": arguments.rounds, "manifest": machine, **document}
    save(f"settings_{arguments.kind}", lines, whole, arguments.output, is_shown=False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--np", type=int, help="1, or 2 for communication")
    parser.add_argument("--config", choices=vgg.CONFIGURATIONS, default="D")
    parser.add_argument("--batch-size", type=int, default=1, help="of each rank")
    parser.add_argument("--rounds", type=int, default=8, help="6 or more give an interval")
    parser.add_argument("--settings", type=lambda text: text.split(","), help="all of the kind")
    parser.add_argument("--smoke", action="store_true", help="a tiny network that is no VGG")
    parser.add_argument("--output", type=Path, help="folder of the files (benchmarks/output)")
    arguments = parser.parse_args()
    others = list(KINDS[arguments.kind])
    arguments.settings = arguments.settings or others
    arguments.np = arguments.np or (1 if arguments.kind == "computing" else 2)
    unknown = set(arguments.settings) - set(others)
    if unknown:
        parser.error(f"--settings: {', '.join(sorted(unknown))}: choose from {', '.join(others)}")
    disturbing = [name for name in sorted(os.environ) if name.startswith(DISTURBING)]
    if disturbing:
        parser.error(f"{', '.join(disturbing)}: unset what would change the default too")
    if arguments.np < 2 and arguments.kind == "communication":
        parser.error("--np: one rank reduces nothing")
    return arguments


def _measured(name: str, setting: Setting, task: Task, rounds: int, folder: Path) -> Times:
    """The median steps of each round, of the default and of the setting."""
    with ExitStack() as stack:
        calls: dict[tuple[str, str], Callable[[], float]] = {}
        for who, own in ((DEFAULT, Setting({})), (name, setting)):
            print(f"starting {who}", flush=True)
            job = Job(CONTENDER, task.ranks, folder)
            stack.callback(job.end)
            job.start(_commands(own, task))
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
    phases = [phase for who, phase in times if who == name]
    found: dict[str, Any] = {
        "ratios_to_default": {
            phase: ratio(times, (name, phase), (DEFAULT, phase)) for phase in phases
        }
    }
    shown = comparison.exposed(times, (name, DEFAULT))
    if shown:
        found["exposed_s"] = {one.contender: one.seconds for one in shown}
    return found


def _lines(name: str, found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{name}: {phase} ÷ the default's {ratio_text(one)}"
        for phase, one in found["ratios_to_default"].items()
    ]
    for who, one in found.get("exposed_s", {}).items():
        low, median, high = (f"{one[key] * 1e3:.0f}" for key in ("low", "median", "high"))
        lines.append(f"{name}: exposed communication {median} ms ({low} to {high}), {who}")
    return lines


if __name__ == "__main__":
    main()
