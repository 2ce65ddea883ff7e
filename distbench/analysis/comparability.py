"""What two sets of launches differ in, and which of it forbids to compare their times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from distbench.analysis.collect import Run
from distbench.analysis.curve_keys import NOT_IN_KEY, curve_key
from distbench.analysis.device_peaks import allows_tf32

NOT_SET, NOT_RECORDED = "not set", "not recorded"
# With another value of these the work, the device or the arithmetic is another one. Everything else
# is a condition, which is what one compares: it is listed.
REFUSED = (
    "config",
    "image_size",
    "classes",
    "fc_units",
    "width_multiplier",
    "head",
    "precision",
    "scaling",
    "batch_size",
    "global_batch",
    "device",
    "TF32 allowed",
    "simulated",
)
_SHOWN = 60  # characters of a value


class Difference(NamedTuple):
    """One fact that is not the same on both sides; `refuses` where their times must not be compared."""

    name: str
    a: str
    b: str
    refuses: bool


def facts_of(run: Run, launcher: str) -> dict[str, str]:
    """Everything that is known about how and where a run was made, by name."""
    key = curve_key(run, launcher, "", {})
    del key["hosts"]  # those that were asked for; the machines tell which they were
    key = {name: NOT_RECORDED if value == str(None) else value for name, value in key.items()}
    settings = run.config.as_dict()
    samples = {
        name: _text(settings[name])
        for name in NOT_IN_KEY
        if name in settings and name not in ("output", "tensorflow_log")
    }
    return {**key, **samples, **_machines(run), **_arithmetic(run), **_simulated_cluster(run)}


def _machines(run: Run) -> dict[str, str]:
    headers = [records.header for records in run.ranks if records.header is not None]
    ranks = run.manifest.get("ranks", [])
    told = {
        "processor": "cpu",
        "operating system": "system",
        "GPU driver": "driver",
        "cores of a node": "cores_of_node",
        "clock governor": "governor",
    }
    return {
        "hosts": _each_once(header["host"] for header in headers),
        "ranks": str(run.size),
        "ranks per node": _each_once(header["local_size"] for header in headers),
        "transport": _each_once(header.get("transport") for header in headers),
        **{name: _each_once(rank.get(field) for rank in ranks) for name, field in told.items()},
    }


def _arithmetic(run: Run) -> dict[str, str]:
    """TF32 is a mode of GPUs; what a run on CPUs records of it bears on nothing."""
    allowed = allows_tf32(run)
    return (
        {"TF32 allowed": str(allowed)} if "GPU" in run.device_kind and allowed is not None else {}
    )


def _simulated_cluster(run: Run) -> dict[str, str]:
    stated = run.manifest.get("simulated_cluster")
    cluster = stated.get("parameters") if isinstance(stated, Mapping) else None
    if not isinstance(cluster, Mapping):
        return {}
    return {f"simulated {name}": _text(value) for name, value in cluster.items()}


def _text(value: Any) -> str:
    if value is None or value == []:
        return "none"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _each_once(values: Iterable[Any]) -> str:
    found = {str(value) for value in values if value not in (None, "")}
    return ", ".join(sorted(found)) or NOT_RECORDED


def differences(a: Sequence[Mapping[str, str]], b: Sequence[Mapping[str, str]]) -> list[Difference]:
    """The facts whose values are not the same on both sides, those that refuse first.

    A fact that refuses must also be the same in all launches of one side.
    """
    names = dict.fromkeys(name for facts in (*a, *b) for name in facts)
    found = []
    for name in names:
        values = [{facts.get(name, NOT_SET) for facts in side} for side in (a, b)]
        refuses = name in REFUSED
        if values[0] != values[1] or (refuses and len(values[0]) > 1):
            shown = _apart(*(" or ".join(sorted(side)) for side in values))
            found.append(Difference(name, *shown, refuses))
    return sorted(found, key=lambda one: not one.refuses)


def _apart(a: str, b: str) -> tuple[str, str]:
    """Both texts short enough for a line, from a little before the place where they part."""
    parts = (at for at, (one, other) in enumerate(zip_longest(a, b)) if one != other)
    parted = next(parts, 0)
    start = 0 if max(len(a), len(b)) <= _SHOWN or parted < _SHOWN - 20 else parted - 20
    return _cut(a, start), _cut(b, start)


def _cut(text: str, start: int) -> str:
    before, after = "…" if start else "", "…" if len(text) > start + _SHOWN else ""
    return f"{before}{text[start : start + _SHOWN]}{after}"
