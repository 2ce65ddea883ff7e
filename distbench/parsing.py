"""What the raw value of one setting may be: from a flag, a variable, a TOML or a JSON file.

Each function returns the value, or raises ValueError with the words that follow "it must be".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from distbench import vgg

Parser = Callable[[Any], Any]
MOST = 2**31 - 1  # no setting is larger
AUTO_SIZES = "auto"


def whole_number(least: int) -> Callable[[Any], int]:
    """A whole number from `least` to MOST; text is read as one."""

    def parse(raw: Any) -> int:
        try:
            number = int(raw) if isinstance(raw, str) else raw
        except ValueError:
            number = None
        if type(number) is not int or not least <= number <= MOST:
            raise ValueError(f"a whole number of at least {least}")
        return number

    return parse


def number(least: float, most: float) -> Callable[[Any], float]:
    """A number from `least` to `most`; text is read as one."""

    def parse(raw: Any) -> float:
        try:
            value = math.nan if isinstance(raw, bool) else float(raw)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not least <= value <= most:  # NaN is not
            raise ValueError(f"a number from {least:g} to {most:g}")
        return value

    return parse


def number_or_minus_one(least: float, most: float) -> Callable[[Any], float]:
    """A number from `least` to `most`, or -1 for what somebody else decides; text is read as one."""

    def parse(raw: Any) -> float:
        try:
            return -1.0 if number(-1, most)(raw) == -1 else number(least, most)(raw)
        except ValueError:
            raise ValueError(f"a number from {least:g} to {most:g}, or -1") from None

    return parse


def one_of(*choices: str) -> Parser:
    """One of the given words."""

    def parse(raw: Any) -> str:
        if not isinstance(raw, str) or raw not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return raw

    return parse


def image_size(raw: Any) -> int:
    """A side that five pools can halve."""
    wanted = f"a positive multiple of {vgg.DOWNSCALING}, such as 224 (five pools halve each side)"
    try:
        size = whole_number(1)(raw)
    except ValueError:
        raise ValueError(wanted) from None
    if size % vgg.DOWNSCALING:
        raise ValueError(wanted)
    return size


def width_multiplier(raw: Any) -> float:
    """A factor that keeps all widths whole."""
    wanted = "a positive number that turns 64 channels into a whole number of them, such as 0.25"
    try:
        if "e" in str(raw).lower():  # 1e999999999 as a fraction would never end
            raise ValueError
        factor = Fraction(str(raw))
    except (ValueError, ZeroDivisionError):
        raise ValueError(wanted) from None
    if not 0 < factor <= MOST or (factor * 64).denominator != 1:
        raise ValueError(wanted)
    return float(factor)


def names_of(*known: str) -> Parser:
    """Some of `known`, each once, in that order; text is split at commas."""

    def parse(raw: Any) -> tuple[str, ...]:
        names = raw.split(",") if isinstance(raw, str) else raw
        wanted = f"a list without repetition of {', '.join(known)}"
        if not isinstance(names, (list, tuple)) or not names:
            raise ValueError(wanted)
        if any(name not in known for name in names) or len(set(names)) != len(names):
            raise ValueError(wanted)
        return tuple(name for name in known if name in names)

    return parse


def sizes(raw: Any) -> tuple[int, ...] | str:
    """World sizes in ascending order, or the word AUTO_SIZES; an empty list of a file means none."""
    wanted = f"a list of different numbers of ranks such as 1,2,4, or {AUTO_SIZES}"
    if raw == AUTO_SIZES:
        return AUTO_SIZES
    parts = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(parts, (list, tuple)):
        raise ValueError(wanted)
    try:
        numbers = [whole_number(1)(part) for part in parts]
    except ValueError:
        raise ValueError(wanted) from None
    if len(set(numbers)) != len(numbers):
        raise ValueError(wanted)
    return tuple(sorted(numbers))


def switch(raw: Any) -> bool:
    """True or false, in the words of files and variables."""
    if isinstance(raw, bool):
        return raw
    switches = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if not isinstance(raw, str) or raw not in switches:
        raise ValueError("true or false")
    return switches[raw]


def path(raw: Any) -> str:
    """The path of a directory."""
    if not isinstance(raw, str) or not raw or not raw.isprintable():
        raise ValueError("the path of a directory, without control characters")
    return raw
