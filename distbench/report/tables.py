"""Frames to text: the table on the terminal, report.md, and the lines that scrapers look for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from distbench import units
from distbench.analysis.collect import Run
from distbench.analysis.knob_checks import settings_rows
from distbench.analysis.summary import BASELINE, headline_phase
from distbench.plain_text import aligned, printable
from distbench.report.cost_rows import cost_rows
from distbench.report.findings import Findings, arithmetic, title
from distbench.report.limit_tables import limit_lines, limit_markdown
from distbench.report.loss_tables import loss_lines, loss_markdown, loss_table
from distbench.report.scaling_tables import (
    phases_title,
    scaling_lines,
    scaling_markdown,
    scaling_table,
)
from distbench.report.straggler_tables import straggler_lines, straggler_markdown
from distbench.report.text import markdown, markdown_table

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

MOST_NAMES = 8  # of hosts or devices in one cell; manifest.json holds all
SKEW_NOTE = "A job step is as long as its slowest rank; skew is between ranks."


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
    if row is None or findings.run.is_simulated:  # a scraper would take it for a measurement
        return []
    half = (row["images_per_s_high"] - row["images_per_s_low"]) / 2
    kind = findings.run.device_kind.replace(" ", "")
    return [
        f"Total img/sec on {findings.ranks} {kind}(s): "
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
        f"{findings.warning}{units.rate(row['images_per_s'])}{spread} images/s{_of_all(findings)}, "
        f"{units.rate(row['images_per_s_per_rank'])} per rank ({row['phase']}; "
        f"{units.rate(row['images_per_s_of_span'])} images/s over the whole timed span)."
    )


def _of_all(findings: Findings) -> str:
    ranks = findings.ranks
    if findings.summary["group"].iloc[0] == BASELINE:
        return " of each rank alone"
    return " in all" if ranks == findings.run.size else f" of {ranks} of {findings.run.size} ranks"


def _headline_row(findings: Findings) -> Any:
    phase = headline_phase(findings.summary)
    if phase is None or not findings.is_valid:
        return None
    return findings.summary.set_index("phase", drop=False).loc[phase]


def communication_lines(findings: Findings) -> list[str]:
    """Exposed and hidden communication and the bandwidths, as sentences; none for what was not run."""
    lines: list[str] = []
    cost = findings.communication
    if findings.ranks == 1:
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
            f"Allreduce of {units.decimal_bytes(findings.run.grad_bytes)}{_as_sent(findings.run)}: "
            f"algbw {units.bandwidth(row.algbw_bytes_per_s)}, "
            f"busbw {units.bandwidth(row.busbw_bytes_per_s)} "
            f"= algbw · 2(n−1)/n with n = {row.ranks}."
        )
    return lines


def _as_sent(run: Run) -> str:
    """Where fewer bytes travel than are reduced: bandwidths are of what the user gets."""
    if run.wire_bytes == run.grad_bytes:
        return ""
    sent = units.decimal_bytes(run.wire_bytes)
    return f" (sent as {sent} of fp16; bandwidths are of all the gradients' bytes)"


def terminal_report(findings: Findings) -> str:
    """The whole report for a terminal."""
    rows = [PHASE_COLUMNS, *phase_rows(findings.summary)]
    sections = [
        [title(findings.run), headline(findings)],
        [*scaling_table(findings), *scaling_lines(findings)],
        [f"{phases_title(findings)}:", *aligned(rows), SKEW_NOTE],
        communication_lines(findings),
        [*loss_table(findings.budgets), *loss_lines(findings.budgets)],
        straggler_lines(findings.stragglers),
        limit_lines(findings.limits),
        [f"{check.level}: {check.text}" for check in findings.checks],
        scraper_lines(findings),
    ]
    return "\n\n".join(
        "\n".join(printable(line) for line in section) for section in sections if section
    )


def markdown_report(findings: Findings, charts: Sequence[tuple[str, str]]) -> str:
    """report.md; `charts` are (file name, caption)."""
    run = findings.run
    lines = [f"# {markdown(title(run))}", "", f"**{markdown(headline(findings))}**", ""]
    lines += scaling_markdown(findings)
    lines += markdown_table(PHASE_COLUMNS, phase_rows(findings.summary))
    lines += ["", "A job step is as long as its slowest rank; the interval of its median rests on "]
    lines[-1] += "the medians of the blocks. Skew is the median difference between ranks. "
    lines[-1] += "images/s is the images of these ranks ÷ the median job step."
    lines += ["", *(f"- {markdown(line)}" for line in communication_lines(findings))]
    lines += ["", "As the seed benchmark prints it:", "", "```", *_seed_lines(findings), "```", ""]
    lines += loss_markdown(findings.budgets)
    lines += straggler_markdown(findings.stragglers)
    lines += limit_markdown(findings.limits)
    lines += ["## Charts", ""]
    for file_name, caption in charts:
        lines += [f"![{caption}]({file_name})", ""]
    lines += ["## Checks", ""]
    lines += [f"- **{check.level}**: {markdown(check.text)}" for check in findings.checks]
    lines += ["", "## Run", "", *markdown_table(("what", "value"), environment_rows(run)), ""]
    return "\n".join(lines)


def _seed_lines(findings: Findings) -> list[str]:
    return [
        f"{row.phase} across {row.steps} steps, "
        f"{row.step_s_mean:.3f} +/- {row.step_s_sd:.3f} sec / batch"
        for row in findings.summary.itertuples()
    ]


def environment_rows(run: Run) -> list[tuple[str, str]]:
    """What was run, on what and with which versions: (what, value)."""
    header, config = run.first_header, run.config
    versions = run.manifest.get("versions", {})
    hosts = sorted({str(records.header["host"]) for records in run.ranks if records.header})
    devices = sorted({str(item.header["device"]["name"]) for item in run.ranks if item.header})
    threads = sorted({str(item.header["device"]["threads"]) for item in run.ranks if item.header})
    rows = [
        ("run id", run.run_id),
        ("hosts", _some(hosts)),
        ("devices", _some(devices)),
        ("threads per rank", f"{', '.join(threads)} ({header['device']['threads_reason']})"),
        ("preset", config.preset),
        ("order of the blocks", f"shuffled in each of {config.blocks} rounds, seed {config.seed}"),
        ("network", _network_text(run)),
        ("arithmetic", f"float32 variables, products in {arithmetic(run)}"),
        *settings_rows(run),
        ("Horovod", f"{versions.get('horovod', '?')}, controller {header['controller']}"),
        ("gradients reduced by", _reduction(run)),
        ("records gathered by", str(header["transport"])),
        ("MPI", str(run.manifest.get("mpi_library") or "not used")),
        ("git commit", str(run.manifest.get("git_commit") or "unknown")),
        *cost_rows(run),
    ]
    shown = ("tensorflow", "tensorflow-cpu", "python", "distbench", "nvidia-nccl-cu12")
    if config.sizes:
        rows.append(("placement", config.placement))
    return rows + [(name, versions[name]) for name in shown if name in versions]


def _some(names: Sequence[str]) -> str:
    """All names where they are few, else how many there are, the first and the last."""
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    return f"{len(names)}: {', '.join(names[: MOST_NAMES - 1])} … {names[-1]}"


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
