"""Frames to text: the table on the terminal, report.md, and the lines that scrapers look for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from distbench import units
from distbench.analysis.checks import Check
from distbench.analysis.collect import Run
from distbench.analysis.summary import Communication, headline_phase

PHASE_COLUMNS = (
    "phase",
    "steps",
    "median step",
    "95 % interval",
    "mean ± sd",
    "images/s",
    "images/s per rank",
    "skew",
)

SKEW_NOTE = "A job step is as long as its slowest rank; skew is between ranks."


@dataclass(frozen=True)
class Findings:
    """Everything that a report shows."""

    run: Run
    summary: pd.DataFrame
    jobs: pd.DataFrame  # the job steps
    communication: Communication
    parts: dict[str, float]
    checks: Sequence[Check]

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


def title(run: Run) -> str:
    """What was run, on what: 'VGG-D, 224×224, batch 32 per rank, on 8 GPUs'."""
    count = f"{run.size} {run.device_kind}{'s' if run.size > 1 else ''}"
    return f"{run.config.network_label}, batch {run.config.batch_size} per rank, on {count}"


def phase_rows(summary: pd.DataFrame) -> list[tuple[str, ...]]:
    """One row of text per phase, under PHASE_COLUMNS."""
    return [
        (
            _phase_name(str(row.phase), row.ranks),
            f"{row.steps} in {row.blocks} blocks",
            units.seconds(row.step_s),
            units.seconds_range(row.step_s_low, row.step_s_high),
            f"{units.seconds(row.step_s_mean)} ± {units.seconds(row.step_s_sd, 3)}",
            units.rate(row.images_per_s),
            units.rate(row.images_per_s_per_rank),
            units.seconds(row.skew_s, 3),
        )
        for row in summary.itertuples()
    ]


def _phase_name(phase: str, ranks: int) -> str:
    return "allreduce (of one rank: nothing)" if phase == "allreduce" and ranks == 1 else phase


def scraper_lines(findings: Findings) -> list[str]:
    """The lines of Horovod's synthetic benchmark and of tf_cnn_benchmarks, where there is a headline.

    Here ± is half the 95 % interval of the median, nan where there is none.
    """
    row = _headline_row(findings)
    if row is None:
        return []
    half = (row["images_per_s_high"] - row["images_per_s_low"]) / 2
    kind = findings.run.device_kind.replace(" ", "")
    return [
        f"Total img/sec on {findings.run.size} {kind}(s): "
        f"{units.significant(row['images_per_s'])} +-{_half_width(half)}",
        f"total images/sec: {units.significant(row['images_per_s'])}",
    ]


def _half_width(half: float) -> str:
    """A number that a scraper can read, also where there is no interval."""
    return "nan" if math.isnan(half) else units.significant(half, 2)


def headline(findings: Findings) -> str:
    """The answer in one sentence, or why there is none."""
    if not findings.is_valid:
        return "No headline: this run may not be trusted (see the checks)."
    row = _headline_row(findings)
    if row is None:
        return "No headline: neither train_step nor forward_backward_allreduce was run."
    half = (row["images_per_s_high"] - row["images_per_s_low"]) / 2
    spread = f" ± {units.significant(half, 2)}" if not math.isnan(half) else ""
    return (
        f"{findings.warning}{units.rate(row['images_per_s'])}{spread} images/s in all, "
        f"{units.rate(row['images_per_s_per_rank'])} per rank ({row['phase']}; "
        f"{units.rate(row['images_per_s_of_span'])} images/s over the whole timed span)."
    )


def _headline_row(findings: Findings) -> Any:
    phase = headline_phase(findings.summary)
    if phase is None or not findings.is_valid:
        return None
    return findings.summary.set_index("phase", drop=False).loc[phase]


def communication_lines(findings: Findings) -> list[str]:
    """Exposed and hidden communication and the bandwidths, as sentences; none for what was not run."""
    lines: list[str] = []
    cost = findings.communication
    if findings.run.size == 1:
        return ["Communication: none, one rank reduces nothing."]
    if not math.isnan(cost.exposed_s):
        interval = units.seconds_range(*cost.exposed_interval_s[:2])
        lines.append(
            f"Exposed communication: {units.seconds(cost.exposed_s)} of a step "
            f"({units.percent(cost.share_of_step)} of forward_backward_allreduce; "
            f"95 % interval {interval})."
        )
    if not math.isnan(cost.overlap):
        lines.append(
            f"Hidden communication: {units.seconds(cost.hidden_s)}; overlap "
            f"{units.percent(cost.overlap)} of the allreduce alone"
            + (" (negative: communication disturbs computing)." if cost.overlap < 0 else ".")
        )
    reduced = findings.summary[findings.summary["phase"] == "allreduce"]
    for row in reduced.itertuples():
        lines.append(
            f"Allreduce of {units.decimal_bytes(_grad_bytes(findings.run))}: "
            f"algbw {units.bandwidth(row.algbw_bytes_per_s)}, "
            f"busbw {units.bandwidth(row.busbw_bytes_per_s)} "
            f"= algbw · 2(n−1)/n with n = {row.ranks}."
        )
    return lines


def _grad_bytes(run: Run) -> int:
    return int(run.first_header["grad_bytes"])


def terminal_report(findings: Findings) -> str:
    """The whole report for a terminal."""
    rows = [PHASE_COLUMNS, *phase_rows(findings.summary)]
    sections = [
        [title(findings.run), headline(findings)],
        [*_aligned(rows), SKEW_NOTE],
        communication_lines(findings),
        [f"{check.level}: {check.text}" for check in findings.checks],
        scraper_lines(findings),
    ]
    return "\n\n".join(
        "\n".join(printable(line) for line in section) for section in sections if section
    )


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = (text.ljust(width) for text, width in zip(row, widths))
        yield "  ".join([first, *(text.strip().rjust(len(text)) for text in others)]).rstrip()


def markdown_report(findings: Findings, charts: Sequence[tuple[str, str]]) -> str:
    """report.md; `charts` are (file name, caption)."""
    run = findings.run
    lines = [f"# {markdown(title(run))}", "", f"**{markdown(headline(findings))}**", ""]
    lines += markdown_table(PHASE_COLUMNS, phase_rows(findings.summary))
    lines += ["", "A job step is as long as its slowest rank; the interval of its median rests on "]
    lines[-1] += "the medians of the blocks. Skew is the median difference between ranks. "
    lines[-1] += "images/s is the images of all ranks ÷ the median job step."
    lines += ["", *(f"- {markdown(line)}" for line in communication_lines(findings))]
    lines += ["", "As the seed benchmark prints it:", "", "```", *_seed_lines(findings), "```", ""]
    for file_name, caption in charts:
        lines += [f"![{caption}]({file_name})", ""]
    lines += ["## Checks", ""]
    lines += [f"- **{check.level}**: {markdown(check.text)}" for check in findings.checks]
    lines += ["", "## Run", "", *markdown_table(("what", "value"), _environment_rows(run)), ""]
    return "\n".join(lines)


def _seed_lines(findings: Findings) -> list[str]:
    return [
        f"{row.phase} across {row.steps} steps, "
        f"{row.step_s_mean:.3f} +/- {row.step_s_sd:.3f} sec / batch"
        for row in findings.summary.itertuples()
    ]


def _environment_rows(run: Run) -> list[tuple[str, str]]:
    header, config = run.first_header, run.config
    versions = run.manifest.get("versions", {})
    hosts = sorted({str(records.header["host"]) for records in run.ranks if records.header})
    devices = sorted({str(item.header["device"]["name"]) for item in run.ranks if item.header})
    threads = sorted({str(item.header["device"]["threads"]) for item in run.ranks if item.header})
    rows = [
        ("run id", run.run_id),
        ("hosts", ", ".join(hosts)),
        ("devices", ", ".join(devices)),
        ("threads per rank", f"{', '.join(threads)} ({header['device']['threads_reason']})"),
        ("preset", config.preset),
        ("network", _network_text(run)),
        ("arithmetic", _arithmetic(run)),
        ("Horovod", f"{versions.get('horovod', '?')}, controller {header['controller']}"),
        ("gradients reduced by", _reduction(run)),
        ("records gathered by", str(header["transport"])),
        ("MPI", str(run.manifest.get("mpi_library") or "not used")),
        ("git commit", str(run.manifest.get("git_commit") or "unknown")),
    ]
    shown = ("tensorflow", "tensorflow-cpu", "python", "distbench", "nvidia-nccl-cu12")
    return rows + [(name, versions[name]) for name in shown if name in versions]


def _arithmetic(run: Run) -> str:
    allowed = run.manifest.get("tensorflow", {}).get("tensor_float_32_allowed")
    if "GPU" not in run.device_kind:
        return "float32"
    return {True: "float32, TF32 allowed", False: "float32, TF32 off"}.get(
        allowed, "float32, TF32 ?"
    )


def _reduction(run: Run) -> str:
    controller = str(run.first_header["controller"])
    if "GPU" not in run.device_kind:
        return controller
    nccl = run.manifest.get("horovod", {}).get("nccl_built")
    return f"NCCL {nccl}" if nccl else f"{controller}, through host memory"


def _network_text(run: Run) -> str:
    network = run.config.network()
    return (
        f"{run.config.network_label}: {network.parameter_count} parameters in "
        f"{network.tensor_count} tensors, {network.forward_macs} forward MACs per image, "
        f"{network.grad_bytes} gradient bytes; head {run.config.head}"
    )


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; numbers stand right, the first column left."""
    lines = [_markdown_row(columns), "|" + "|".join([":--"] + ["--:"] * (len(columns) - 1)) + "|"]
    return lines + [_markdown_row(row) for row in rows]


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(markdown(cell) for cell in cells) + " |"


def markdown(text: str) -> str:
    """Text that Markdown shows as it is, whatever a host name holds."""
    return re.sub(r"([\\|<>`*\[\]])", r"\\\1", printable(text))


def printable(text: str) -> str:
    """Without control characters, so that no record can drive a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def csv_text(frame: pd.DataFrame) -> str:
    """A frame as CSV; a cell that a spreadsheet would take for a formula gets an apostrophe."""
    safe = frame.copy()
    for name in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[name]):
            safe[name] = safe[name].map(_csv_cell)
    return str(safe.to_csv(index=False, lineterminator="\n"))


def _csv_cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + value
    return value
