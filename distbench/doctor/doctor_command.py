"""`distbench doctor`: collects facts about this machine, shows the verdicts, and starts real ranks."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distbench.config import shown
from distbench.doctor import (
    allreduce_verdicts,
    build_facts,
    clock_and_cores,
    free_memory,
    gpus_seen,
    interfaces,
    leftovers,
    mpi_flavour,
    output_place,
    packages,
    started_ranks,
    verdicts,
)
from distbench.doctor.verdicts import PROBLEM, Section, Verdict, note, problem
from distbench.durable_files import json_document, write_atomically
from distbench.errors import MissingPartError, UsageError
from distbench.launched import launched_as
from distbench.launchers import CONTROLLERS

DEFAULT_RANKS = 2
MOST_RANKS = 256  # on one machine
DEFAULT_OUTPUT = "results"
LAUNCHER_OF = {"gloo": "horovodrun", "mpi": "mpirun"}


@dataclass(frozen=True)
class Options:
    """The flags of `distbench doctor`; '' and None where one was not given."""

    ranks: str | None = None
    output: str = ""
    json_file: str = ""


def run_doctor(options: Options, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Shows every verdict as it comes, then the line that counts them.

    Raises MissingPartError where there is a problem, UsageError for a wrong flag.
    """
    ranks = read_ranks(options.ranks)
    _check_alone(environ)
    output = Path(options.output or DEFAULT_OUTPUT)
    sections = []
    for section in examined(ranks, output, environ, say):
        sections.append(section)
        for line in verdicts.lines_of(section):
            say(line)
    say(f"\n{verdicts.last_line(sections)}")
    if options.json_file:
        content = json_document(verdicts.document(sections, ranks))
        write_atomically(Path(options.json_file), content)
    problems = verdicts.of_level(sections, PROBLEM)
    if problems:
        raise MissingPartError(
            f"the doctor found {len(problems)} problem(s), the first: {problems[0].text}"
        )


def read_ranks(text: str | None) -> int:
    """How many ranks to start; 2 unless told. Raises UsageError where `text` is no such number."""
    if text is None:
        return DEFAULT_RANKS
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MOST_RANKS):
        raise UsageError(
            f"-np is {shown(text)}; it must be a whole number from 1 to {MOST_RANKS}: the ranks "
            "that this machine alone is to hold"
        )
    return int(text)


def _check_alone(environ: Mapping[str, str]) -> None:
    launched = launched_as(environ)
    if launched.size > 1:  # one rank may be the interactive shell of an allocation
        raise UsageError(
            f"distbench doctor starts its own ranks, and {launched.launcher} has started it as "
            f"{launched.size}; start it once, without a launcher, on a node of the job"
        )


def examined(
    ranks: int, output: Path, environ: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[Section]:
    """All sections, each as soon as it is known: first what is quick and wants a quiet machine."""
    cores, clock = clock_and_cores.collect_cores(), clock_and_cores.collect_clock()
    yield Section(
        "clock and cores",
        [
            *clock_and_cores.judge_clock(clock),
            *clock_and_cores.judge_cores(cores, ranks, environ),
        ],
    )
    yield Section("place of the results", output_place.judge(output_place.collect(output)))
    yield Section("left by earlier runs", leftovers.judge(leftovers.collect(output)))
    yield Section("network", interfaces.judge(interfaces.collect(), environ))
    memory_bytes = free_memory.collect()
    yield Section("memory", free_memory.judge(memory_bytes, ranks))
    missing = _temporary_problem()
    if missing is not None:
        yield Section("software and ranks", [missing])
        return
    say("loading TensorFlow and Horovod …")
    facts = build_facts.collect(environ)
    yield Section("software", packages.judge(facts, sys.version_info[:3]))
    mpirun, training = build_facts.mpirun_facts(environ), facts["training"]
    yield Section("MPI", mpi_flavour.judge(mpirun, training, facts["mpi4py"]))
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    yield Section("GPUs", gpus_seen.judge(gpus_seen.collect(), training, ranks, visible))
    if not free_memory.suffices(memory_bytes, ranks):
        return
    say(f"starting {ranks} rank(s) …")
    usable = min(cores.allowed, cores.quota or cores.allowed)
    yield Section("ranks, really started", _ranks(ranks, mpirun, training, environ, usable))


def _temporary_problem() -> Verdict | None:
    """The rest is written into a temporary directory, as MPI's own files are."""
    try:
        tempfile.gettempdir()
    except OSError:
        return problem(
            "not looked at: no temporary directory can be written",
            "free space in /tmp, or let TMPDIR name another directory",
        )
    return None


def _ranks(
    ranks: int,
    mpirun: Mapping[str, Any],
    training: Mapping[str, Any],
    environ: Mapping[str, str],
    cores: float,
) -> list[Verdict]:
    """A job over each controller that is built and has its launcher here."""
    flavour = mpi_flavour.recognised(str(mpirun["says"])).flavour
    limits = started_ranks.time_limits(float(training.get("import_s", 0.0)), ranks, cores)
    said: list[Verdict] = []
    for controller in CONTROLLERS:
        if not packages.built(training, controller) or not mpirun[LAUNCHER_OF[controller]]:
            continue
        argv = started_ranks.probe_argv(controller, ranks, flavour)
        try:
            started = started_ranks.run(argv, environ, ranks, limits)
        except MissingPartError as error:
            said.append(problem(error.sentence, "see the launcher's own installation"))
            continue
        said += allreduce_verdicts.judge(controller, started, ranks)
    return said or [_none_started(environ)]


def _none_started(environ: Mapping[str, str]) -> Verdict:
    found = "none was started: what Horovod is built with has no launcher on PATH"
    others = [name for name in ("srun", "jsrun") if shutil.which(name, path=environ.get("PATH"))]
    if others:
        fix = "try a small job first: distbench run --preset quick"
        return note(f"{found} but {others[0]}, which the doctor does not start", fix)
    return problem(found, "see to the software above, and enter the environment that has it")
