"""distbench beside Keras under Horovod, PyTorch, a bare MPI_Allreduce, a memory copy and a matrix product.

Every contender is a job of its own that lives through all rounds. In each round every phase of every
contender is timed once, in random order, while the ranks of all others are stopped. A ratio is that of
the medians within a round. A contender that cannot take part is named with the reason. PyTorch may have
a Python of its own (--torch-python), which needs torch and numpy; nothing of distbench's.

    python benchmarks/side_by_side.py [--np 1,2] [--configs A,D,E] [--batch-size 8] [--rounds 12]
        [--controller mpi|gloo]
        [--contenders distbench,distbench_library,keras,pytorch,mpi,peak]
        [--torch-python PATH] [--pairs auto|always|never] [--smoke] [--name NAME]
    python benchmarks/side_by_side.py --again FILE.json,FILE.json --name NAME

--again measures nothing: it joins what was measured, and works out ratios and verdicts anew. Of what is
in several files the last counts.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

from contenders import comparison, goals, joined, memory, start, table, trial
from contenders.job import ContenderFailedError, Job
from contenders.task import Task
from interleaved import save, time_rounds

from distbench import vgg
from distbench.launched import ALONE, launched_as
from distbench.worker import host

SMOKE_BLOCK_S, BLOCK_S = 0.3, 3.0
# For all contenders, where the environment does not say otherwise. On CPUs the copies into the fusion
# buffer and back cost more than they save: VGG has few tensors, and most of their bytes are in one.
HOROVOD = {"HOROVOD_FUSION_THRESHOLD": "0"}
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    arguments = _arguments()
    for number in ENDING_SIGNALS:  # a shell may have had SIGINT ignored
        signal.signal(number, _as_interrupt)
    if arguments.again:
        _join(arguments)
        return
    lines: list[str] = []
    sections: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="side-by-side-") as folder:
        for ranks in arguments.np:
            for config in arguments.configs:
                task = Task(config, arguments.batch_size, ranks, _threads(arguments, ranks))
                section = Section(dataclasses.replace(task, smoke=arguments.smoke), arguments)
                for _ in section.measure(Path(folder)):  # what comes later may fail
                    _save(arguments, [*lines, *section.lines()], [*sections, section.document()])
                sections.append(section.document())
                lines += [*section.lines(), ""]
                print("\n".join(section.lines()), flush=True)
    if any(section["failed"] for section in sections):
        sys.exit(1)


def _join(arguments: argparse.Namespace) -> None:
    """What several runs on one machine have measured, as one document."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    documents = [json.loads(path.read_text()) for path in arguments.again]
    for document in documents:
        for one in document["sections"]:
            which = (one["label"], one["controller"])
            found[which] = joined.joined(found[which], one) if which in found else one
    sections = [Section.again(one, arguments) for one in found.values()]
    lines = [line for section in sections for line in [*section.lines(), ""]]
    whole = {
        "runs": [run for document in documents for run in document["runs"]],
        "manifest": documents[-1]["manifest"],
        "sections": [section.document() for section in sections],
    }
    save(f"side_by_side_{arguments.name}", lines, whole, arguments.output)


