from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from distbench.worker import telemetry


class NVMLError(Exception):
    pass


def fake_nvml(**changes: Any) -> Any:
    """The part of nvidia-ml-py that is used, with the answers of one GPU."""

    def unsupported(handle: str) -> int:
        raise NVMLError

    answers = {
        "NVMLError": NVMLError,
        "NVML_CLOCK_SM": 1,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByIndex": lambda index: f"handle {index}",
        "nvmlDeviceGetHandleByUUID": lambda uuid: f"handle {uuid}",
        "nvmlDeviceGetUUID": lambda handle: b"GPU-123",
        "nvmlSystemGetDriverVersion": lambda: "550.1",
        "nvmlDeviceGetCurrentClocksThrottleReasons": lambda handle: 0x4 | 0x40,
        "nvmlDeviceGetClockInfo": lambda handle, kind: 1980,
        "nvmlDeviceGetTemperature": lambda handle, kind: 61,
        "nvmlDeviceGetTotalEnergyConsumption": unsupported,
    }
    return SimpleNamespace(**{**answers, **changes})


def test_a_reading() -> None:
    found = telemetry.NvmlTelemetry(fake_nvml(), "1")
    assert (found.uuid, found.driver) == ("GPU-123", "550.1")
    assert found.read() == {
        "sm_clock_mhz": 1980,
        "throttle_reasons": ["sw_power_cap", "hw_thermal_slowdown"],
        "temperature_c": 61,
        "energy_mj": None,  # this GPU does not support it
    }


@pytest.mark.parametrize(("name", "handle"), [("1", "handle 1"), ("GPU-123", "handle GPU-123")])
def test_a_gpu_is_found_by_index_or_uuid(name: str, handle: str) -> None:
    assert telemetry.NvmlTelemetry(fake_nvml(), name)._handle == handle


def test_an_unknown_reason_is_shown() -> None:
    assert telemetry.reason_names(0x1 | 0x1000) == ["gpu_idle", "0x1000"]
    assert telemetry.reason_names(0) == []


def test_no_nvml_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise NVMLError

    assert telemetry.open_telemetry("CPU", "").read() is None
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(nvmlInit=absent))
    assert telemetry.open_telemetry("GPU", "0").read() is None
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    assert telemetry.open_telemetry("GPU", "0").uuid == "GPU-123"
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert telemetry.open_telemetry("GPU", "0").uuid == ""


def test_the_real_binding_has_what_is_used() -> None:
    pynvml = pytest.importorskip("pynvml")
    assert all(hasattr(pynvml, name) for name in vars(fake_nvml()))
