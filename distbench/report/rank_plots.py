"""The chart of every rank at every step: who lags behind, and when."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from distbench.analysis.rank_grid import COMPUTING_PHASES, RankGrid, rank_grid, timed_steps
from distbench.report.findings import Findings
from distbench.report.style import drawn_phases, name_figure, plain, subtitle

# More ranks or steps share a row or a column: a slow rank is to be seen, and finer is only noise.
MOST_ROWS = 320
MOST_COLUMNS = 250
MOST_LABELS = 20
MOST_MARKS = 12
MOST_HOST_LINES = 64
MOST_BLOCK_LINES = 20
HOST_CHARACTERS = 24
# Of the colours, as fractions: less is noise and should look like it, and what takes twice as long is
# as dark as can be, or lesser lags would be pale beside it.
LEAST_REACH, MOST_REACH = 0.02, 1.0
MARK_COLOUR = "#b2182b"


def heat_map(findings: Findings) -> Figure | None:
    """Each rank's lag behind the median of the ranks at each step, node by node.

    Of the phase in which ranks compute by themselves, where it was run. Where there are too many
    steps a column shows the median of several, and where there are too many ranks a row shows the
    slowest of several.
    """
    grid = _drawn_grid(findings)
    if grid is None:
        return None
    lags = grid.duration_ns / np.median(grid.duration_ns, axis=0) - 1
    rows, columns = row_starts(grid.hosts), column_starts(lags.shape[1])
    image = median_of_steps(slowest_of_ranks(lags, rows), columns)
    figure = Figure(figsize=(9, 2.3 + _height(len(rows))), layout="constrained")
    axes = figure.subplots()
    reach = float(np.percentile(np.abs(image), 99.5).clip(LEAST_REACH, MOST_REACH))
    drawn = axes.imshow(
        image,
        aspect="auto",
        interpolation="none",
        cmap="RdBu_r",
        vmin=-reach,
        vmax=reach,
        extent=(0.5, lags.shape[1] + 0.5, len(rows) - 0.5, -0.5),
    )
    axes.grid(visible=False)
    axes.set_xlabel(_what_is_shown(grid, rows, columns))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    _part_blocks(axes, grid)
    _name_rows(axes, grid, rows)
    _mark_stragglers(axes, grid, rows, _named_ranks(findings))
    figure.colorbar(
        drawn,
        ax=axes,
        location="bottom",
        shrink=0.5,
        aspect=40,
        extend="both",
        ticks=MaxNLocator(6, steps=[1, 2, 5, 10]),
        format=FuncFormatter(
            lambda lag, _: f"{100 * lag:+.3g} %".replace("-", "−") if lag else "0"
        ),
        label="faster than the median rank      slower",
    )
    name_figure(figure, f"Lag of every rank at every step, {grid.phase}", subtitle(findings))
    return figure


def _drawn_grid(findings: Findings) -> RankGrid | None:
    """That of the phase in which ranks are compared, else of the first phase that was run."""
    for phase in dict.fromkeys([*COMPUTING_PHASES, *drawn_phases(findings)]):
        grid = rank_grid(timed_steps(findings.steps, phase), phase, "")
        if grid is not None:
            return grid
    return None


def _named_ranks(findings: Findings) -> set[int]:
    found = findings.stragglers
    return {straggler.rank for straggler in found.named} if found else set()


def row_starts(hosts: Sequence[str]) -> Any:
    """The first rank (its place) of each row of the chart; a row holds no ranks of two nodes.

    But where there are more nodes than rows.
    """
    starts = _host_starts(hosts)
    share = -(-len(hosts) // MOST_ROWS)
    if len(starts) > MOST_ROWS:
        return np.arange(0, len(hosts), share)
    while True:
        rows = [
            row
            for start, end in itertools.pairwise([*starts, len(hosts)])
            for row in range(start, end, share)
        ]
        if len(rows) <= MOST_ROWS:
            return np.array(rows)
        share += 1


def _host_starts(hosts: Sequence[str]) -> list[int]:
    return [place for place, host in enumerate(hosts) if place == 0 or host != hosts[place - 1]]


def column_starts(steps: int) -> Any:
    """The first step of each column of the chart."""
    return np.arange(0, steps, -(-steps // MOST_COLUMNS))


def median_of_steps(lags: Any, starts: Any) -> Any:
    """Rows × columns, from rows × steps."""
    if len(starts) == lags.shape[1]:
        return lags
    parts = np.split(lags, starts[1:], axis=1)
    return np.stack([np.median(part, axis=1) for part in parts], axis=1)


def slowest_of_ranks(lags: Any, starts: Any) -> Any:
    """Rows × steps, from ranks × steps: of the ranks of a row the one with the largest median lag."""
    if len(starts) == len(lags):
        return lags
    usual = np.median(lags, axis=1)
    ends = np.r_[starts[1:], len(lags)]
    return lags[[start + int(usual[start:end].argmax()) for start, end in zip(starts, ends)]]


def _height(rows: int) -> float:
    """Of the image in inches."""
    return min(6.5, max(1.5, 0.3 * rows))


def _what_is_shown(grid: RankGrid, rows: Any, columns: Any) -> str:
    ranks, steps = grid.duration_ns.shape
    label = "timed step, in the order in which they were run"
    if _blocks_are_parted(grid):
        label += "; white lines part the blocks"
    pooled = []
    if len(rows) < ranks:
        pooled.append(f"a row is the slowest of up to {int(np.diff([*rows, ranks]).max())} ranks")
    if len(columns) < steps:
        pooled.append(f"a column is the median of {columns[1]} steps")
    return "\n".join(filter(None, [label, ", ".join(pooled)]))


def _part_blocks(axes: Axes, grid: RankGrid) -> None:
    if _blocks_are_parted(grid):
        for end in np.flatnonzero(np.diff(grid.blocks)) + 1.5:
            axes.axvline(end, color="white", linewidth=1.2)


def _blocks_are_parted(grid: RankGrid) -> bool:
    blocks = len(np.unique(grid.blocks))
    return 1 < blocks <= min(MOST_BLOCK_LINES, len(grid.blocks) // 4)


def _name_rows(axes: Axes, grid: RankGrid, rows: Any) -> None:
    """Hosts in the middle of their rows, or ranks where there is one host; thinned where many."""
    starts = np.searchsorted(rows, _host_starts(grid.hosts))
    ends = np.r_[starts[1:], len(rows)]
    if len(starts) == 1:
        labels = [f"rank {grid.ranks[row]}" for row in rows]
        places = np.arange(len(rows), dtype=float)
    else:
        labels = [_host_label(grid, first) for first in _host_starts(grid.hosts)]
        places = (starts + ends - 1) / 2
        if len(starts) <= MOST_HOST_LINES:
            for start in starts[1:]:
                axes.axhline(start - 0.5, color="black", linewidth=0.7)
    thinned = slice(None, None, -(-len(labels) // MOST_LABELS))
    axes.set_yticks(places[thinned], labels[thinned], fontsize=9)
    what = "" if len(starts) == 1 else "host: its ranks"
    if thinned.step > 1:
        every = f"every {thinned.step}th" if thinned.step > 2 else "every second"
        what += f"{'; ' if what else ''}{every} is named"
    axes.set_ylabel(what, fontsize=9)


def _host_label(grid: RankGrid, first: int) -> str:
    host = grid.hosts[first]
    own = [int(rank) for rank, its in zip(grid.ranks, grid.hosts) if its == host]
    if len(host) > HOST_CHARACTERS:  # names of a cluster differ at their ends
        host = f"…{host[1 - HOST_CHARACTERS :]}"
    return f"{plain(host)}: {_span(own)}"


def _span(ranks: Sequence[int]) -> str:
    """'3', '4–7', '0 … 12' where ranks between do not belong to it."""
    if len(ranks) == 1:
        return str(ranks[0])
    follows = ranks[-1] - ranks[0] == len(ranks) - 1
    return f"{ranks[0]}{'–' if follows else ' … '}{ranks[-1]}"


def _mark_stragglers(axes: Axes, grid: RankGrid, rows: Any, named: set[int]) -> None:
    """A triangle beside each row that holds a straggler, and the ranks' numbers while they fit."""
    places = [place for place, rank in enumerate(grid.ranks) if int(rank) in named]
    runs: list[list[int]] = []
    for place in places:
        if runs and runs[-1][-1] == place - 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    for run in runs:
        own_rows = np.searchsorted(rows, run, side="right") - 1
        middle = (own_rows[0] + own_rows[-1]) / 2
        ranks = [int(grid.ranks[place]) for place in run]
        text = f"◀ rank{'s' if len(ranks) > 1 else ''} {_span(ranks)}"
        axes.annotate(
            text if len(runs) <= MOST_MARKS else "◀",
            (1, middle),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=MARK_COLOUR,
            fontweight="bold",
        )
