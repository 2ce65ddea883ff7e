"""How to get these numbers again: the command, rebuilt from the run's own configuration."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from distbench.analysis.collect import Run
from distbench.config import Config, flag_of
from distbench.plain_text import printable
from distbench.resolving import resolve

MOST_HOSTS = 8  # named in a command; a launcher's host file holds more
# Where the values of a simulated event stand in its flag: rank:factor, at:factor, rank:at.
_EVENT_PARTS = ("rank", "at", "factor")


def command(run: Run) -> str:
    """The command line that asks for this run's settings on as many ranks; it is quoted for a shell."""
    cluster = run.manifest.get("simulated_cluster")
    if run.is_simulated and isinstance(cluster, Mapping):
        words = ["distbench", "simulate", *_simulated(cluster.get("parameters"))]
        return shlex.join([*words, *settings_flags(run.config), "--output", "DIR"])
    return shlex.join([*_launcher(run), "python", "-m", "distbench", *settings_flags(run.config)])


def about_the_command(run: Run) -> str:
    """What the command leaves open."""
    if run.is_simulated:
        return (
            "The same cluster, settings and seed write the same records; DIR is any new directory."
        )
    ranks = "one rank" if run.size == 1 else f"{run.size} ranks, one per device"
    return (
        f"It was rebuilt from the recorded settings ({ranks}). Any launcher will do: each rank runs "
        "what stands from python on. The seed gives the same weights, images and order of blocks."
    )


def settings_flags(config: Config) -> list[str]:
    """The preset, and every setting in which the run differs from it."""
    preset = resolve({"preset": config.preset}, on_gpu=True, world_size=1).as_dict()
    # One of the two follows from the other; the batch of a rank follows from the global batch.
    follows = {"output", "preset", "blocks" if config.sizes else "rounds"}
    if config.scaling == "strong":
        follows.add("batch_size")
    if config.sizes:
        preset["rounds"] = Config.rounds
    flags = ["--preset", config.preset]
    for name, value in config.as_dict().items():
        if name not in follows and value != preset[name]:
            flags += [flag_of(name), *_written(value)]
    return flags


def _written(value: Any) -> list[str]:
    """A setting's value as its flag takes it; a switch is its flag alone."""
    if isinstance(value, bool):
        return []
    if isinstance(value, list):
        return [",".join(map(str, value))]
    return [str(value)]


def _launcher(run: Run) -> list[str]:
    """The launcher that Horovod's controller says, with the hosts where they are few."""
    if run.size == 1:
        return []
    ranks = ["-np", str(run.size)]
    if str(run.first_header["controller"]) == "mpi":
        return ["mpirun", *ranks]
    slots = _slots(run)
    hosts = ",".join(f"{host}:{count}" for host, count in slots.items())
    return [
        "horovodrun",
        "--gloo",
        *ranks,
        *(["-H", hosts] if 1 < len(slots) <= MOST_HOSTS else []),
    ]


def _slots(run: Run) -> dict[str, int]:
    slots: dict[str, int] = {}
    for records in run.ranks:
        if records.header is not None:
            host = printable(str(records.header["host"]))
            slots[host] = slots.get(host, 0) + 1
    return slots


def _simulated(parameters: Any) -> Iterator[str]:
    """The flags of `distbench simulate`; all that were stated, since its defaults may change."""
    if not isinstance(parameters, Mapping):
        return
    names = ["ranks", "ranks_per_node"]
    names += sorted(set(map(str, parameters)) - set(names))
    for name in names:
        value = parameters.get(name)
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                yield from (flag_of(name), _event(one) if isinstance(one, Mapping) else str(one))


def _event(parts: Mapping[str, Any]) -> str:
    return ":".join(str(parts[name]) for name in _EVENT_PARTS if name in parts)


def steps(run: Run) -> list[str]:
    """What to install first, as sentences."""
    versions = run.manifest.get("versions", {})
    commit = str(run.manifest.get("git_commit") or "")
    lines = []
    if commit:
        changed = commit.endswith("-dirty")
        lines.append(
            f"Check out commit {commit.removesuffix('-dirty')} of distbench"
            + (", which had changes that are not in it" if changed else "")
            + "."
        )
    if isinstance(versions, Mapping) and versions:
        listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        lines.append(f"Install the same versions: {listed}.")
    return lines
