"""Settings that change the speed: set without effect, not the same everywhere, or not proven."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from distbench.analysis.check import Check
from distbench.analysis.collect import Run
from distbench.analysis.completeness import ranks_in_words
from distbench.config import Config
from distbench.knobs import KNOBS, REDUCING_KNOBS, changed

REDUCING_PHASES = ("allreduce", "forward_backward_allreduce", "train_step")
NOT_KNOWN = "not recorded"


def knob_checks(run: Run) -> Iterator[Check]:
    """What a reader must know of the settings that a run was made with."""
    yield from _without_effect(run)
    yield from _readings(run)
    yield from _uncounted(run)


def _without_effect(run: Run) -> Iterator[Check]:
    idle = [name for name in changed(run.config) if name in REDUCING_KNOBS]
    reduces = run.size > 1 and any(phase in REDUCING_PHASES for phase in run.config.phases)
    if idle and not reduces:
        why = "one rank reduces nothing" if run.size == 1 else "no phase of it reduces"
        yield Check("note", f"set without effect on this run, as {why}: {', '.join(idle)}")
    in_one_node = len({str(one.header["host"]) for one in run.ranks if one.header}) == 1
    with_nccl = "GPU" in run.device_kind and bool(run.manifest.get("horovod", {}).get("nccl_built"))
    if reduces and run.config.reduction == "adasum" and with_nccl and in_one_node:
        yield Check(
            "note",
            "Adasum without effect: with NCCL the ranks of a node are averaged, and all are on one",
        )


def _readings(run: Run) -> Iterator[Check]:
    """What each rank read back must be what the others did."""
    if not changed(run.config):
        return
    known = {one.rank: settings_of(one.preflight) for one in run.ranks if one.preflight is not None}
    unknown = [rank for rank, settings in known.items() if not settings]
    if unknown:
        yield Check(
            "suspect",
            f"which settings were in use was not recorded by {ranks_in_words(unknown)}: they are as "
            "requested",
        )
    for name in KNOBS:
        told = {rank: settings[name] for rank, settings in known.items() if name in settings}
        first = next(iter(told.values()), None)
        others = [rank for rank, setting in told.items() if setting != first]
        if others:
            yield Check(
                "suspect", f"{ranks_in_words(others)}: another {name} in use than on the first rank"
            )


def _uncounted(run: Run) -> Iterator[Check]:
    """Allreduces inside of XLA's code, which are proven by what they return."""
    if run.config.xla != "all" or run.size == 1:
        return
    proofs = [one.preflight for one in run.ranks if one.preflight is not None]
    if proofs and all(_is_proven_by_value(run.config, proof) for proof in proofs):
        yield Check(
            "note",
            "allreduces inside of XLA's code cannot be counted: those of the training phases are proven "
            "by the values that they return",
        )
    else:
        yield Check("suspect", "not proven that the allreduces inside of XLA's code were executed")


def _is_proven_by_value(config: Config, proof: Mapping[str, Any]) -> bool:
    groups = proof.get("groups")
    found = [
        group["reduced_by_value"]
        for group in (groups.values() if isinstance(groups, dict) else ())
        if isinstance(group, dict) and isinstance(group.get("reduced_by_value"), dict)
    ]
    wanted = {name for name in REDUCING_PHASES[1:] if name in config.phases}
    return bool(found) and all(wanted <= set(values) for values in found)


def settings_of(preflight: Mapping[str, Any]) -> dict[str, tuple[str, str | None, str]]:
    """What a rank's preflight recorded: (requested, in use, how) of each setting, by its name."""
    return {
        setting["name"]: (setting["requested"], setting["in_use"], setting["how"])
        for setting in preflight.get("settings_in_use", [])
    }


def settings_rows(run: Run) -> list[tuple[str, str]]:
    """The settings that are not as by default: (name, what was requested and is in use)."""
    proof = next((one.preflight for one in run.ranks if one.preflight is not None), {})
    found = settings_of(proof)
    return [
        (f"setting {name}", _reading(value, found.get(name)))
        for name, value in changed(run.config).items()
    ]


def _reading(value: Any, setting: tuple[str, str | None, str] | None) -> str:
    if setting is None:
        return f"{value} ({NOT_KNOWN} whether in use)"
    _, in_use, how = setting
    return f"{value} ({how})" if in_use is None else f"{in_use}, as requested ({how})"
