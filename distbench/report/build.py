"""From a run directory to everything under its derived/."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from distbench.analysis.checks import check_run
from distbench.analysis.collect import Run, load_run
from distbench.analysis.summary import communication, job_steps, step_parts, summarise
from distbench.errors import OutputError, RecordsError
from distbench.records import write_atomically
from distbench.report.tables import Findings, csv_text, markdown_report, terminal_report


def collect(directory: str | Path) -> tuple[Run, Path]:
    """Writes derived/steps.parquet, and blocks.csv where there is telemetry; returns run and path."""
    run = load_run(directory)
    _make_derived(run)
    path = run.layout.derived / "steps.parquet"
    write_atomically(path, parquet_bytes(run.steps))
    if "sm_clock_mhz" in run.blocks.columns:
        write_atomically(run.layout.derived / "blocks.csv", csv_text(run.blocks).encode())
    return run, path


def report(directory: str | Path) -> tuple[Findings, str, Path]:
    """Writes every derived file; returns the findings, the terminal's text and report.md's path.

    The same records give the same bytes. Raises RecordsError where no step is complete on all ranks.
    """
    run, _ = collect(directory)
    findings = find(run)
    charts = _write_charts(findings)
    labelled = findings.summary.assign(
        network=run.config.network_label, preset=run.config.preset, device=run.device_kind
    )
    write_atomically(run.layout.derived / "summary.csv", csv_text(labelled).encode())
    path = run.layout.derived / "report.md"
    write_atomically(path, markdown_report(findings, charts).encode())
    return findings, terminal_report(findings), path


def find(run: Run) -> Findings:
    """All analyses of one run."""
    jobs = job_steps(run.steps)
    summary = summarise(run.steps, jobs, int(run.first_header["grad_bytes"]))
    if summary.empty:
        why = f": {run.incomplete[0]}" if run.incomplete else ""
        raise RecordsError(
            f"{run.layout.raw} holds no timed step that all {run.size} ranks have{why}; "
            "there is nothing to report; run again"
        )
    return Findings(
        run=run,
        summary=summary,
        jobs=jobs,
        communication=communication(jobs),
        parts=step_parts(jobs),
        checks=check_run(run, summary),
    )


def _write_charts(findings: Findings) -> list[tuple[str, str]]:
    from distbench.report import plots  # matplotlib loads only where charts are drawn

    charts = []
    with plots.style():
        for name, (figure, caption) in plots.figures(findings).items():
            for image_format in ("png", "svg"):
                path = findings.run.layout.derived / f"{name}.{image_format}"
                write_atomically(path, plots.image_bytes(figure, image_format))
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
