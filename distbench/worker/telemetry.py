"""What NVML says about this rank's GPU, read between the blocks and never inside a timed span."""

from __future__ import annotations

from typing import Any

THROTTLE_REASONS = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}


class NoTelemetry:
    """For CPUs, and for GPUs whose NVML does not answer."""

    uuid = ""
    driver = ""

    def read(self) -> dict[str, Any] | None:
        """Nothing to tell."""
        return None


class NvmlTelemetry:
    """Clock, throttle reasons, temperature and energy counter of one GPU."""

    def __init__(self, nvml: Any, visible_gpu: str) -> None:
        self._nvml = nvml
        nvml.nvmlInit()
        self._handle = (
            nvml.nvmlDeviceGetHandleByIndex(int(visible_gpu))
            if visible_gpu.isdecimal()
            else nvml.nvmlDeviceGetHandleByUUID(visible_gpu)
        )
        self.uuid = _text(nvml.nvmlDeviceGetUUID(self._handle))
        self.driver = _text(nvml.nvmlSystemGetDriverVersion())

    def read(self) -> dict[str, Any] | None:
        """SM clock (MHz), throttle reasons, temperature (°C), energy since driver start (mJ).

        A value that this GPU does not support is None.
        """
        nvml = self._nvml
        reasons = self._ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons)
        return {
            "sm_clock_mhz": self._ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM),
            "throttle_reasons": None if reasons is None else reason_names(reasons),
            "temperature_c": self._ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
            "energy_mj": self._ask(nvml.nvmlDeviceGetTotalEnergyConsumption),
        }

    def _ask(self, question: Any, *arguments: Any) -> int | None:
        try:
            return int(question(self._handle, *arguments))
        except self._nvml.NVMLError:
            return None


def reason_names(bits: int) -> list[str]:
    """The names of the set bits; an unknown one is shown in hexadecimal."""
    names = [name for bit, name in THROTTLE_REASONS.items() if bits & bit]
    unknown = bits & ~sum(THROTTLE_REASONS)
    return names + ([hex(unknown)] if unknown else [])


def open_telemetry(device_kind: str, visible_gpu: str) -> NvmlTelemetry | NoTelemetry:
    """Telemetry of this rank's GPU; none on a CPU or where NVML cannot be had."""
    if device_kind != "GPU":
        return NoTelemetry()
    try:
        import pynvml
    except ImportError:
        return NoTelemetry()
    try:
        return NvmlTelemetry(pynvml, visible_gpu)
    except pynvml.NVMLError:
        return NoTelemetry()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
