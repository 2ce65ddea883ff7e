"""What a reader must know before trusting the numbers; printed with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pandas as pd

from distbench.analysis.check import Check, gravest_first
from distbench.analysis.collect import Run
from distbench.analysis.scaling import Device
from distbench.analysis.statistics import LEAST_SAMPLES

LEAST_BACKWARD_RATIO = 1.5  # a true backward pass costs about twice the forward pass
MOST_WAITING_CORES = 0.1  # of a rank that waits; blocked ones use a few hundredths
MOST_EFFICIENCY = 1.02
INSTRUMENTS = ("HOROVOD_TIMELINE", "HOROVOD_AUTOTUNE")


def check_run(
    run: Run,
    summary: pd.DataFrame,
    scaling: pd.DataFrame | None,
    devices: Sequence[Device] = (),
) -> list[Check]:
    """Every finding about a run, the gravest first.

    `summary` holds the phases of the main group, `scaling` the curve where there is one, `devices`
    what each rank reached alone.
    """
    found = [
        *_completeness(run),
        *_proofs(run),
        *_backward(run, summary),
        *_samples(run, summary),
        *_oversubscription(run),
        *_waits(run),
        *_superlinear(scaling, devices),
        *_curve(run, scaling),
        *_manifest(run),
        *_gpus(run),
        *_instruments(run),
        *_labels(run),
    ]
    return gravest_first(found)


def _completeness(run: Run) -> Iterator[Check]:
    for reason in run.incomplete:
        yield Check("invalid", f"INCOMPLETE: {reason}")
    for problem in run.problems:
        yield Check("invalid", f"record left out: {problem}")


def _proofs(run: Run) -> Iterator[Check]:
    for records in run.ranks:
        if records.preflight is None:
            yield Check("invalid", f"rank {records.rank} has no preflight: its work is not proven")
        elif records.final is None:
            yield Check("invalid", f"rank {records.rank} was not checked after its last block")


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


def _samples(run: Run, summary: pd.DataFrame) -> Iterator[Check]:
    few = summary[summary["samples"] < LEAST_SAMPLES]
    if len(few):
        yield Check(
            "note",
            f"no 95 % interval for {', '.join(few['phase'])}: fewer than {LEAST_SAMPLES} blocks; "
            f"run with --{'rounds' if run.config.sizes else 'blocks'} {LEAST_SAMPLES} or more",
        )


def _waits(run: Run) -> Iterator[Check]:
    """What the ranks outside of a group cost those that are measured."""
    if run.waits.empty:
        return
    cores = run.waits["cpu_s"].sum() / run.waits["wall_s"].sum()
    ranks, cores_of_host = Counter(_hosts(run)), _cores_by_host(run)
    crowded = [host for host, count in ranks.items() if count > len(cores_of_host.get(host, ()))]
    text = f"ranks outside of the measured group waited at {cores:.2f} cores each"
    if "process_sets_registered" in run.manifest:
        sets = run.manifest["process_sets_registered"]
        text += f"; Horovod coordinates {sets} process set(s) beside the world in every cycle"
    polls = run.first_header["controller"] == "mpi" and cores > MOST_WAITING_CORES
    if polls:
        text += "; under MPI Horovod's own thread polls"
    if polls and crowded and run.device_kind == "CPU":
        yield Check(
            "suspect",
            f"{text}. {crowded[0]} has more ranks than cores, so that this slows the small sizes; "
            "use horovodrun --gloo or fewer ranks",
        )
    else:
        yield Check("note", text)


def _hosts(run: Run) -> list[str]:
    return [str(item["host"]) for item in run.manifest.get("ranks", [])]


def _cores_by_host(run: Run) -> dict[str, set[int]]:
    cores: dict[str, set[int]] = {}
    for item in run.manifest.get("ranks", []):
        cores.setdefault(str(item["host"]), set()).update(item["cores_allowed"])
    return cores


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


def _oversubscription(run: Run) -> Iterator[Check]:
    threads: Counter[str] = Counter()
    cores = _cores_by_host(run)
    for item in run.manifest.get("ranks", []):
        if item["device"]["kind"] == "CPU":
            threads[item["host"]] += item["device"]["threads"]
    for host, count in threads.items():
        if count > len(cores[host]):
            yield Check(
                "suspect",
                f"{count} threads on {len(cores[host])} cores of {host}: ranks wait for each other's "
                "cores; start fewer ranks or lower --threads-per-rank",
            )


def _gpus(run: Run) -> Iterator[Check]:
    on_gpu = [item for item in run.manifest.get("ranks", []) if item["device"]["kind"] == "GPU"]
    if not on_gpu:
        return
    if run.size > 1 and not run.manifest.get("horovod", {}).get("nccl_built"):
        yield Check(
            "suspect",
            "Horovod was built without NCCL, so that gradients go through host memory; "
            "rebuild it with HOROVOD_GPU_OPERATIONS=NCCL",
        )
    blind = [item["rank"] for item in on_gpu if not item.get("gpu_uuid")]
    if blind:
        yield Check(
            "note",
            f"NVML did not answer on rank {blind[0]} (of {len(blind)} such): no telemetry, and that "
            "each rank has a GPU of its own was not checked",
        )


def _instruments(run: Run) -> Iterator[Check]:
    environment = run.manifest.get("environment", {})
    for name in INSTRUMENTS:
        if environment.get(name, "") not in ("", "0"):
            yield Check(
                "suspect",
                f"{name} was on while timing, which changes the times; unset it to measure",
            )


def _labels(run: Run) -> Iterator[Check]:
    if run.device_kind == "CPU":
        preset = f", with the preset {run.config.preset!r}" if run.config.preset == "cpu" else ""
        yield Check("note", f"measured on CPUs, not GPUs{preset}")
    if not run.config.is_vgg:
        yield Check("note", f"{run.config.network_label}: a smoke run, no VGG result")
    if run.size == 1:
        yield Check("note", "one rank: nothing is reduced, 0 allreduces expected and executed")
