"""From a run directory to everything under its derived/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from distbench.analysis.checks import check_run
from distbench.analysis.collect import Progress, Run, load_run, silent
from distbench.analysis.communication import communication, step_parts
from distbench.analysis.limits import find_limits
from distbench.analysis.loss import loss_budgets, loss_frame
from distbench.analysis.scaling import baseline_devices, scaling_frame
from distbench.analysis.stragglers import find_stragglers
from distbench.analysis.summary import job_steps, main_group, measured_groups, summarise
from distbench.durable_files import replaced_atomically, write_atomically
from distbench.errors import OutputError, RecordsError
from distbench.knobs import work_label
from distbench.report.findings import Findings
from distbench.report.html import html_report
from distbench.report.html_svg import HtmlChart
from distbench.report.published import published_points
from distbench.report.scaling_tables import nvidia_table
from distbench.report.tables import markdown_report, terminal_report
from distbench.report.text import csv_text

ROWS_AT_ONCE = 1 << 20  # a row group of the Parquet file


def collect(directory: str | Path, progress: Progress = silent) -> tuple[Run, Path]:
    """Writes derived/steps.parquet, and blocks.csv where there is telemetry; returns run and path."""
    run = load_run(directory, progress)
    _make_derived(run)
    path = run.layout.derived / "steps.parquet"
    _write_parquet(run.steps, path, progress)
    if "sm_clock_mhz" in run.blocks.columns:
        write_atomically(run.layout.derived / "blocks.csv", csv_text(run.blocks).encode())
    return run, path


def report(
    directory: str | Path, published: bool = False, progress: Progress = silent
) -> tuple[Findings, str, Path]:
    """Writes every derived file; returns the findings, the terminal's text and report.md's path.

    The same records give the same bytes. `published` adds published results to the scaling charts, as
    a layer of its own. Raises RecordsError where no step is complete on all ranks.
    """
    run, _ = collect(directory, progress)
    progress("working out the results")
    findings = find(run)
    charts = _write_charts(findings, published, progress)
    progress("writing the tables")
    for name, frame in _frames(findings).items():
        text = csv_text(frame.assign(**_labels(findings)))
        write_atomically(run.layout.derived / name, text.encode())
    texts = {"report.html": html_report(findings, charts)}
    texts["report.md"] = markdown_report(
        findings, [(f"{chart.name}.png", chart.caption) for chart in charts]
    )
    if findings.scaling is not None:
        texts["scaling_nvidia.md"] = nvidia_table(findings)
    for name, text in texts.items():
        write_atomically(run.layout.derived / name, text.encode())
    return findings, terminal_report(findings), run.layout.derived / "report.md"


def _frames(findings: Findings) -> dict[str, pd.DataFrame]:
    """The CSV files of a run, by name; none for what was not measured."""
    frames = {
        "summary.csv": findings.groups,
        "scaling.csv": findings.scaling,
        "loss.csv": loss_frame(findings.budgets) if findings.budgets else None,
        "stragglers.csv": findings.stragglers.scores if findings.stragglers else None,
        "limits.csv": findings.limits.frame,
    }
    return {name: frame for name, frame in frames.items() if frame is not None and len(frame)}


def _labels(findings: Findings) -> dict[str, Any]:
    """What every row of a CSV file says of its run, so that no two kinds of runs are mixed."""
    run = findings.run
    return {
        "run_id": run.run_id,
        "network": work_label(run.config),
        "preset": run.config.preset,
        "device": run.device_kind,
        "controller": str(run.first_header["controller"]),
        "scaling": run.config.scaling,
        "placement": run.config.placement if run.config.sizes else "",
        "simulated": run.is_simulated,
        "valid": findings.is_valid,
        "suspect": any(check.level == "suspect" for check in findings.checks),
    }


def find(run: Run) -> Findings:
    """All analyses of one run."""
    jobs = job_steps(run.steps)
    main = main_group(jobs)
    if main is None:
        why = f": {run.incomplete[0]}" if run.incomplete else ""
        raise RecordsError(
            f"{run.layout.raw} holds no timed step that all ranks of a group have{why}; "
            "there is nothing to report; run again"
        )
    groups = summarise(run.steps, jobs, run.grad_bytes)
    summary = groups[groups["group"] == main].reset_index(drop=True)
    main_jobs = measured_groups(jobs)[main]
    scaling = scaling_frame(run, jobs) if run.config.sizes else None
    phase = None if scaling is None else str(scaling["phase"].iloc[0])
    devices = baseline_devices(run, jobs, phase) if phase else []
    limits = find_limits(run, jobs, groups, scaling)
    of_main = run.steps["group"].isin(main_jobs["group"].unique())
    return Findings(
        run=run,
        groups=groups,
        summary=summary,
        steps=run.steps if of_main.all() else run.steps[of_main],  # no copy of a large one
        jobs=main_jobs,
        all_jobs=jobs,
        communication=communication(main_jobs),
        parts=step_parts(main_jobs),
        checks=check_run(run, jobs, summary, scaling, limits, devices),
        scaling=scaling,
        devices=devices,
        budgets=loss_budgets(run, jobs, scaling, limits.links),
        stragglers=find_stragglers(run),
        limits=limits,
    )


def _write_charts(findings: Findings, published: bool, progress: Progress) -> list[HtmlChart]:
    """Writes every chart as PNG and SVG; returns them for the page that holds them all."""
    # matplotlib loads only where charts are drawn
    from distbench.report import plots, style
    from distbench.report.chart_files import write_chart

    points = published_points() if published else []
    charts: list[HtmlChart] = []
    progress("drawing the charts")
    with style.style():
        drawn = plots.figures(findings, points)
        for name, (figure, caption) in drawn.items():
            progress("writing the charts:", len(charts), len(drawn))
            charts.append(write_chart(findings.run.layout.derived, name, figure, caption))
    return charts


def _write_parquet(frame: pd.DataFrame, path: Path, progress: Progress) -> None:
    """Writes the frame piece by piece, so that a large one is never in memory twice."""
    from pyarrow import Schema, Table
    from pyarrow.parquet import ParquetWriter

    schema = Schema.from_pandas(frame.iloc[:0], preserve_index=False)
    with replaced_atomically(path) as file, ParquetWriter(file, schema) as writer:
        for first in range(0, max(len(frame), 1), ROWS_AT_ONCE):
            progress(f"writing {path.name}: rows", first, len(frame))
            piece = frame.iloc[first : first + ROWS_AT_ONCE]
            writer.write_table(Table.from_pandas(piece, schema, preserve_index=False))


def _make_derived(run: Run) -> None:
    if run.layout.derived.is_symlink():
        raise OutputError(
            f"{run.layout.derived} is a link, and a report is not written elsewhere; remove the link"
        )
    try:
        run.layout.derived.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{run.layout.derived} cannot be made ({error.strerror}); "
            "make the run directory writable, or copy it to a place that is"
        ) from error
