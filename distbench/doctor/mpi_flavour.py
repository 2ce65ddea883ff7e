"""Verdicts on MPI: whose mpirun is on PATH, and whose library Horovod and mpi4py are linked with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from distbench.doctor.packages import built
from distbench.doctor.verdicts import Verdict, note, ok, problem

OPEN_MPI, SPECTRUM, MPICH, INTEL = "Open MPI", "IBM Spectrum MPI", "MPICH", "Intel MPI"
# By the words that each uses of itself. MPICH's launcher may name only its process manager.
_WORDS = (
    (SPECTRUM, r"IBM Spectrum MPI"),
    (OPEN_MPI, r"Open MPI|OpenRTE|prterun|PRTE"),
    (INTEL, r"Intel\(R\) MPI"),
    (MPICH, r"MPICH|HYDRA"),
)
# These take each other's launchers and libraries: they share one binary interface and PMI.
_KIN = ({MPICH, INTEL}, {OPEN_MPI, SPECTRUM})
SAME_MPI = (
    "build Horovod and install mpi4py against the MPI of your mpirun, or put that MPI on PATH"
)


class Mpi(NamedTuple):
    """Which MPI, and its version; empty where it is not known."""

    flavour: str
    version: str

    @property
    def text(self) -> str:
        """In words."""
        return " ".join(part for part in self if part) or "an unknown MPI"


def recognised(text: str) -> Mpi:
    """The MPI that a text of its own speaks of: of `mpirun --version`, or of the library."""
    flavour = next((name for name, words in _WORDS if re.search(words, text)), "")
    version = re.search(r"\bv?(\d+\.\d+(?:\.\d+)*)", text)
    return Mpi(flavour, version[1] if version else "")


def are_kin(one: Mpi, other: Mpi) -> bool:
    """Whether the launcher of one can start programs of the other, as far as that is known."""
    if not one.flavour or not other.flavour or one.flavour == other.flavour:
        return True
    return any({one.flavour, other.flavour} <= kin for kin in _KIN)


def judge(
    mpirun: Mapping[str, Any], training: Mapping[str, Any], mpi4py: Mapping[str, Any]
) -> list[Verdict]:
    """Verdicts on mpirun, Horovod's library and mpi4py's; the facts are those of `build_facts`."""
    library = str(training.get("mpi_library", ""))
    has_mpi = built(training, "mpi")
    launcher = recognised(str(mpirun["says"]))
    verdicts = list(_launcher(mpirun, launcher, has_mpi))
    if has_mpi:
        verdicts += _library("Horovod", library, launcher)
        if "mpi_library" in mpi4py:
            verdicts += _library("mpi4py", str(mpi4py["mpi_library"]), launcher)
            verdicts += _two_libraries(library, str(mpi4py["mpi_library"]))
    if not mpirun["horovodrun"]:
        verdicts.append(
            note("horovodrun is not on PATH", "enter the environment that Horovod is installed in")
        )
    return verdicts


def _launcher(mpirun: Mapping[str, Any], launcher: Mpi, has_mpi: bool) -> Iterator[Verdict]:
    if not mpirun["mpirun"]:
        if has_mpi:
            yield note(
                "Horovod is built with MPI, but no mpirun is on PATH",
                "load your site's MPI module, or launch with horovodrun --gloo or srun",
            )
        else:
            yield ok("no mpirun is on PATH, and Horovod is built without MPI")
        return
    place = f"mpirun is {mpirun['mpirun']}"
    if not launcher.flavour:
        yield note(
            f"{place}, which does not say what MPI it is of",
            "see that it is the one that Horovod was built with (mpirun --version)",
        )
        return
    yield ok(f"{place}, {launcher.text}")
    if launcher.flavour == OPEN_MPI and launcher.version.startswith("5."):
        yield note(
            "horovodrun --mpi of Horovod 0.28.1 hands Open MPI 5 flags that it refuses",
            'use mpirun, or add --binding-args="--bind-to none --map-by slot"',
        )
    if launcher.flavour == MPICH and "MPICH" not in str(mpirun["says"]):
        yield note(
            "horovodrun --mpi does not recognise this MPICH, whose mpirun names only HYDRA",
            "launch with mpirun itself",
        )


def _library(whose: str, library: str, launcher: Mpi) -> Iterator[Verdict]:
    linked = recognised(library)
    if not library:
        yield note(
            f"which MPI library {whose} is linked with could not be found out",
            "rely on the started ranks below",
        )
    elif not are_kin(linked, launcher):
        yield problem(
            f"{whose} is linked with {linked.text} and mpirun is of {launcher.text}: every rank "
            "would run as a job of its own",
            SAME_MPI,
        )
    elif launcher.flavour and _release(linked) != _release(launcher):
        yield note(
            f"{whose} is linked with {linked.text} and mpirun is of {launcher.text}",
            f"if the started ranks below fail, {SAME_MPI}",
        )
    else:
        yield ok(f"{whose} is linked with {linked.text}")


def _two_libraries(horovods: str, mpi4pys: str) -> Iterator[Verdict]:
    one, other = recognised(horovods), recognised(mpi4pys)
    if horovods and (one.flavour, _release(one)) != (other.flavour, _release(other)):
        yield problem(
            f"Horovod is linked with {one.text} and mpi4py with {other.text}, and one process "
            "cannot hold both",
            SAME_MPI,
        )


def _release(mpi: Mpi) -> str:
    """'4.1' of '4.1.8'."""
    return ".".join(mpi.version.split(".")[:2])
