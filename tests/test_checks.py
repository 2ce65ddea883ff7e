from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from distbench.analysis.check import Check
from distbench.analysis.collect import load_run
from distbench.config import Config
from distbench.report.build import find
from tests.fakes import block, ladder_blocks, small_config, study_config, write_run, write_study


def checks_of(directory: Path) -> Sequence[Check]:
    run = load_run(directory)
    return find(run).checks


def texts(checks: Sequence[Check], level: str) -> str:
    return "\n".join(check.text for check in checks if check.level == level)


def test_a_whole_run_has_only_notes(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    checks = checks_of(run_directory)
    assert {check.level for check in checks} == {"note"}
    notes = texts(checks, "note")
    assert "forward_backward takes 3.00 × forward" in notes
    assert "measured on CPUs, not GPUs" in notes
    assert "no VGG result" in notes


def test_an_incomplete_run_is_invalid_and_comes_first(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()], unfinished=[1])
    checks = checks_of(run_directory)
    assert checks[0].level == "invalid"
    assert "INCOMPLETE: rank 1" in texts(checks, "invalid")
    assert "not checked after the last block: rank 1" in texts(checks, "invalid")


def test_a_cheap_backward_pass_is_suspect(run_directory: Path) -> None:
    blocks = []
    for index in range(1, 7):
        blocks += [block("forward", index, [10.0]), block("forward_backward", index, [14.9])]
    write_run(run_directory, [blocks, blocks])
    assert "forward_backward takes 1.49 × forward" in texts(checks_of(run_directory), "suspect")


def test_few_blocks_are_noted(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(rounds=5), ladder_blocks(rounds=5)])
    assert "fewer than 6 blocks" in texts(checks_of(run_directory), "note")


def rank_of_manifest(threads: int, cores: list[int], kind: str = "CPU") -> dict[str, Any]:
    device = {"kind": kind, "threads": threads}
    return {"rank": 0, "host": "node", "device": device, "cores_allowed": cores}


def manifest_checks(directory: Path, **manifest: Any) -> str:
    layout = write_run(directory, [ladder_blocks(), ladder_blocks()])
    layout.manifest.write_text(json.dumps(manifest))
    return texts(checks_of(directory), "suspect")


def test_more_threads_than_cores_are_suspect(run_directory: Path) -> None:
    suspect = manifest_checks(run_directory, ranks=[rank_of_manifest(2, [0, 1])] * 2)
    assert "4 threads on 2 cores of node" in suspect


def test_ranks_with_a_core_each_are_not_oversubscribed(run_directory: Path) -> None:
    bound = [rank_of_manifest(1, [0]), rank_of_manifest(1, [1])]
    assert manifest_checks(run_directory, ranks=bound) == ""


def test_gpus_without_nccl_or_nvml_are_told(run_directory: Path) -> None:
    gpus = [{**rank_of_manifest(0, [0], "GPU"), "gpu_uuid": ""}] * 2
    suspect = manifest_checks(run_directory, ranks=gpus, horovod={"nccl_built": 0})
    assert "gradients go through host memory" in suspect
    assert "NVML did not answer on rank 0 (of 2 such)" in texts(checks_of(run_directory), "note")


def test_tuning_while_timing_is_suspect(run_directory: Path) -> None:
    suspect = manifest_checks(run_directory, environment={"HOROVOD_AUTOTUNE": "1"})
    assert "HOROVOD_AUTOTUNE was on while timing" in suspect


def test_the_cpu_preset_and_one_rank_are_said(run_directory: Path) -> None:
    config = Config(preset="cpu", batch_size=4, warmup_steps=1, steps=12, blocks=6)
    blocks = [{**one, "group_size": 1} for one in ladder_blocks()]
    write_run(run_directory, [blocks], config=config)
    notes = texts(checks_of(run_directory), "note")
    assert "measured on CPUs, not GPUs, with the preset 'cpu'" in notes
    assert "one rank: nothing is reduced" in notes
    assert small_config().network_label not in notes


