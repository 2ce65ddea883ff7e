from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from distbench.analysis.check import Check
from distbench.analysis.collect import Run, load_run
from distbench.analysis.machine_checks import cores_by_host, machine_checks
from tests.fakes import header, ladder_blocks, study_config, write_run, write_study

Read = Callable[[int, pd.Series], Any]


def machine(rank: int, cores: list[int], kind: str = "CPU", **more: Any) -> dict[str, Any]:
    device = {"kind": kind, "threads": 1}
    return {"rank": rank, "host": "node", "device": device, "cores_allowed": cores, **more}


def texts(run: Run, level: str = "suspect") -> list[str]:
    return [check.text for check in machine_checks(run) if check.level == level]


@pytest.fixture
def two_ranks(run_directory: Path) -> Run:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    return load_run(run_directory)


def with_manifest(run: Run, **manifest: Any) -> Run:
    return dataclasses.replace(run, manifest=manifest)


def test_a_quiet_machine_has_no_finding(two_ranks: Run) -> None:
    bound = [machine(0, [0]), machine(1, [1])]
    assert list(machine_checks(with_manifest(two_ranks, ranks=bound, environment={}))) == []
    assert list(machine_checks(with_manifest(two_ranks))) == []


def test_more_threads_than_cores(two_ranks: Run) -> None:
    run = with_manifest(two_ranks, ranks=[machine(0, [0]), machine(1, [0])])
    assert cores_by_host(run) == {"node": {0}}
    assert texts(run) == [
        "2 threads on 1 cores of node: ranks wait for each other's cores; start fewer ranks or lower "
        "--threads-per-rank"
    ]


def test_gpus_without_nccl_or_nvml(two_ranks: Run) -> None:
    gpus = [machine(rank, [0], "GPU", gpu_uuid="") for rank in range(2)]
    run = with_manifest(two_ranks, ranks=gpus, horovod={"nccl_built": 0})
    assert "gradients go through host memory" in texts(run)[0]
    assert "NVML did not answer on rank 0 (of 2 such)" in texts(run, "note")[0]
    seen = [{**gpu, "gpu_uuid": "GPU-1"} for gpu in gpus]
    assert list(machine_checks(with_manifest(run, ranks=seen, horovod={"nccl_built": 21}))) == []


def with_devices(run: Run, devices: list[dict[str, Any]]) -> Run:
    ranks = tuple(
        dataclasses.replace(
            records, header=header(records.rank, run.size, device=device, host=f"n{records.rank}")
        )
        for records, device in zip(run.ranks, devices)
    )
    return dataclasses.replace(run, ranks=ranks)


def test_different_devices_are_named_with_where_they_are(run_directory: Path) -> None:
    write_study(run_directory, study_config(), [0, 0, 0, 0])
    names = ["NVIDIA A100", "NVIDIA H100", "NVIDIA A100", "NVIDIA A100"]
    gpu = {"kind": "GPU", "threads": 0}
    run = with_devices(load_run(run_directory), [{**gpu, "name": name} for name in names])
    assert texts(run) == [
        "the ranks have different devices: 3 × NVIDIA A100 (first rank 0 on n0), 1 × NVIDIA H100 "
        "(first rank 1 on n1). Every step waits for the slowest: leave the odd hosts out, or compare "
        "like with like"
    ]


def test_different_threads_processors_drivers_and_governors(two_ranks: Run) -> None:
    gpus = [{"kind": "GPU", "name": "a GPU", "threads": threads} for threads in (4, 8)]
    told = {"cpu": ("X", "Y"), "driver": ("550", "535"), "governor": ("performance", "powersave")}
    ranks = [
        machine(rank, [0], "GPU", gpu_uuid="u", **{what: pair[rank] for what, pair in told.items()})
        for rank in range(2)
    ]
    run = with_devices(with_manifest(two_ranks, ranks=ranks, horovod={"nccl_built": 1}), gpus)
    found = [
        text.partition(":")[0].removeprefix("the ranks have different ") for text in texts(run)
    ]
    assert found == ["processors", "threads", "GPU drivers", "clock governors"]


