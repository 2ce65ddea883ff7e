"""Verdicts on what is installed and what is built into it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from distbench.doctor.verdicts import Verdict, note, ok, problem

LEAST_PYTHON = (3, 11)
TENSORFLOW_TRIED = "2.18"  # Horovod 0.28.1 does not compile against 2.19 and later
HOROVOD_TRIED = "0.28.1"
LEAST_OF_REPORT = {
    "numpy": (2,),
    "pandas": (3,),
    "pyarrow": (15,),
    "scipy": (1, 12),
    "matplotlib": (3, 9),
}
SET_UP = "run launch/setup.sh"
BUILD_HOROVOD = f"{SET_UP}, or build horovod {HOROVOD_TRIED} with HOROVOD_WITH_TENSORFLOW=1"
GET_REPORT = 'pip install "distbench[report]"'

Facts = Mapping[str, Any]


def judge(facts: Mapping[str, Facts], python: tuple[int, ...]) -> list[Verdict]:
    """Verdicts on Python and on every package; `facts` by kind, as `build_facts.collect` tells them."""
    return [
        _python(python),
        *_training(facts["training"]),
        *_mpi4py(facts["mpi4py"], facts["training"]),
        *_report(facts["report"]),
    ]


def version_numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, '3.0.0rc1' -> (3, 0, 0); empty where it has none."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def built(training: Facts, part: str) -> bool:
    """Whether Horovod says that it was built with 'mpi', 'gloo', 'nccl' and so on."""
    return bool(training.get("horovod_build", {}).get(f"{part}_built"))


def _python(found: tuple[int, ...]) -> Verdict:
    text = f"Python {'.'.join(map(str, found))}"
    if found < LEAST_PYTHON:
        return problem(f"{text} is too old", "use Python 3.11")
    return ok(text)


def _training(facts: Facts) -> Iterator[Verdict]:
    if "crashed" in facts:
        yield problem(
            f"TensorFlow and Horovod do not load together ({facts['crashed']})", BUILD_HOROVOD
        )
    elif "tensorflow_error" in facts:
        yield problem(f"TensorFlow does not load ({facts['tensorflow_error']})", SET_UP)
        yield note("Horovod was not looked at", "it needs TensorFlow first")
    else:
        yield _tensorflow(facts)
        yield from _horovod(facts)


def _tensorflow(facts: Facts) -> Verdict:
    build = facts["tensorflow_build"]
    is_cuda = bool(build.get("is_cuda_build"))
    kind = f"built for CUDA {build.get('cuda_version', '?')}" if is_cuda else "built for CPUs only"
    text = f"TensorFlow {facts['tensorflow']}, {kind}"
    if not str(facts["tensorflow"]).startswith(f"{TENSORFLOW_TRIED}."):
        return note(
            f"{text}, which distbench was not tried with",
            f"use TensorFlow {TENSORFLOW_TRIED}.1 where anything is odd",
        )
    return ok(text)


def _horovod(facts: Facts) -> Iterator[Verdict]:
    if "horovod_error" in facts:
        yield problem(
            f"Horovod does not load with TensorFlow ({facts['horovod_error']})", BUILD_HOROVOD
        )
        return
    parts = {name: part for part, name in (("mpi", "MPI"), ("gloo", "Gloo"), ("nccl", "NCCL"))}
    has = [name for name, part in parts.items() if built(facts, part)]
    lacks = [name for name in parts if name not in has]
    text = f"Horovod {facts['horovod']}, built with {_listed(has)}, without {_listed(lacks)}"
    if facts["horovod"] == HOROVOD_TRIED:
        yield ok(text)
    else:
        yield note(f"{text}, a version distbench was not tried with", f"use {HOROVOD_TRIED}")
    if not built(facts, "mpi") and not built(facts, "gloo"):
        yield problem("Horovod has no controller: neither MPI nor Gloo is built", BUILD_HOROVOD)
    elif not built(facts, "gloo"):
        yield note(
            "without Gloo only mpirun, srun and jsrun start a job",
            "for horovodrun --gloo build Horovod with HOROVOD_WITH_GLOO=1",
        )
    elif not built(facts, "mpi"):
        yield note(
            "without MPI only horovodrun --gloo starts a job",
            "for mpirun and srun build Horovod with HOROVOD_WITH_MPI=1",
        )
    if facts["tensorflow_build"].get("is_cuda_build") and "nccl" in map(str.lower, lacks):
        yield note(
            "TensorFlow is built for CUDA but Horovod has no NCCL, so that gradients go through "
            "the host's memory",
            "build Horovod with HOROVOD_GPU_OPERATIONS=NCCL",
        )


def _mpi4py(facts: Facts, training: Facts) -> Iterator[Verdict]:
    why = facts.get("crashed") or facts.get("mpi4py_error")
    if why is None:
        yield ok(f"mpi4py {facts['mpi4py']}")
    elif built(training, "mpi"):
        yield problem(
            f"mpi4py does not load ({why}), which gathers the records of a job over MPI",
            "install mpi4py against the MPI of mpirun, or launch with horovodrun --gloo",
        )
    else:
        yield note(f"mpi4py does not load ({why})", "it is needed only where Horovod has MPI")


def _report(facts: Facts) -> Iterator[Verdict]:
    if "crashed" in facts:
        yield note(f"the packages of reports do not load ({facts['crashed']})", GET_REPORT)
        return
    fitting = []
    for package, least in LEAST_OF_REPORT.items():
        found = facts.get(package, {})
        version = found.get("version")
        if version is None:
            why = found.get("error", "not looked at")
            yield note(f"{package} does not load ({why}), so that no report is made", GET_REPORT)
        elif version_numbers(version) < least:
            wanted = ".".join(map(str, least))
            yield note(
                f"{package} {version} is older than {wanted}, which reports need", GET_REPORT
            )
        else:
            fitting.append(f"{package} {version}")
    if fitting:
        yield ok(f"for reports: {', '.join(fitting)}")


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
