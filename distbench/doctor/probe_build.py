"""Tells as JSON what is built into the packages of one kind; run as a process of its own.

    python -m distbench.doctor.probe_build training|mpi4py|report

A library that does not fit may end the process that loads it: the doctor then lives on and says so.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

MARKER = "distbench-doctor:"  # before the JSON: libraries print what they like on stdout
REPORT_PACKAGES = ("numpy", "pandas", "pyarrow", "scipy", "matplotlib")
_LONGEST_NAME = 8192  # MPI_MAX_LIBRARY_VERSION_STRING of the known libraries


def training() -> dict[str, Any]:
    """TensorFlow and Horovod: their builds, TensorFlow's GPUs, and the MPI that Horovod is linked with."""
    started_ns = time.perf_counter_ns()
    from distbench.worker.host import horovod_build, tensorflow_build

    facts: dict[str, Any] = {}
    try:
        import tensorflow as tf
    except Exception as error:  # a library that does not load is not always an ImportError
        return {"tensorflow_error": _words(error)}
    facts["tensorflow"] = tf.__version__
    facts["tensorflow_build"] = tensorflow_build()
    facts["gpus"] = [device.name for device in tf.config.list_physical_devices("GPU")]
    try:
        import horovod.tensorflow as hvd
    except Exception as error:
        return {**facts, "horovod_error": _words(error)}
    import horovod

    facts["horovod"] = horovod.__version__
    facts["horovod_build"] = horovod_build(hvd)
    facts["mpi_library"] = mpi_library_loaded()
    facts["import_s"] = (time.perf_counter_ns() - started_ns) / 1e9
    return facts


def mpi4py() -> dict[str, Any]:
    """The MPI library that mpi4py is linked with, without starting MPI."""
    try:
        import mpi4py

        mpi4py.rc.initialize = False
        mpi4py.rc.finalize = False
        from mpi4py import MPI
    except Exception as error:
        return {"mpi4py_error": _words(error)}
    return {"mpi4py": mpi4py.__version__, "mpi_library": first_words(MPI.Get_library_version())}


def report() -> dict[str, Any]:
    """The packages that reports need: the version of each, or why it does not load."""
    facts: dict[str, Any] = {}
    for package in REPORT_PACKAGES:
        try:
            facts[package] = {"version": str(__import__(package).__version__)}
        except Exception as error:
            facts[package] = {"error": _words(error)}
    return facts


def mpi_library_loaded(maps: Path = Path("/proc/self/maps")) -> str:
    """What the MPI library in this process says of itself; empty where there is none."""
    found = re.search(r"\s(/\S*/libmpi[^/\s]*\.so[0-9.]*)$", maps.read_text(), flags=re.MULTILINE)
    if found is None:
        return ""
    name, length = ctypes.create_string_buffer(_LONGEST_NAME), ctypes.c_int()
    # one of the few calls that MPI allows before it is started
    ctypes.CDLL(found[1]).MPI_Get_library_version(name, ctypes.byref(length))
    return first_words(name.value.decode("utf-8", "replace"))


def first_words(library_version: str) -> str:
    """The first line of what an MPI library says of itself, short."""
    lines = library_version.split("\0")[0].strip().splitlines() or [""]
    return lines[0].strip()[:200]


def _words(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]


KINDS = {"training": training, "mpi4py": mpi4py, "report": report}


def main() -> None:
    """Prints the facts of the kind that is named."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    facts = KINDS[sys.argv[1]]()
    print(f"\n{MARKER}{json.dumps(facts)}", flush=True)
    # Without the farewell of libraries that were only loaded: some of them hang in it.
    os._exit(0)


if __name__ == "__main__":
    main()
