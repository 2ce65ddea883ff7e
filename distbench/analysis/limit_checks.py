"""Measurements that the hardware cannot have made: below the wire's bound, or above the device's peak.

They are wrong, or what they are compared with is (METHOD M20, rule 11 of Hoefler & Belli).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from distbench import units
from distbench.analysis.check import Check
from distbench.analysis.collect import Run
from distbench.analysis.device_peaks import MEASURED
from distbench.analysis.limits import PHASES_WITH_FLOPS, Limits
from distbench.winograd_layers import share_of_macs

# Speeds and peaks are given with two digits, and the median of a few noisy steps is off by a little.
LEAST_OF_BOUND = 0.95
MOST_UTILISATION = 1.05
LINK_FLAGS = "--link-gb-per-s and --intra-link-gb-per-s"


def limit_checks(run: Run, limits: Limits) -> Iterator[Check]:
    """What is beyond the limits, by size."""
    yield from _allreduces(run, limits)
    yield from _utilisations(run, limits)


def _allreduces(run: Run, limits: Limits) -> Iterator[Check]:
    if limits.links.is_measured:
        return  # the bound is made of these very times
    for row in limits.frame.itertuples():
        if row.allreduce_s < LEAST_OF_BOUND * row.overlapped_bound_s:
            yield Check(
                "suspect",
                f"the allreduce of {row.size} ranks is wrong: it takes "
                f"{units.seconds(row.allreduce_s)}, and their links ({limits.links.source}) need at "
                f"least {units.seconds(row.overlapped_bound_s)} for "
                f"{units.decimal_bytes(run.wire_bytes)}. Was an allreduce pruned, or are {LINK_FLAGS} "
                "too low? Only a network that reduces by itself, such as SHARP or NVLS, needs less",
            )


def _utilisations(run: Run, limits: Limits) -> Iterator[Check]:
    for row in limits.frame.itertuples():
        # A peak that was measured with all devices busy bounds only what is timed like that.
        if limits.peak_kind == MEASURED and row.size < run.size:
            continue
        for name in (*PHASES_WITH_FLOPS, "backward"):
            if getattr(row, f"mfu_{name}") * _share_of_macs(run, row.size) > MOST_UTILISATION:
                yield _beyond_peak(name, row, limits)
                break  # one finding for a size: the others follow from it


def _share_of_macs(run: Run, ranks: int) -> float:
    """What is left of the multiplications that an MFU counts; all where convolutions are direct sums."""
    if run.config.convolution != "winograd":
        return 1.0
    return share_of_macs(run.config.network(), run.config.batch_of(ranks))


def _beyond_peak(name: str, row: Any, limits: Limits) -> Check:
    flag = "measure again" if limits.peak_kind == MEASURED else "correct --device-peak-tflops"
    return Check(
        "suspect",
        f"{name} of {row.size} rank(s) is wrong: it reaches "
        f"{units.percent(getattr(row, f'mfu_{name}'))} of the device's peak "
        f"({limits.peak_source}). Was work pruned? If not, the peak is too low: {flag}. "
        "That Winograd's convolutions need fewer products is allowed for",
    )
