from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from distbench.analysis.collect import Run, load_run
from distbench.analysis.device_peaks import (
    DATA_SHEET,
    DEVICE_PEAKS,
    GIVEN,
    MEASURED,
    allows_tf32,
    device_peak,
    peaks_of,
)
from tests.fakes import ladder_blocks, write_run


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("Tesla P100-SXM2-16GB", "P100 SXM2"),
        ("Tesla P100-PCIE-12GB", "P100 PCIe"),
        ("Tesla V100-SXM2-32GB", "V100 SXM2"),
        ("Tesla V100-PCIE-16GB", "V100 PCIe"),
        ("Tesla T4", "T4"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA A30", "A30"),
        ("NVIDIA A40", "A40"),
        ("A100-SXM4-40GB", "A100 SXM"),
        ("NVIDIA A100-SXM4-80GB (compute capability 8.0)", "A100 SXM"),
        ("NVIDIA A100-PCIE-40GB", "A100 PCIe"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce RTX 3090", "RTX 3090"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H100 80GB HBM3 (compute capability 9.0)", "H100 SXM"),
        ("NVIDIA H200", "H200 SXM"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA B200", "B200"),
    ],
)
def test_a_device_is_known_by_its_name(name: str, model: str) -> None:
    found = device_peak(name)
    assert found is not None
    assert found.model == model


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA A100-SXM4-40GB MIG 3g.20gb",  # a part of a device
        "NVIDIA A10G",
        "NVIDIA GeForce RTX 3090 Ti",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA H100 NVL",
        "NVIDIA H200 NVL",
        "Tesla V100S-PCIE-32GB",
        "simulated device",
        "",
    ],
)
def test_a_device_that_only_sounds_alike_is_not_taken_for_it(name: str) -> None:
    assert device_peak(name) is None


def test_peaks_grow_with_coarser_arithmetic_and_none_is_a_sparse_one() -> None:
    for entry in DEVICE_PEAKS:
        ladder = [entry.float32, entry.tf32, entry.bfloat16]
        known = [peak for peak in ladder if peak is not None]
        assert known == sorted(known), entry.model
        assert entry.float16 >= known[-1], entry.model
        assert (entry.tf32 is None) == (entry.bfloat16 is None), entry.model
    dense = {entry.model: (entry.tf32, entry.bfloat16) for entry in DEVICE_PEAKS}
    assert dense["A100 SXM"] == (156.0, 312.0)  # 312 and 624 with sparsity
    assert dense["H100 SXM"] == (494.5, 989.5)  # 989 and 1979


def gpu_run(directory: Path, names: tuple[str, ...], **manifest: Any) -> Run:
    write_run(directory, [[{**b, "group_size": len(names)} for b in ladder_blocks()]] * len(names))
    run = load_run(directory)
    ranks = []
    for records, name in zip(run.ranks, names):
        assert records.header is not None
        device = {**records.header["device"], "kind": "GPU", "name": name}
        ranks.append(dataclasses.replace(records, header={**records.header, "device": device}))
    return dataclasses.replace(run, ranks=tuple(ranks), manifest=manifest)


A100, V100 = "NVIDIA A100-SXM4-80GB", "Tesla V100-SXM2-16GB"


@pytest.mark.parametrize(
    ("name", "allowed", "peak", "arithmetic"),
    [
        (A100, True, 156e12, "A100 SXM with TF32"),
        (A100, False, 19.5e12, "A100 SXM with float32"),
        (V100, True, 15.7e12, "V100 SXM2 with float32"),
    ],
)
def test_the_data_sheet_of_the_arithmetic_that_ran(
    run_directory: Path, name: str, allowed: bool, peak: float, arithmetic: str
) -> None:
    run = gpu_run(run_directory, (name,), tensorflow={"tensor_float_32_allowed": allowed})
    found = peaks_of(run)
    assert found is not None
    assert (found.by_rank, found.kind) == ({0: peak}, DATA_SHEET)
    assert found.source == f"NVIDIA's data sheet: {arithmetic}"


def test_nvidias_own_switch_turns_tf32_off(run_directory: Path) -> None:
    manifest = {
        "tensorflow": {"tensor_float_32_allowed": True},
        "environment": {"NVIDIA_TF32_OVERRIDE": "0"},
    }
    assert allows_tf32(gpu_run(run_directory, (A100,), **manifest)) is False


def test_without_a_record_of_tf32_only_devices_that_lack_it_are_known(tmp_path: Path) -> None:
    assert peaks_of(gpu_run(tmp_path / "a", (A100,))) is None
    found = peaks_of(gpu_run(tmp_path / "b", (V100,)))
    assert found is not None
    assert found.by_rank == {0: 15.7e12}


def test_peaks_of_different_devices_are_told_apart(run_directory: Path) -> None:
    found = peaks_of(
        gpu_run(run_directory, (A100, V100), tensorflow={"tensor_float_32_allowed": True})
    )
    assert found is not None
    assert found.by_rank == {0: 156e12, 1: 15.7e12}
    assert found.source == "NVIDIA's data sheet: A100 SXM with TF32, V100 SXM2 with float32"


def test_one_unknown_device_leaves_the_peak_unknown(run_directory: Path) -> None:
    assert peaks_of(gpu_run(run_directory, (V100, "another GPU"))) is None


def test_what_was_given_wins_over_what_was_measured_over_the_data_sheet(
    run_directory: Path,
) -> None:
    run = gpu_run(run_directory, (V100, V100))
    peaks = [{"measured_peak": {"flops_per_s": peak}} for peak in (13e12, 14e12)]
    ranks = tuple(dataclasses.replace(r, preflight=p) for r, p in zip(run.ranks, peaks))
    measured = dataclasses.replace(run, ranks=ranks)
    found = peaks_of(measured)
    assert found is not None
    assert (found.kind, found.by_rank) == (MEASURED, {0: 13e12, 1: 14e12})
    given = dataclasses.replace(
        measured, config=dataclasses.replace(run.config, device_peak_tflops=12.0)
    )
    found = peaks_of(given)
    assert found is not None
    assert (found.kind, found.by_rank) == (GIVEN, {0: 12e12, 1: 12e12})


def test_a_rank_that_measured_nothing_leaves_it_to_the_data_sheet(run_directory: Path) -> None:
    run = gpu_run(run_directory, (V100, V100))
    first = dataclasses.replace(run.ranks[0], preflight={"measured_peak": {"flops_per_s": 1.0}})
    found = peaks_of(dataclasses.replace(run, ranks=(first, run.ranks[1])))
    assert found is not None
    assert found.kind == DATA_SHEET


def test_a_processor_has_no_data_sheet_here(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    assert peaks_of(load_run(run_directory)) is None


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        (A100, "bfloat16", 312e12),
        (V100, "float16", 125e12),
        (V100, "bfloat16", None),  # which it does not have
    ],
)
def test_products_of_16_bits_have_a_peak_of_their_own(
    run_directory: Path, name: str, precision: str, peak: float | None
) -> None:
    run = gpu_run(run_directory, (name,), tensorflow={"tensor_float_32_allowed": True})
    narrow = dataclasses.replace(run, config=dataclasses.replace(run.config, precision=precision))
    found = peaks_of(narrow)
    assert (found and found.by_rank[0]) == peak
    assert found is None or found.source.endswith(f"with {precision}")
