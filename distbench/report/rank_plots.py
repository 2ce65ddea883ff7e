"""The charts of every rank: how long each of its steps took."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from distbench.report.findings import Findings
from distbench.report.style import drawn_phases, name_figure, subtitle


def heat_map(findings: Findings) -> Figure | None:
    """Each rank's step times in the order they were run, relative to the median of their phase."""
    steps = findings.steps
    timed = steps[~steps["warmup"].astype(bool)]
    phases = [phase for phase in drawn_phases(findings) if (timed["phase"] == phase).any()]
    if not phases:
        return None
    ranks = sorted(timed["rank"].unique())
    row_height = min(0.9, max(0.35, 0.12 * len(ranks)))
    figure = Figure(figsize=(9, 1.7 + (row_height + 0.45) * len(phases)), layout="constrained")
    panels = figure.subplots(len(phases), 1, squeeze=False)[:, 0]
    relative = {phase: _relative_times(timed[timed["phase"] == phase]) for phase in phases}
    largest = max(1.05, max(float(np.nanpercentile(grid, 99)) for grid in relative.values()))
    for axes, phase in zip(panels, phases):
        image = axes.imshow(
            relative[phase],
            aspect="auto",
            interpolation="nearest",
            cmap="viridis",
            vmin=min(0.9, 1 / largest),
            vmax=largest,
        )
        axes.grid(visible=False)
        above = f"{subtitle(findings)}\n\n" if phase == phases[0] else ""
        axes.set_title(above + phase, fontsize=10)
        shown = ranks if len(ranks) <= 8 else [ranks[0], ranks[-1]]
        axes.set_yticks([ranks.index(rank) for rank in shown], [f"rank {rank}" for rank in shown])
    panels[-1].set_xlabel("timed step, in the order they were run")
    figure.colorbar(image, ax=list(panels), label="time ÷ median of the phase", shrink=0.8)
    name_figure(figure, "Step time of every rank")
    return figure


def _relative_times(steps: pd.DataFrame) -> Any:
    grid = steps.pivot(index="rank", columns=["block", "step"], values="duration_ns")
    times = grid.sort_index(axis=1).to_numpy(dtype=float)
    return times / np.nanmedian(times)
