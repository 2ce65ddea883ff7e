"""From a run directory to everything under its derived/."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd

from distbench.analysis.checks import check_run
from distbench.analysis.collect import Run, load_run
from distbench.analysis.communication import communication, step_parts
from distbench.analysis.scaling import baseline_devices, scaling_frame
from distbench.analysis.summary import job_steps, main_group, measured_groups, summarise
from distbench.errors import OutputError, RecordsError
from distbench.records import write_atomically
from distbench.report.findings import Findings
from distbench.report.published import published_points
from distbench.report.scaling_tables import nvidia_table
from distbench.report.tables import markdown_report, terminal_report
from distbench.report.text import csv_text


def collect(directory: str | Path) -> tuple[Run, Path]:
    """Writes derived/steps.parquet, and blocks.csv where there is telemetry; returns run and path."""
    run = load_run(directory)
    _make_derived(run)
    path = run.layout.derived / "steps.parquet"
    write_atomically(path, parquet_bytes(run.steps))
    if "sm_clock_mhz" in run.blocks.columns:
        write_atomically(run.layout.derived / "blocks.csv", csv_text(run.blocks).encode())
    return run, path


def report(directory: str | Path, published: bool = False) -> tuple[Findings, str, Path]:
    """Writes every derived file; returns the findings, the terminal's text and report.md's path.

    The same records give the same bytes. `published` adds published results to the scaling charts, as
    a layer of its own. Raises RecordsError where no step is complete on all ranks.
    """
    run, _ = collect(directory)
    findings = find(run)
    charts = _write_charts(findings, published)
    frames = {"summary.csv": findings.groups, "scaling.csv": findings.scaling}
    for name, frame in frames.items():
        if frame is not None:
            text = csv_text(frame.assign(**_labels(findings)))
            write_atomically(run.layout.derived / name, text.encode())
    if findings.scaling is not None:
        path = run.layout.derived / "scaling_nvidia.md"
        write_atomically(path, nvidia_table(findings).encode())
    path = run.layout.derived / "report.md"
    write_atomically(path, markdown_report(findings, charts).encode())
    return findings, terminal_report(findings), path


def _labels(findings: Findings) -> dict[str, Any]:
    """What every row of a CSV file says of its run, so that no two kinds of runs are mixed."""
    run = findings.run
    return {
        "run_id": run.run_id,
        "network": run.config.network_label,
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
    return Findings(
        run=run,
        groups=groups,
        summary=summary,
        steps=run.steps[run.steps["group"].isin(main_jobs["group"].unique())],
        jobs=main_jobs,
        all_jobs=jobs,
        communication=communication(main_jobs),
        parts=step_parts(main_jobs),
        checks=check_run(run, summary, scaling, devices),
        scaling=scaling,
        devices=devices,
    )


def _write_charts(findings: Findings, published: bool) -> list[tuple[str, str]]:
    from distbench.report import plots, style  # matplotlib loads only where charts are drawn

    points = published_points() if published else []
    charts = []
    with style.style():
        for name, (figure, caption) in plots.figures(findings, points).items():
            for image_format in ("png", "svg"):
                path = findings.run.layout.derived / f"{name}.{image_format}"
                write_atomically(path, style.image_bytes(figure, image_format))
            charts.append((f"{name}.png", caption))
    return charts


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """The frame as a Parquet file."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _make_derived(run: Run) -> None:
    try:
        run.layout.derived.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{run.layout.derived} cannot be made ({error.strerror}); "
            "make the run directory writable, or copy it to a place that is"
        ) from error