def _paths(text: str) -> list[Path]:
    return [Path(part) for part in text.split(",")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--np", type=_numbers, default=[1, 2], help="ranks, such as 1,2")
    parser.add_argument("--configs", type=_configs, default=["A", "D", "E"])
    parser.add_argument("--batch-size", type=int, default=8, help="of each rank")
    parser.add_argument("--rounds", type=int, default=12, help="6 or more give an interval")
    parser.add_argument("--block-s", type=float, help="least seconds of a phase in a round")
    parser.add_argument("--contenders", type=_contenders, default=list(start.CONTENDERS))
    parser.add_argument("--controller", choices=start.CONTROLLERS, default="mpi")
    parser.add_argument("--threads", type=int, default=0, help="of each rank; 0: cores ÷ ranks")
    parser.add_argument("--keras-threads", type=int, default=0, help="0: as the others")
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--pairs", choices=("auto", "always", "never"), default="auto")
    parser.add_argument("--smoke", action="store_true", help="a tiny network that is no VGG")
    parser.add_argument("--name", help="of the files: side_by_side_NAME")
    parser.add_argument("--output", type=Path, help="folder of the files (benchmarks/output)")
    parser.add_argument("--again", type=_paths, help="JSON files of earlier runs on this machine")
    arguments = parser.parse_args()
    if launched_as(os.environ) != ALONE:
        parser.error("it starts its ranks itself; run it without a launcher")
    arguments.name = arguments.name or arguments.controller + ("_smoke" * arguments.smoke)
    if arguments.block_s is None:
        arguments.block_s = SMOKE_BLOCK_S if arguments.smoke else BLOCK_S
    return arguments


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _configs(text: str) -> list[str]:
    return _choices(text, [name for name in vgg.CONFIGURATIONS if name != "A-LRN"])


def _contenders(text: str) -> list[str]:
    chosen = _choices(text, start.CONTENDERS)
    return [name for name in start.CONTENDERS if name in chosen or name == comparison.OURS]


def _choices(text: str, known: Sequence[str]) -> list[str]:
    names = text.split(",")
    if not set(names) <= set(known):
        raise argparse.ArgumentTypeError(f"{text}: choose from {','.join(known)}")
    return names


def _threads(arguments: argparse.Namespace, ranks: int) -> int:
    return arguments.threads or max(1, len(os.sched_getaffinity(0)) // ranks)


def _as_interrupt(number: int, frame: Any) -> NoReturn:
    """Once: a second signal must not disturb the ending of what runs."""
    for other in ENDING_SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def _save(arguments: argparse.Namespace, lines: list[str], sections: list[dict[str, Any]]) -> None:
    machine = {key: value for key, value in host.machine().items() if key != "host"}
    settings = ("rounds", "block_s", "controller", "contenders", "pairs", "smoke")
    run = {
        "settings": {name: getattr(arguments, name) for name in settings},
        "horovod": {
            name: value
            for name, value in {**HOROVOD, **os.environ}.items()
            if name.startswith("HOROVOD_")
        },
    }
    document = {
        "runs": [run],
        "manifest": machine,
        "sections": sections,
    }
    save(f"side_by_side_{arguments.name}", lines, document, arguments.output, is_shown=False)


class Section:
    """One configuration at one number of ranks."""

    def __init__(self, task: Task, arguments: argparse.Namespace) -> None:
        self._task, self._arguments = task, arguments
        self._absent: dict[str, str] = {}
        self._failed: list[dict[str, Any]] = []
        self._facts: dict[str, list[dict[str, Any]]] = {}
        self._steps: dict[str, dict[str, int]] = {}
        self._peak_rss_bytes: dict[str, int] = {}
        self._groups: list[comparison.Times] = []
        self._how = ""
        over = f"Horovod over {arguments.controller}"
        self._horovod = over if task.ranks > 1 else "without an allreduce"
        self._pythons = {"pytorch": arguments.torch_python}

    @classmethod
    def again(cls, document: dict[str, Any], arguments: argparse.Namespace) -> Section:
        """A section that was measured before, from its document."""
        section = cls(Task(**document["task"]), arguments)
        section._absent, section._failed = document["absent"], document["failed"]
        section._facts, section._steps = document["facts"], document["steps_per_round"]
        section._peak_rss_bytes, section._how = document["peak_rss_bytes"], document["how"]
        section._horovod = document["controller"]
        for group in document["round_medians_s"]:
            keys = {name: tuple(name.split(" ", 1)) for name in group}
            section._groups.append({keys[name]: values for name, values in group.items()})
        return section

    def measure(self, folder: Path) -> Iterator[None]:
        """All groups, one after the other; what there is can be told after each."""
        self._say(f"== {self._task.label}, {self._horovod}")
        present = []
        for name in self._arguments.contenders:
            reason = start.reason_missing(name, self._task, self._pythons)
            if reason:
                self._absent[name] = reason
            else:
                present.append(name)
        groups, self._how = memory.grouped(
            present, self._task, memory.available_bytes(), self._arguments.pairs
        )
        self._say(self._how)
        for group in groups:
            try:
                self._groups.append(self._measured(group, folder))
            except ContenderFailedError as error:
                self._failed.append({"reason": str(error), "contenders": group})
            yield

    def _say(self, text: str) -> None:
        print(text, flush=True)

    def _measured(self, group: Sequence[str], folder: Path) -> comparison.Times:
        """The median steps of each round, with all jobs of the group alive."""
        with ExitStack() as stack:
            jobs = {}
            for name in group:
                try:
                    jobs[name] = self._started(name, folder, stack)
                except ContenderFailedError as error:
                    if name == comparison.OURS:
                        raise
                    self._absent[name] = f"failed: {error}"
            calls: dict[comparison.Key, Callable[[], float]] = {
                (name, phase): functools.partial(self._median_s, job, phase)
                for name, job in jobs.items()
                for phase in job.phases
            }
            times = time_rounds(calls, self._arguments.rounds)
            for name, job in jobs.items():
                self._peak_rss_bytes[name] = job.part()
        return times

    def _started(self, name: str, folder: Path, stack: ExitStack) -> Job:
        task = self._task
        if name == "keras" and self._arguments.keras_threads:
            task = dataclasses.replace(task, threads=self._arguments.keras_threads)
        self._say(f"starting {name}")
        job = Job(name, task.ranks, folder)
        stack.callback(job.end)
        commands = start.commands(name, task, self._arguments.controller, self._pythons)
        job.start([(argv, {**HOROVOD, **variables}) for argv, variables in commands])
        self._steps[name] = trial.tried(job, self._arguments.block_s)
        self._facts[name] = [one["facts"] for one in job.ready]
        for line in table.fact_lines(name, self._facts[name]):
            self._say(line)
        return job

    def _median_s(self, job: Job, phase: str) -> float:
        return statistics.median(job.run(phase, self._steps[job.name][phase]))

    def _flops(self) -> dict[str, float]:
        """Of one rank's step."""
        network = self._task.network()
        of_image = {
            "forward": network.forward_flops,
            "forward_backward": network.forward_backward_flops,
        }
        return {phase: count * self._task.batch_size for phase, count in of_image.items()}

    def lines(self) -> list[str]:
        """The section for the reader."""
        pairs, shares, exposed = self._found()
        lines = [f"== {self._task.label}, {self._horovod}; {self._how}"]
        lines += [f"{name}: {reason}" for name, reason in self._absent.items()]
        lines += [
            f"FAILED: {one['reason']}; not measured: {', '.join(one['contenders'])}"
            for one in self._failed
        ]
        for name, facts in self._facts.items():
            lines += table.fact_lines(name, facts)
        lines += table.pair_lines(pairs)
        lines += table.share_lines(shares) + table.exposed_lines(exposed)
        lines += table.goal_lines(self._goals(pairs, shares))
        most = ", ".join(f"{name} {held / 1e9:.2f}" for name, held in self._peak_rss_bytes.items())
        return [*lines, f"most memory of a rank, GB: {most}"]

    def _found(self) -> tuple[list[comparison.Compared], list[Any], list[Any]]:
        pairs = [pair for times in self._groups for pair in comparison.compared(times)]
        flops = self._flops()
        shares = [one for times in self._groups for one in comparison.shares(times, flops)]
        exposed = [one for times in self._groups for one in comparison.exposed(times)]
        return pairs, shares, exposed

    def _goals(self, pairs: Sequence[Any], shares: Sequence[Any]) -> list[goals.Goal]:
        """None for a network that is no VGG."""
        return [] if self._task.smoke else goals.goals(pairs, shares, self._task.ranks)

    def document(self) -> dict[str, Any]:
        """The section for the JSON file."""
        pairs, shares, exposed = self._found()
        return {
            "task": dataclasses.asdict(self._task),
            "label": self._task.label,
            "controller": self._horovod,
            "how": self._how,
            "absent": self._absent,
            "failed": self._failed,
            "facts": self._facts,
            "steps_per_round": self._steps,
            "round_medians_s": [
                {f"{name} {phase}": values for (name, phase), values in times.items()}
                for times in self._groups
            ],
            "compared": [one._asdict() for one in pairs],
            "shares_of_peak": [one._asdict() for one in shares],
            "exposed": [one._asdict() for one in exposed],
            "goals": [one._asdict() for one in self._goals(pairs, shares)],
            "peak_rss_bytes": self._peak_rss_bytes,
        }


if __name__ == "__main__":
    main()
