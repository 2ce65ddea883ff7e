"""The sections that let others check and repeat a run: environment, method, how to reproduce it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distbench.analysis.collect import Run
from distbench.plain_text import printable
from distbench.report import html_reproduce
from distbench.report.html_method import definitions
from distbench.report.html_parts import (
    NOTHING,
    Markup,
    bullets,
    code,
    joined,
    paragraph,
    table,
    tag,
)
from distbench.report.html_sections import Section
from distbench.report.tables import environment_rows

MACHINE_COLUMNS = (
    "host",
    "ranks",
    "device",
    "processor",
    "cores",
    "memory",
    "driver",
    "system",
)
MOST_HOSTS = 64  # rows of the table of hosts; manifest.json holds all


def evidence_sections(run: Run) -> list[Section]:
    """Environment, method and how to reproduce the run."""
    return [
        Section("environment", "Environment", _environment(run)),
        Section("method", "Method and formulas", _method(run)),
        Section("reproduce", "How to reproduce it", _reproduce(run)),
    ]


def _environment(run: Run) -> Markup:
    variables = run.manifest.get("environment", {})
    rows = [(str(name), str(value)) for name, value in sorted(variables.items())]
    return joined(
        [
            table("The run", ("what", "value"), environment_rows(run), numbers=False),
            _hosts(run),
            table(
                "Variables that bear on speed, as rank 0 saw them",
                ("variable", "value"),
                rows,
                numbers=False,
            )
            if rows
            else NOTHING,
        ],
        "\n",
    )


def _hosts(run: Run) -> Markup:
    """One row per kind of host entry; ranks of one host with equal devices share it."""
    ranks: dict[tuple[str, ...], list[int]] = {}
    for item in run.manifest.get("ranks", []):
        ranks.setdefault(_machine(item), []).append(int(item["rank"]))
    rows = [(key[0], _ranges(sorted(own)), *key[1:]) for key, own in ranks.items()]
    if not rows:
        return NOTHING
    more = f"; the first {MOST_HOSTS} of {len(rows)}" if len(rows) > MOST_HOSTS else ""
    known = [index for index in range(len(MACHINE_COLUMNS)) if any(row[index] for row in rows)]
    return table(
        f"The machines{more}",
        [MACHINE_COLUMNS[index] for index in known],
        [[row[index] for index in known] for row in rows[:MOST_HOSTS]],
        numbers=False,
    )


def _machine(item: Mapping[str, Any]) -> tuple[str, ...]:
    memory = item.get("memory_bytes")
    return (
        str(item["host"]),
        str(item["device"].get("name", "")),
        str(item.get("cpu", "")),
        str(item.get("cores_of_node", "")),
        f"{memory / 1e9:.1f} GB" if isinstance(memory, int) else "",
        str(item.get("driver", "")),
        str(item.get("system", "")),
    )


def _ranges(numbers: list[int]) -> str:
    """Ascending numbers, neighbours joined: 0–7, 12."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("–".join(map(str, ends)) for ends in runs)


def _method(run: Run) -> Markup:
    return joined(
        [
            paragraph(
                "SIMULATED: the times of this run come from a model of a cluster; on devices the "
                "following holds."
                if run.is_simulated
                else ""
            ),
            paragraph(
                "Every phase runs the same network on the same images on every rank. A timed "
                "function returns everything that it is timed for, the clock is the monotonic one of "
                "each rank, and the device is synchronised at both ends of a step. Before and after "
                "timing it is proved that the allreduces ran, that their mean is exact, and that "
                "weights and gradients are the same everywhere."
            ),
            definitions(),
        ]
    )


def _reproduce(run: Run) -> Markup:
    name = printable(run.run_id)
    return joined(
        [
            bullets([*html_reproduce.steps(run)], ordered=False),
            tag("h3", "Run it again"),
            code(html_reproduce.command(run)),
            paragraph(html_reproduce.about_the_command(run), class_="quiet"),
            tag("h3", "Make this report again, from the raw records"),
            code("distbench report DIR"),
            paragraph(
                f"DIR is the run's directory (results/{name} where none was named): raw/ holds one "
                "file per rank with every step's start and duration, config.json every setting, "
                "manifest.json the machines. The same records give the same bytes. summary.csv, "
                "scaling.csv and steps.parquet beside this file hold its numbers."
            ),
        ],
        "\n",
    )
