"""The peak of each rank's device in FLOP/s: given, measured, or from the vendor's data sheets.

The figures are those of NVIDIA's data sheets and architecture white papers (P100 2016, V100 2018, T4
2019, GA102 2020, A100, A10, A30 and A40 2021, AD102 and H100 2022, L4, L40S and GH200 2023, H200 2024,
B200 2025), compared in November 2026 with copies of them. Tensor cores count without sparsity: where
a sheet gives the sparse figure only, half of it. Products of 16 bits are summed in 32. A device whose
sheet could not be confirmed is left out, such as H100 NVL: --measure-peak serves there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from distbench.analysis.collect import Run

FLOPS_PER_TFLOP = 1e12
GIVEN, MEASURED, DATA_SHEET = "given", "measured", "data sheet"


class DevicePeak(NamedTuple):
    """Dense peaks of one device in TFLOP/s; None for what it does not have.

    `name` is a regular expression for the whole name that TensorFlow and NVML report, without the
    vendor's name before it.
    """

    model: str
    name: str
    float32: float
    tf32: float | None
    bfloat16: float | None
    float16: float


DEVICE_PEAKS = (
    DevicePeak("P100 SXM2", r"P100-SXM2-16GB", 10.6, None, None, 21.2),
    DevicePeak("P100 PCIe", r"P100-PCIE-(12|16)GB", 9.3, None, None, 18.7),
    DevicePeak("V100 SXM2", r"V100-SXM2-(16|32)GB", 15.7, None, None, 125.0),
    DevicePeak("V100 PCIe", r"V100-PCIE-(16|32)GB", 14.0, None, None, 112.0),
    DevicePeak("T4", r"T4", 8.1, None, None, 65.0),
    DevicePeak("A10", r"A10", 31.2, 62.5, 125.0, 125.0),
    DevicePeak("A30", r"A30", 10.3, 82.0, 165.0, 165.0),
    DevicePeak("A40", r"A40", 37.4, 74.8, 149.7, 149.7),
    DevicePeak("A100 SXM", r"A100-SXM4-(40|80)GB", 19.5, 156.0, 312.0, 312.0),
    DevicePeak("A100 PCIe", r"A100-PCIE-(40|80)GB|A100 80GB PCIe", 19.5, 156.0, 312.0, 312.0),
    DevicePeak("L4", r"L4", 30.3, 60.0, 121.0, 121.0),
    DevicePeak("L40S", r"L40S", 91.6, 183.0, 362.0, 362.0),
    DevicePeak("RTX 3090", r"RTX 3090", 35.6, 35.6, 71.0, 71.0),
    DevicePeak("RTX 4090", r"RTX 4090", 82.6, 82.6, 165.2, 165.2),
    DevicePeak("RTX A6000", r"RTX A6000", 38.7, 77.4, 154.8, 154.8),
    DevicePeak("H100 PCIe", r"H100 PCIe", 51.0, 378.0, 756.0, 756.0),
    DevicePeak("H100 SXM", r"H100 80GB HBM3", 67.0, 494.5, 989.5, 989.5),
    DevicePeak("H200 SXM", r"H200", 67.0, 494.5, 989.5, 989.5),
    DevicePeak("GH200", r"GH200 (120|480)GB", 67.0, 494.5, 989.5, 989.5),
    DevicePeak("B200", r"B200", 75.0, 1100.0, 2250.0, 2250.0),
)


@dataclass(frozen=True)
class Peaks:
    """The peak of each rank's device in FLOP/s, by rank, and where it is from.

    `kind` is GIVEN, MEASURED or DATA_SHEET. What was measured is what a matrix product reached while
    all ranks computed: the device itself may do more.
    """

    by_rank: Mapping[int, float]
    kind: str
    source: str


def peaks_of(run: Run) -> Peaks | None:
    """The peaks as somebody gave them, else as measured, else by the data sheets.

    None where they are not known of every rank.
    """
    return _given(run) or _measured(run) or _by_data_sheet(run)


def device_peak(name: str) -> DevicePeak | None:
    """The entry of a device by the name that TensorFlow or NVML reports; None where there is none."""
    bare = re.sub(r" \(compute capability [^)]*\)$", "", name.strip())
    bare = re.sub(r"^(NVIDIA |Tesla |GeForce )*", "", bare)
    return next((entry for entry in DEVICE_PEAKS if re.fullmatch(entry.name, bare)), None)


def allows_tf32(run: Run) -> bool | None:
    """Whether float32 products may use TF32 where a GPU has it; None where that was not recorded."""
    allowed = run.manifest.get("tensorflow", {}).get("tensor_float_32_allowed")
    if run.manifest.get("environment", {}).get("NVIDIA_TF32_OVERRIDE") == "0":
        return False  # for all of NVIDIA's libraries, whatever TensorFlow asks for
    return None if allowed is None else bool(allowed)


def _given(run: Run) -> Peaks | None:
    tflops = run.config.device_peak_tflops
    if not tflops:
        return None
    peaks = dict.fromkeys(range(run.size), tflops * FLOPS_PER_TFLOP)
    return Peaks(peaks, GIVEN, "given with --device-peak-tflops")


def _measured(run: Run) -> Peaks | None:
    found = {
        records.rank: records.preflight["measured_peak"]
        for records in run.ranks
        if records.preflight is not None and "measured_peak" in records.preflight
    }
    if len(found) < run.size:
        return None
    peaks = {rank: float(peak["flops_per_s"]) for rank, peak in found.items()}
    return Peaks(peaks, MEASURED, "measured: a large matrix product on all devices at once")


def _by_data_sheet(run: Run) -> Peaks | None:
    devices = {
        records.rank: records.header["device"]
        for records in run.ranks
        if records.header is not None
    }
    found = {
        rank: _of_precision(device, run.config.precision, allows_tf32(run))
        for rank, device in devices.items()
    }
    known = {rank: one for rank, one in found.items() if one is not None}
    if len(known) < run.size:
        return None
    sources = sorted({source for _, source in known.values()})
    peaks = {rank: peak for rank, (peak, _) in known.items()}
    return Peaks(peaks, DATA_SHEET, f"NVIDIA's data sheet: {', '.join(sources)}")


def _of_precision(
    device: Mapping[str, Any], precision: str, tf32_allowed: bool | None
) -> tuple[float, str] | None:
    """The peak of a precision as this device computes it, in FLOP/s, and its name."""
    entry = device_peak(str(device["name"])) if device["kind"] == "GPU" else None
    if entry is None:
        return None
    if precision != "float32":
        narrow = entry.bfloat16 if precision == "bfloat16" else entry.float16
        if narrow is None:
            return None
        return narrow * FLOPS_PER_TFLOP, f"{entry.model} with {precision}"
    if entry.tf32 is not None and tf32_allowed is None:
        return None
    if entry.tf32 is not None and tf32_allowed:
        return entry.tf32 * FLOPS_PER_TFLOP, f"{entry.model} with TF32"
    return entry.float32 * FLOPS_PER_TFLOP, f"{entry.model} with float32"