def test_processors_that_are_the_devices_are_told_once(two_ranks: Run) -> None:
    devices = [{"kind": "CPU", "name": name, "threads": 1} for name in ("X", "Y")]
    ranks = [machine(0, [0], cpu="X"), machine(1, [1], cpu="Y")]
    found = texts(with_devices(with_manifest(two_ranks, ranks=ranks), devices))
    assert len(found) == 1
    assert "different devices" in found[0]


def with_telemetry(
    run: Run,
    clock: Read = lambda rank, block: 1400,
    reasons: Read = lambda rank, block: "",
    temperature_c: float | None = 60.0,
) -> Run:
    """The run with what NVML is made to tell of every block."""
    blocks = run.blocks.assign(
        sm_clock_mhz=[clock(row["rank"], row) for _, row in run.blocks.iterrows()],
        throttle_reasons=[reasons(row["rank"], row) for _, row in run.blocks.iterrows()],
        temperature_c=temperature_c,
    )
    return dataclasses.replace(run, blocks=blocks)


def test_steady_clocks_that_only_idle_have_no_finding(two_ranks: Run) -> None:
    assert list(machine_checks(with_telemetry(two_ranks, reasons=lambda *_: "gpu_idle"))) == []
    blind = with_telemetry(two_ranks, clock=lambda *_: None, reasons=lambda *_: None)
    assert list(machine_checks(blind)) == []


def test_a_throttled_clock_is_named_with_its_reason_and_what_to_do(two_ranks: Run) -> None:
    run = with_telemetry(
        two_ranks,
        reasons=lambda rank, block: (
            "gpu_idle hw_thermal_slowdown" if rank and block["block"] else ""
        ),
        temperature_c=91.0,
    )
    assert texts(run) == [
        "the clock of rank 1 on node was throttled (hw_thermal_slowdown) in 30 of its 30 blocks, at "
        "up to 91 °C: it is far too hot: see to its cooling"
    ]


def test_the_rank_that_was_throttled_most_often_is_named_first(two_ranks: Run) -> None:
    run = with_telemetry(
        two_ranks,
        reasons=lambda rank, block: "hw_slowdown" if rank or block["block"] == 2 else "",
        temperature_c=None,
    )
    (found,) = texts(run)
    assert found.startswith(
        "the clock of rank 1 on node (and of 1 more ranks) was throttled (hw_slowdown) in 30 of its "
        "30 blocks: its hardware"
    )


def test_warm_up_is_not_looked_at(two_ranks: Run) -> None:
    run = with_telemetry(
        two_ranks, reasons=lambda rank, block: "hw_slowdown" if block["warmup"] else ""
    )
    assert texts(run) == []


def test_a_power_limit_is_noted_only(two_ranks: Run) -> None:
    run = with_telemetry(two_ranks, reasons=lambda rank, block: "sw_power_cap")
    assert texts(run) == []
    assert "(sw_power_cap) in 30 of its 30 blocks, at up to 60 °C" in texts(run, "note")[0]


def test_a_rank_with_a_slower_clock_is_named(run_directory: Path) -> None:
    write_study(run_directory, study_config(), [0, 0, 0, 0])
    run = with_telemetry(load_run(run_directory), clock=lambda rank, _: 1260 if rank == 2 else 1400)
    (found,) = texts(run)
    assert found.startswith(
        "the clock of rank 2 on node is 10.0 % below those of the other ranks: compare its power"
    )
    close = with_telemetry(run, clock=lambda rank, _: 1340 if rank == 2 else 1400)
    assert texts(close) == []


