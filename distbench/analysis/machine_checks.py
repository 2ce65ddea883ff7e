"""Whether the machines under a run let its times mean something: cores, devices, clocks, instruments.

Each finding says what was seen, on which rank, and what to do about it (METHOD M21, M23, M27).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from distbench import units
from distbench.analysis.check import Check
from distbench.analysis.collect import Run
from distbench.plain_text import printable

LEAST_CLOCK = 0.95  # of what it was, or of the other ranks' clocks
LEAST_READINGS = 3  # of a clock, in a phase, to see it fall
# NVML's reasons that slow a device against its user's will, by worker/telemetry.py's names.
FAULTS = {
    "sw_thermal_slowdown": "it is too hot: see to its cooling",
    "hw_thermal_slowdown": "it is far too hot: see to its cooling",
    "hw_slowdown": "its hardware slowed it down: see to cooling and power supply",
    "hw_power_brake_slowdown": "its power supply slowed it down: see to the node's power",
}
POWER_CAP = "sw_power_cap"
SLOW_ADVICE = (
    "compare its power limit, application clocks and temperature with theirs (nvidia-smi -q -d "
    "CLOCK,POWER,TEMPERATURE)"
)
FALL_ADVICE = (
    "its last rounds are slower than its first; see to the cooling, or warm up for longer and lock the "
    "clocks (nvidia-smi -lgc)"
)


def machine_checks(run: Run) -> Iterator[Check]:
    """Every finding about the machines of a run."""
    yield from _oversubscription(run)
    yield from _gpus(run)
    yield from _mixed_hardware(run)
    yield from _throttling(run)
    yield from _slow_clocks(run)
    yield from _falling_clocks(run)
    yield from _instruments(run)
    yield from _unwatched(run)


def cores_by_host(run: Run) -> dict[str, set[int]]:
    """The cores that the ranks of each host may use, together."""
    cores: dict[str, set[int]] = {}
    for item in run.manifest.get("ranks", []):
        cores.setdefault(str(item["host"]), set()).update(item["cores_allowed"])
    return cores


def _oversubscription(run: Run) -> Iterator[Check]:
    threads: Counter[str] = Counter()
    cores = cores_by_host(run)
    for item in run.manifest.get("ranks", []):
        if item["device"]["kind"] == "CPU":
            threads[str(item["host"])] += item["device"]["threads"]
    crowded = [host for host, count in threads.items() if count > len(cores[host])]
    if crowded:
        worst = max(crowded, key=lambda host: threads[host] / max(len(cores[host]), 1))
        others = f" (and {len(crowded) - 1} more hosts)" if len(crowded) > 1 else ""
        yield Check(
            "suspect",
            f"{threads[worst]} threads on {len(cores[worst])} cores of {worst}{others}: ranks wait for "
            "each other's cores; start fewer ranks or lower --threads-per-rank",
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
            "each rank has a GPU of its own was not checked; install nvidia-ml-py",
        )


def _mixed_hardware(run: Run) -> Iterator[Check]:
    """Ranks that differ where a step, as long as its slowest rank, shows the slowest kind only."""
    headers = {records.rank: records.header for records in run.ranks if records.header is not None}
    described = {int(item["rank"]): item for item in run.manifest.get("ranks", [])}
    kinds = {
        "devices": {rank: str(header["device"]["name"]) for rank, header in headers.items()},
        "processors": {rank: item.get("cpu") for rank, item in described.items()},
        "threads": {rank: header["device"]["threads"] for rank, header in headers.items()},
        "GPU drivers": {rank: item.get("driver") for rank, item in described.items()},
        "clock governors": {rank: item.get("governor") for rank, item in described.items()},
    }
    if "CPU" in run.device_kind:
        del kinds["processors"]  # they are the devices
    for what, by_rank in kinds.items():
        known = {rank: str(kind) for rank, kind in by_rank.items() if kind not in (None, "")}
        if len(set(known.values())) > 1:
            yield Check(
                "suspect",
                f"the ranks have different {what}: {_counted(known, headers)}. Every step waits for "
                "the slowest: leave the odd hosts out, or compare like with like",
            )


def _counted(kind_of_rank: Mapping[int, str], headers: Mapping[int, Mapping[str, Any]]) -> str:
    """'6 × A (rank 0 on node-0 …), 2 × B (rank 6 on node-1 …)', the most frequent first."""
    counts = Counter(kind_of_rank.values())
    first: dict[str, int] = {}
    for rank, kind in sorted(kind_of_rank.items()):
        first.setdefault(kind, rank)
    return ", ".join(
        f"{counts[kind]} × {kind} (first rank {first[kind]}{_on_host(headers, first[kind])})"
        for kind in sorted(counts, key=lambda kind: (-counts[kind], first[kind]))
    )


def _on_host(headers: Mapping[int, Mapping[str, Any]], rank: int) -> str:
    return f" on {headers[rank]['host']}" if rank in headers else ""


def _throttling(run: Run) -> Iterator[Check]:
    if "throttle_reasons" not in run.blocks.columns:
        return
    timed = run.blocks[~run.blocks["warmup"].astype(bool)]
    told = timed["throttle_reasons"].fillna("").astype(str)
    names = {text: text.split() for text in told.unique()}  # a few, of very many blocks

    def blocks_of(reason: str) -> pd.DataFrame:
        return timed[told.isin([text for text, reasons in names.items() if reason in reasons])]

    for reason, advice in FAULTS.items():
        seen = blocks_of(reason)
        if len(seen):
            yield Check("suspect", f"{_throttled(seen, timed, reason)}: {advice}")
    capped = blocks_of(POWER_CAP)
    if len(capped):
        yield Check(
            "note",
            f"{_throttled(capped, timed, POWER_CAP)}: it reached its power limit, as GPUs under full "
            "load do; compare only runs with the same limit",
        )


def _throttled(seen: pd.DataFrame, timed: pd.DataFrame, reason: str) -> str:
    """Which rank was throttled most often, how often, and how many others were."""
    by_rank = seen["rank"].value_counts().sort_index()
    rank = int(by_rank.idxmax())
    own = seen[seen["rank"] == rank]
    others = f" (and of {len(by_rank) - 1} more ranks)" if len(by_rank) > 1 else ""
    hottest = own["temperature_c"].max()
    heat = "" if pd.isna(hottest) else f", at up to {hottest:.0f} °C"
    blocks = int((timed["rank"] == rank).sum())
    return (
        f"the clock of rank {rank} on {own['host'].iloc[0]}{others} was throttled ({reason}) in "
        f"{len(own)} of its {blocks} blocks{heat}"
    )


def _clocks(run: Run) -> pd.DataFrame:
    """The timed blocks whose clock was read, in the order of their start on each rank."""
    if "sm_clock_mhz" not in run.blocks.columns:
        return run.blocks.iloc[:0].assign(sm_clock_mhz=0.0)
    timed = run.blocks[~run.blocks["warmup"].astype(bool) & run.blocks["sm_clock_mhz"].notna()]
    timed = timed.assign(sm_clock_mhz=timed["sm_clock_mhz"].astype(float))
    return timed.sort_values(["rank", "start_ns"], kind="stable")


def _slow_clocks(run: Run) -> Iterator[Check]:
    """A rank whose clock is below those of the others, in the blocks that they ran together."""
    names = {str(records.header["device"]["name"]) for records in run.ranks if records.header}
    if len(names) > 1:
        return  # different devices have clocks of their own
    key = ["phase", "group"]
    own = _clocks(run).groupby([*key, "rank"], observed=True)["sm_clock_mhz"].median()
    own = own[own.groupby(level=key, observed=True).transform("size") > 1]
    usual = own.groupby(level=key, observed=True).quantile(0.5, interpolation="higher")
    ratio = own.div(usual.reindex(own.index.droplevel("rank")).to_numpy())
    of_usual = ratio.groupby(level="rank").median()
    yield from _slowest_clock(run, of_usual, "is {} below those of the other ranks", SLOW_ADVICE)


def _falling_clocks(run: Run) -> Iterator[Check]:
    """A clock that fell during the run: by rank the median over its phases of last third ÷ first."""
    clocks = _clocks(run)
    key = ["rank", "phase", "group"]
    grouped = clocks.groupby(key, observed=True)["sm_clock_mhz"]
    place, count = grouped.cumcount(), grouped.transform("size")
    third, enough = count // 3, count >= LEAST_READINGS
    first = clocks[enough & (place < third)].groupby(key, observed=True)["sm_clock_mhz"].median()
    last = clocks[enough & (place >= count - third)].groupby(key, observed=True)
    kept = (last["sm_clock_mhz"].median() / first).groupby(level="rank").median()
    yield from _slowest_clock(run, kept, "fell by {} during the run", FALL_ADVICE)


def _slowest_clock(run: Run, of_usual: pd.Series, words: str, advice: str) -> Iterator[Check]:
    """Names the rank with the least of `of_usual` (a fraction by rank) where it is below LEAST_CLOCK."""
    slow = of_usual[of_usual < LEAST_CLOCK]
    if slow.empty:
        return
    rank = int(slow.idxmin())
    others = f" (and of {len(slow) - 1} more ranks)" if len(slow) > 1 else ""
    found = words.format(units.percent(1 - slow[rank]))
    yield Check(
        "suspect", f"the clock of rank {rank} on {_host(run, rank)}{others} {found}: {advice}"
    )


def _host(run: Run, rank: int) -> str:
    return str(run.blocks.loc[run.blocks["rank"] == rank, "host"].iloc[0])


def _is_on(value: str) -> bool:
    return value not in ("", "0")


def _is_chatty(value: str) -> bool:
    return value.strip().lower() in ("trace", "debug")


class Instrument(NamedTuple):
    """A variable that tunes, traces or tells while steps are timed, and when it does."""

    name: str
    does: str
    disturbs: Callable[[str], bool] = _is_on


INSTRUMENTS: Sequence[Instrument] = (
    Instrument("DISTBENCH_FAULT", "broke a rank on purpose"),
    Instrument("HOROVOD_AUTOTUNE", "changed Horovod's settings from step to step"),
    Instrument("HOROVOD_TIMELINE", "wrote down every operation"),
    Instrument("HOROVOD_LOG_LEVEL", "wrote about every operation", _is_chatty),
    Instrument("NCCL_DEBUG", "wrote about every call", _is_chatty),
    Instrument("TF_CPP_MAX_VLOG_LEVEL", "wrote about every operation"),
    Instrument("TF_CPP_MIN_VLOG_LEVEL", "wrote about every operation"),
    Instrument("TF_CPP_VMODULE", "wrote about operations"),
    Instrument("ONEDNN_VERBOSE", "wrote about every primitive"),
    Instrument("DNNL_VERBOSE", "wrote about every primitive"),
    Instrument("CUDA_LAUNCH_BLOCKING", "made every kernel wait for the one before"),
    Instrument("CUDA_INJECTION64_PATH", "traced every kernel (a profiler)"),
    Instrument("NSYS_PROFILING_SESSION_ID", "traced every kernel (a profiler)"),
)


def _instruments(run: Run) -> Iterator[Check]:
    environment = run.manifest.get("environment", {})
    found = [one for one in INSTRUMENTS if one.disturbs(str(environment.get(one.name, "")))]
    for one in found:
        yield Check(
            "suspect",
            f"{one.name} was on while timing and {one.does}, which changes "
            "the times; unset it to measure",
        )
    listed = {
        part.strip().upper() for part in str(environment.get("NCCL_DEBUG_SUBSYS", "")).split(",")
    }
    informs = str(environment.get("NCCL_DEBUG", "")).strip().upper() == "INFO"
    if informs and listed & {"COLL", "ALL"}:
        yield Check(
            "suspect",
            "NCCL_DEBUG=INFO with NCCL_DEBUG_SUBSYS of collectives was on while timing and wrote "
            "about every call, which changes the times; unset it to measure",
        )


def _unwatched(run: Run) -> Iterator[Check]:
    unheard = run.manifest.get("unwatched_ranks", [])
    if unheard:
        others = f" (and {len(unheard) - 1} more)" if len(unheard) > 1 else ""
        yield Check(
            "note",
            f"not watched: {printable(unheard[0])}{others}; a freeze of such a rank is found by the "
            "time limits alone; let the nodes reach each other's TCP ports",
        )
