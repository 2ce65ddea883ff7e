"""What two launches must have alike to stand on one curve."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from distbench.analysis.collect import Run

# These say how many samples were taken, in which order and where they went; the work is the same.
# A preset is only a name for values that stand in the key themselves, and `threads_per_rank` a wish:
# what was used stands there instead. Peaks and links are what times are compared with.
NOT_IN_KEY = (
    "preset",
    "warmup_steps",
    "steps",
    "blocks",
    "rounds",
    "sizes",
    "seed",
    "output",
    "tensorflow_log",
    "threads_per_rank",
    "measure_peak",
    "start_timeout",
    "step_timeout",
    "deadline",
    "device_peak_tflops",
    "link_gb_per_s",
    "intra_link_gb_per_s",
)
# Variables that follow from a rank's place or from where the hosts are, which sizes cannot share, and
# those that only choose what is printed.
_NOT_IN_KEY_VARIABLES = re.compile(
    r"HOROVOD_((LOCAL_|CROSS_)?(RANK|SIZE)|HOSTNAME|GLOO_RENDEZVOUS_[A-Z]+|GLOO_IFACE|LOG_[A-Z_]+)"
    r"|NCCL_(SOCKET_IFNAME|DEBUG[A-Z_]*)|SLURM_(?!CPU_BIND).*|CUDA_VISIBLE_DEVICES|TF_CPP_.*"
)


def curve_key(run: Run, launcher: str, hosts: str, varied: Mapping[str, str]) -> dict[str, str]:
    """Everything that bears on a curve, by name; launches with equal keys are comparable.

    `varied` are the axes of the study: what its author told apart stays apart. Its `size` is what a
    curve runs along.
    """
    key = {
        **_settings(run),
        "launcher": launcher,
        "hosts": hosts or "not named",
        "one launch for all sizes": f"of {run.size} ranks" if run.config.sizes else "no",
        **_machine(run),
        **_software(run),
        **_environment(run),
    }
    key.update({name: text for name, text in varied.items() if name != "size"})
    return key


def _settings(run: Run) -> dict[str, str]:
    """The settings that change the work or its conditions; of the two batches the one that is fixed."""
    left_out = {*NOT_IN_KEY, "batch_size" if run.config.scaling == "strong" else "global_batch"}
    if not run.config.sizes:
        left_out.add("placement")  # of groups inside a launch
    return {
        name: ",".join(value) if isinstance(value, list) else str(value)
        for name, value in run.config.as_dict().items()
        if name not in left_out
    }


def _machine(run: Run) -> dict[str, str]:
    headers = [records.header for records in run.ranks if records.header is not None]
    devices = {str(header["device"]["name"]) for header in headers}
    threads = {str(header["device"]["threads"]) for header in headers}
    return {
        "device": f"{run.device_kind}: {', '.join(sorted(devices))}",
        "threads per rank": ", ".join(sorted(threads)),
        "simulated": "yes" if run.is_simulated else "no",
        "controller": str(headers[0]["controller"]),
    }


def _software(run: Run) -> dict[str, str]:
    manifest = run.manifest
    return {
        **_versions(manifest),
        "distbench commit": str(manifest.get("git_commit")),
        "MPI library": str(manifest.get("mpi_library")),
        "Horovod build": _pairs(manifest.get("horovod")),
        "TensorFlow build": _pairs(manifest.get("tensorflow")),
    }


def _versions(manifest: Mapping[str, Any]) -> dict[str, str]:
    found = manifest.get("versions") or {}
    return {f"version of {name}": str(version) for name, version in found.items()}


def _environment(run: Run) -> dict[str, str]:
    found = run.manifest.get("environment") or {}
    return {
        name: str(value)
        for name, value in found.items()
        if not _NOT_IN_KEY_VARIABLES.fullmatch(name)
    }


def _pairs(values: Any) -> str:
    if not isinstance(values, Mapping):
        return "not recorded"
    return ", ".join(f"{name} {value}" for name, value in sorted(values.items())) or "none"


def differing(keys: list[dict[str, str]]) -> list[str]:
    """The names whose values are not the same in all keys."""
    names = dict.fromkeys(name for key in keys for name in key)
    return [name for name in names if len({key.get(name) for key in keys}) > 1]


def text_of(key: Mapping[str, str]) -> str:
    """The key as text that is equal where the key is."""
    return json.dumps(key, sort_keys=True)