def study_checks(
    directory: Path, cpu_s: float, controller: str, cores: int, **manifest: Any
) -> Sequence[Check]:
    """Of a study on one node whose waiting ranks used `cpu_s` of every second."""
    layout = write_study(
        directory,
        study_config(),
        [0, 0, 0, 0],
        waiting_cpu_s=cpu_s,
        header_changes={"controller": controller},
    )
    ranks = [rank_of_manifest(1, list(range(cores)))] * 4
    layout.manifest.write_text(
        json.dumps({"ranks": ranks, "process_sets_registered": 1, **manifest})
    )
    return checks_of(directory)


def test_polling_ranks_are_named_where_cores_are_oversubscribed(run_directory: Path) -> None:
    checks = study_checks(run_directory, 0.95, "mpi", cores=2)
    suspect = texts(checks, "suspect")
    assert "waited at 0.95 cores each" in suspect
    assert "1 process set(s) beside the world" in suspect
    assert "node has more ranks than cores" in suspect


@pytest.mark.parametrize(
    ("cpu_s", "controller", "cores"),
    [(0.95, "mpi", 4), (0.03, "mpi", 2), (0.3, "gloo", 2)],
)
def test_waiting_is_noted_where_it_costs_nobody(
    run_directory: Path, cpu_s: float, controller: str, cores: int
) -> None:
    checks = study_checks(run_directory, cpu_s, controller, cores)
    assert f"waited at {cpu_s:.2f} cores each" in texts(checks, "note")
    assert "outside of the measured group" not in texts(checks, "suspect")


@pytest.mark.parametrize(("library", "told"), [("Open MPI v4.1.8", True), ("MPICH 4.2", False)])
def test_that_waiting_ranks_yield_is_told(run_directory: Path, library: str, told: bool) -> None:
    environment = {"OMPI_MCA_mpi_yield_when_idle": "1"}
    checks = study_checks(
        run_directory, 0.95, "mpi", 4, environment=environment, mpi_library=library
    )
    assert ("yields to what needs its core" in texts(checks, "note")) is told


def test_more_than_ideal_is_suspect(run_directory: Path) -> None:
    # the ranks alone are slowed down by half, so that two and four together look better than ideal
    write_study(run_directory, study_config(), [0] * 4, scale={"alone": 1.5})
    suspect = texts(checks_of(run_directory), "suspect")
    assert "2 ranks have an efficiency of 13" in suspect
    assert "more than any rank alone; was the baseline slowed down" in suspect


def test_devices_that_differ_are_named_as_the_cause(run_directory: Path) -> None:
    # rank 3 alone is faster than what each rank reaches together, which beats the median alone
    def faster(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {**one, "duration_ns": [value // 2 for value in one["duration_ns"]]}
            if one["group"] == "alone-00003"
            else one
            for one in blocks
        ]

    write_study(run_directory, study_config(), [0] * 4, scale={"alone": 1.5}, changed_blocks=faster)
    assert "the devices differ, so compare like with like" in texts(
        checks_of(run_directory), "suspect"
    )


def test_a_study_without_a_curve_says_where_its_numbers_are(run_directory: Path) -> None:
    write_study(run_directory, study_config(phases=("allreduce",)), [0] * 4)
    assert "there is no curve; see summary.csv" in texts(checks_of(run_directory), "note")


def test_a_study_of_few_rounds_is_told_of_rounds(run_directory: Path) -> None:
    write_study(run_directory, study_config(steps=5, blocks=5, rounds=5), [0] * 4)
    assert "run with --rounds 6 or more" in texts(checks_of(run_directory), "note")


def test_a_missing_manifest_is_told(run_directory: Path) -> None:
    write_study(run_directory, study_config(), [0] * 4)
    notes = texts(checks_of(run_directory), "note")
    assert "manifest.json is not there" in notes
    assert "process set" not in notes
