"""Numbers to text. Everything inside distbench is in SI units; only this module rounds."""

from __future__ import annotations

import math

NOT_AVAILABLE = "n/a"


def significant(value: float, digits: int = 4) -> str:
    """`value` with that many significant digits and no exponent: 1234.5 -> '1234', 0.01234 -> '0.01234'."""
    if value is None or math.isnan(value):
        return NOT_AVAILABLE
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def seconds(value_s: float, digits: int = 4) -> str:
    """A duration in s, ms or µs, whichever reads best."""
    if value_s is None or math.isnan(value_s):
        return NOT_AVAILABLE
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if abs(value_s) * factor >= 1 or (value_s == 0 and unit == "s"):
            return f"{significant(value_s * factor, digits)} {unit}"
    return f"{significant(value_s * 1e6, digits)} µs"


def seconds_range(low_s: float, high_s: float) -> str:
    """An interval of durations: '0.52 s to 0.61 s'."""
    if math.isnan(low_s) or math.isnan(high_s):
        return NOT_AVAILABLE
    return f"{seconds(low_s)} to {seconds(high_s)}"


def rate(value_per_s: float) -> str:
    """Images per second, without the unit."""
    return significant(value_per_s)


def decimal_bytes(count: float) -> str:
    """Bytes in decimal units, as link speeds are: 553430176 -> '553.4 MB'."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{significant(count / factor)} {unit}"
    return f"{count:.0f} B"


def bandwidth(bytes_per_s: float) -> str:
    """Bytes per second in GB/s (10^9), the unit of nccl-tests."""
    if math.isnan(bytes_per_s):
        return NOT_AVAILABLE
    return f"{significant(bytes_per_s / 1e9, 3)} GB/s"


def percent(fraction: float) -> str:
    """A fraction as per cent with one decimal; what rounds to nothing has no sign."""
    return NOT_AVAILABLE if math.isnan(fraction) else f"{100 * fraction:z.1f} %"
