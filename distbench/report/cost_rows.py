"""What a run cost beside its timed steps, as rows of the environment's table."""

from __future__ import annotations

from collections.abc import Iterator

from distbench import units
from distbench.analysis.collect import Run
from distbench.analysis.rank_costs import memory, start_up


def cost_rows(run: Run) -> Iterator[tuple[str, str]]:
    """(what, value); none where the ranks have not told."""
    spent, taken = start_up(run), memory(run)
    if spent is not None:
        stages = ", ".join(f"{name} {units.seconds(s, 2)}" for name, s in spent.stages_s.items())
        yield (
            "before the first timed step",
            f"{stages} (of the slowest rank in each); preflight is "
            f"{units.percent(spent.preflight_share)} of the run",
        )
    if taken is not None:
        before, device = "", ""
        if taken.before_network_bytes is not None:
            before = (
                f" (TensorFlow and Horovod {units.decimal_bytes(taken.before_network_bytes)} before there "
                "was a network)"
            )
        if taken.device_bytes is not None:
            device = f" and {units.decimal_bytes(taken.device_bytes)} of its device"
        yield (
            "peak memory of a rank",
            f"{units.decimal_bytes(taken.host_bytes)} of its host{before}{device}; weights, gradients, "
            "reduced gradients, momenta, fusion buffer and activations make "
            f"{units.decimal_bytes(taken.expected_bytes)}, the copy of the weights that distbench keeps "
            f"{units.decimal_bytes(taken.kept_bytes)}",
        )
