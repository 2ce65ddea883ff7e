"""What a reader must know before trusting the numbers; printed with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pandas as pd

from distbench.analysis.check import Check, gravest_first
from distbench.analysis.clock_checks import clock_checks
from distbench.analysis.collect import Run
from distbench.analysis.completeness import ranks_in_words
from distbench.analysis.knob_checks import knob_checks
from distbench.analysis.limit_checks import limit_checks
from distbench.analysis.limits import Limits
from distbench.analysis.machine_checks import cores_by_host, machine_checks
from distbench.analysis.sampling_checks import sampling_checks
from distbench.analysis.scaling import Device

LEAST_BACKWARD_RATIO = 1.5  # a true backward pass costs about twice the forward pass
MOST_WAITING_CORES = 0.1  # of a rank that waits; blocked ones use a few hundredths
MOST_EFFICIENCY = 1.02


def check_run(
    run: Run,
    jobs: pd.DataFrame,
    summary: pd.DataFrame,
    scaling: pd.DataFrame | None,
    limits: Limits,
    devices: Sequence[Device] = (),
) -> list[Check]:
    """Every finding about a run, the gravest first.

    `jobs` are the job steps of all groups, `summary` holds the phases of the main group, `scaling` the
    curve where there is one, `limits` the bounds, `devices` what each rank reached alone.
    """
    found = [
        *_completeness(run),
        *_proofs(run),
        *_backward(run, summary),
        *limit_checks(run, limits),
        *sampling_checks(run, jobs, summary),
        *machine_checks(run),
        *clock_checks(run),
        *knob_checks(run),
        *_waits(run),
        *_superlinear(scaling, devices),
        *_curve(run, scaling),
        *_manifest(run),
        *_labels(run),
    ]
    return gravest_first(found)


def _completeness(run: Run) -> Iterator[Check]:
    for reason in run.incomplete:
        yield Check("invalid", f"INCOMPLETE: {reason}")
    for problem in run.problems:
        yield Check("invalid", f"record left out: {problem}")


def _proofs(run: Run) -> Iterator[Check]:
    unproven = [one.rank for one in run.ranks if one.preflight is None]
    unchecked = [one.rank for one in run.ranks if one.preflight is not None and one.final is None]
    if unproven:
        what = "without preflight, so that the work is not proven"
        yield Check("invalid", f"{what}: {ranks_in_words(unproven)}")
    if unchecked:
        yield Check("invalid", f"not checked after the last block: {ranks_in_words(unchecked)}")


def _backward(run: Run, summary: pd.DataFrame) -> Iterator[Check]:
    medians = summary.set_index("phase")["step_s"]
    if not {"forward", "forward_backward"} <= set(medians.index):
        return
    network = run.config.network()
    flop_ratio = network.forward_backward_flops / network.forward_flops
    ratio = medians["forward_backward"] / medians["forward"]
    text = f"forward_backward takes {ratio:.2f} × forward; by FLOPs it is {flop_ratio:.2f} ×"
    if ratio < LEAST_BACKWARD_RATIO:
        yield Check(
            "suspect", f"{text}. Was the backward pass left out? Do not quote these numbers"
        )
    else:
        yield Check("note", text)


def _waits(run: Run) -> Iterator[Check]:
    """What the ranks outside of a group cost those that are measured."""
    if run.waits.empty:
        return
    cores = run.waits["cpu_s"].sum() / run.waits["wall_s"].sum()
    ranks, cores_of_host = Counter(_hosts(run)), cores_by_host(run)
    crowded = [host for host, count in ranks.items() if count > len(cores_of_host.get(host, ()))]
    text = f"ranks outside of the measured group waited at {cores:.2f} cores each"
    if "process_sets_registered" in run.manifest:
        sets = run.manifest["process_sets_registered"]
        text += f"; Horovod coordinates {sets} process set(s) beside the world in every cycle"
    polls = run.first_header["controller"] == "mpi" and cores > MOST_WAITING_CORES
    if polls:
        text += "; under MPI Horovod's own thread polls"
        text += ", and yields to what needs its core" if _yields(run) else ""
    if polls and crowded and run.device_kind == "CPU":
        yield Check(
            "suspect",
            f"{text}. {crowded[0]} has more ranks than cores, so that this slows the small sizes; "
            "use horovodrun --gloo or fewer ranks",
        )
    else:
        yield Check("note", text)


def _yields(run: Run) -> bool:
    """Whether Open MPI was told to give its core away while it waits."""
    is_open_mpi = "Open MPI" in str(run.manifest.get("mpi_library"))
    environment = run.manifest.get("environment") or {}
    return is_open_mpi and environment.get("OMPI_MCA_mpi_yield_when_idle") == "1"


def _hosts(run: Run) -> list[str]:
    return [str(item["host"]) for item in run.manifest.get("ranks", [])]


def _superlinear(scaling: pd.DataFrame | None, devices: Sequence[Device]) -> Iterator[Check]:
    if scaling is None:
        return
    fastest = max((device.images_per_s for device in devices), default=float("nan"))
    for row in scaling[scaling["efficiency"] > MOST_EFFICIENCY].itertuples():
        found = f"{row.size} ranks have an efficiency of {100 * row.efficiency:.1f} %"
        if row.images_per_s / row.size <= fastest:
            why = (
                "their ranks are faster than the baseline's median and slower than its fastest: the "
                "devices differ, so compare like with like"
            )
        else:
            why = "more than any rank alone; was the baseline slowed down by something else?"
        yield Check("suspect", f"{found}: {why}")


def _curve(run: Run, scaling: pd.DataFrame | None) -> Iterator[Check]:
    if run.config.sizes and scaling is None:
        yield Check(
            "note", "no phase that computes was run, so that there is no curve; see summary.csv"
        )


def _manifest(run: Run) -> Iterator[Check]:
    if not run.manifest:
        yield Check(
            "note",
            "manifest.json is not there: whether cores were shared, tuning was on or devices differ "
            "was not checked",
        )


def _labels(run: Run) -> Iterator[Check]:
    if run.device_kind == "CPU":
        preset = f", with the preset {run.config.preset!r}" if run.config.preset == "cpu" else ""
        yield Check("note", f"measured on CPUs, not GPUs{preset}")
    if not run.config.is_vgg:
        yield Check("note", f"{run.config.network_label}: a smoke run, no VGG result")
    if run.size == 1:
        yield Check("note", "one rank: nothing is reduced, 0 allreduces expected and executed")
