"""From what somebody set to the whole configuration, once device and number of ranks are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distbench import parsing
from distbench.config import Config, Overrides
from distbench.errors import UsageError
from distbench.knobs import check_values
from distbench.presets import PRESETS


def resolve(overrides: Overrides, on_gpu: bool, world_size: int) -> Config:
    """The configuration for this device and number of ranks: defaults, then the preset, `overrides`.

    Raises UsageError where values contradict each other.
    """
    preset = overrides.get("preset", "gpu" if on_gpu else "cpu")
    values = {**PRESETS[preset], **overrides, "preset": preset}
    values["sizes"] = study_sizes(overrides, world_size)
    values.update(_rounds(values, overrides))
    _check_study(values, overrides, world_size)
    values.update(_batches(values, overrides, world_size))
    config = Config(**values)
    check_values(config, world_size)
    if config.blocks > config.steps:
        name = "rounds" if config.sizes else "blocks"
        raise UsageError(
            f"--{name} is {config.blocks} and --steps is {config.steps}; a block has at least one "
            f"timed step, so give at least as many steps as {name}"
        )
    return config


def study_sizes(overrides: Overrides, world_size: int) -> tuple[int, ...]:
    """The numbers of ranks that a study measures, ascending; empty where no study was asked for.

    Raises UsageError where one is larger than the job.
    """
    sizes = overrides.get("sizes", ())
    if sizes == parsing.AUTO_SIZES:
        powers = {2**exponent for exponent in range(world_size.bit_length())}
        return tuple(sorted(powers | {world_size}))
    if sizes and sizes[-1] > world_size:
        raise UsageError(
            f"--sizes asks for {sizes[-1]} ranks and this job has {world_size}; start it with at "
            f"least {sizes[-1]} ranks, such as horovodrun -np {sizes[-1]}"
        )
    return tuple(sizes)


def _check_study(values: Mapping[str, Any], overrides: Overrides, world_size: int) -> None:
    if "placement" in overrides and not values["sizes"]:
        raise UsageError(
            f"--placement is {overrides['placement']}, which is for --sizes; give the sizes too"
        )
    if values["sizes"] == (1,) and world_size > 1 and values.get("phases") == ("allreduce",):
        raise UsageError(
            "--sizes 1 with --phases allreduce measures nothing, since one rank reduces nothing; "
            "add a size or a phase"
        )


def _rounds(values: Mapping[str, Any], overrides: Overrides) -> dict[str, int]:
    """A block of every phase makes a round, so that a phase has as many blocks as there are rounds.

    Fewer steps than the preset has blocks: each step is then a block of its own.
    """
    used, unused = ("rounds", "blocks") if values["sizes"] else ("blocks", "rounds")
    if unused in overrides:
        why = "a study is divided by --rounds" if values["sizes"] else "--rounds is for --sizes"
        raise UsageError(f"--{unused} is {overrides[unused]}, but {why}; give --{used} instead")
    count = values.get(used, getattr(Config, used))
    if "steps" in overrides and used not in overrides:
        count = min(values["steps"], count)
    return {"rounds": count, "blocks": count}


def _batches(values: Mapping[str, Any], overrides: Overrides, world_size: int) -> dict[str, int]:
    """The batch per rank of the largest size, where the global batch is what was given."""
    global_batch = values.get("global_batch", 0)
    if values.get("scaling", "weak") == "weak":
        if global_batch:
            raise UsageError(
                f"--global-batch is {global_batch}, which is for --scaling strong; "
                "add that, or give --batch-size"
            )
        return {}
    if not global_batch or "batch_size" in overrides:
        raise UsageError(
            "--scaling strong divides one batch among the ranks; give --global-batch, "
            "and no --batch-size"
        )
    sizes = values["sizes"] or (world_size,)
    for size in sizes:
        if global_batch % size:
            fitting = [ranks for ranks in range(1, world_size + 1) if global_batch % ranks == 0]
            raise UsageError(
                f"--global-batch {global_batch} cannot be divided among {size} ranks; of up to "
                f"{world_size} ranks it can among {', '.join(map(str, fitting))}"
            )
    return {"batch_size": global_batch // sizes[-1]}
