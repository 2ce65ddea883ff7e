"""Everything that a report shows, worked out once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from distbench.analysis.check import Check
from distbench.analysis.collect import Run
from distbench.analysis.communication import Communication
from distbench.analysis.device_peaks import allows_tf32
from distbench.analysis.limits import Limits
from distbench.analysis.loss import LossBudget
from distbench.analysis.scaling import Device
from distbench.analysis.stragglers import Stragglers
from distbench.knobs import work_label


@dataclass(frozen=True)
class Findings:
    """Everything that a report shows."""

    run: Run
    groups: pd.DataFrame  # one row per group and phase
    summary: pd.DataFrame  # those of the main group, which the headline is about
    steps: pd.DataFrame  # the main group's steps of every rank
    jobs: pd.DataFrame  # the main group's job steps
    all_jobs: pd.DataFrame  # those of every group
    communication: Communication
    parts: dict[str, float]
    checks: Sequence[Check]
    scaling: pd.DataFrame | None  # the curve, of two sizes or more
    devices: Sequence[Device]  # every rank's own baseline
    budgets: Sequence[LossBudget]  # where the scaling goes, by size
    stragglers: Stragglers | None  # None where no two ranks compute
    limits: Limits

    @property
    def ranks(self) -> int:
        """How many ranks the main group has."""
        return int(self.summary["ranks"].iloc[0])

    @property
    def is_valid(self) -> bool:
        """Whether a headline may be shown."""
        return not any(check.level == "invalid" for check in self.checks)

    @property
    def warning(self) -> str:
        """What stands before a headline or under a chart's title where the checks found something."""
        if not self.is_valid:
            return "NOT VALID, see the report's checks: "
        suspect = any(check.level == "suspect" for check in self.checks)
        return "SUSPECT, see the report's checks: " if suspect else ""


def arithmetic(run: Run) -> str:
    """How the network's values are multiplied, in the word of the vendors' tables."""
    if run.config.precision != "float32":
        return {"bfloat16": "BF16", "float16": "FP16"}[run.config.precision]
    if "GPU" not in run.device_kind:
        return "FP32"
    return {True: "TF32", False: "FP32", None: "FP32 or TF32"}[allows_tf32(run)]


def title(run: Run) -> str:
    """What was run, on what: 'VGG-D, 224×224, batch 32 per rank, on 8 GPUs'."""
    sizes = [str(size) for size in run.config.sizes] or [str(run.size)]
    counts = sizes[0] if len(sizes) == 1 else f"{', '.join(sizes[:-1])} and {sizes[-1]}"
    plural = "" if counts == "1" else "s"
    simulated = "SIMULATED: " if run.is_simulated else ""
    return (
        f"{simulated}{work_label(run.config)}, {run.config.batch_label}, "
        f"on {counts} {run.device_kind}{plural}"
    )