def test_clocks_of_different_devices_are_not_compared(two_ranks: Run) -> None:
    devices = [{"kind": "GPU", "name": name, "threads": 0} for name in ("A", "B")]
    run = with_telemetry(two_ranks, clock=lambda rank, _: 1400 - 300 * rank)
    found = texts(with_devices(run, devices))
    assert len(found) == 1
    assert "different devices" in found[0]


def test_a_clock_that_fell_during_the_run_is_named(two_ranks: Run) -> None:
    # blocks 1 and 2 of each phase against 5 and 6: 1260 ÷ 1400
    run = with_telemetry(two_ranks, clock=lambda rank, block: 1260 if block["block"] >= 4 else 1400)
    (found,) = texts(run)
    assert found.startswith(
        "the clock of rank 0 on node (and of 1 more ranks) fell by 10.0 % during the run: its last"
    )


def test_a_phase_with_a_clock_of_its_own_is_no_fall(two_ranks: Run) -> None:
    run = with_telemetry(
        two_ranks, clock=lambda rank, block: 1000 if block["phase"] == "train_step" else 1400
    )
    assert texts(run) == []


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"HOROVOD_AUTOTUNE": "1"}, "HOROVOD_AUTOTUNE was on while timing and changed"),
        ({"HOROVOD_TIMELINE": "…/timeline.json"}, "HOROVOD_TIMELINE was on"),
        ({"HOROVOD_LOG_LEVEL": "TRACE"}, "HOROVOD_LOG_LEVEL was on"),
        ({"HOROVOD_LOG_LEVEL": "debug"}, "HOROVOD_LOG_LEVEL was on"),
        ({"NCCL_DEBUG": "TRACE"}, "NCCL_DEBUG was on"),
        ({"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,COLL"}, "NCCL_DEBUG=INFO with"),
        ({"TF_CPP_MAX_VLOG_LEVEL": "1"}, "TF_CPP_MAX_VLOG_LEVEL was on"),
        ({"CUDA_INJECTION64_PATH": "…/libToolsInjection64.so"}, "a profiler"),
        ({"CUDA_LAUNCH_BLOCKING": "1"}, "made every kernel wait"),
    ],
)
def test_what_tunes_or_traces_while_timing(
    environment: dict[str, str], named: str, two_ranks: Run
) -> None:
    (found,) = texts(with_manifest(two_ranks, environment=environment))
    assert named in found
    assert found.endswith("which changes the times; unset it to measure")


@pytest.mark.parametrize(
    "environment",
    [
        {"HOROVOD_AUTOTUNE": "0", "HOROVOD_TIMELINE": ""},
        {"HOROVOD_LOG_LEVEL": "warning", "NCCL_DEBUG": "WARN"},
        {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,ENV"},
        {"NCCL_DEBUG_SUBSYS": "COLL", "TF_CPP_MIN_LOG_LEVEL": "3"},
    ],
)
def test_what_only_speaks_at_the_start_is_no_instrument(
    environment: dict[str, str], two_ranks: Run
) -> None:
    assert list(machine_checks(with_manifest(two_ranks, environment=environment))) == []


def test_a_check_says_what_to_do(two_ranks: Run) -> None:
    run = with_telemetry(
        with_manifest(two_ranks, ranks=[machine(0, [0]), machine(1, [0])]),
        clock=lambda rank, block: 1400 - 100 * rank - 40 * block["block"],
        reasons=lambda *_: "sw_power_cap sw_thermal_slowdown",
    )
    found: list[Check] = list(machine_checks(run))
    assert len(found) == 5
    assert all(": " in check.text or "; " in check.text for check in found)


def test_ranks_that_nobody_could_hear_of_are_named(two_ranks: Run) -> None:
    told = [f"rank {rank}: rank 0 cannot be reached (no route)" for rank in (1, 2)]
    found = texts(with_manifest(two_ranks, unwatched_ranks=told), "note")
    assert any(
        "not watched: rank 1: rank 0 cannot be reached (no route) (and 1 more)" in text
        for text in found
    )
