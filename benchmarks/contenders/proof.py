"""Proof that a contender does its work, before it is timed. Knows no framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LEAST_BACKWARD_RATIO = 1.5  # below, forward_backward has not run its backward pass
SAME_SUM = 1e-5  # relative: what two ranks' sums of one allreduce's result may differ by


class NotProvenError(Exception):
    """The contender does not do what it shall be timed for."""


class Gradient(NamedTuple):
    """What is to be known of one gradient tensor; `shape` as vgg.py writes it."""

    shape: tuple[int, ...]
    is_finite: bool
    sum_of_absolutes: float


def check_gradients(found: Sequence[Gradient | None], wanted: Sequence[tuple[int, ...]]) -> None:
    """There is one finite, non-zero gradient for every parameter of the table."""
    missing = [index for index, one in enumerate(found) if one is None]
    if missing:
        raise NotProvenError(f"gradients {missing} are None")
    there = [one for one in found if one is not None]
    shapes = [one.shape for one in there]
    if shapes != list(wanted):
        raise NotProvenError(f"the gradients' shapes are {shapes}, not {list(wanted)}")
    for one in there:
        if not one.is_finite or not one.sum_of_absolutes > 0:
            raise NotProvenError(f"a gradient of shape {one.shape} is not finite or all zero")


def check_backward_runs(forward_s: float, forward_backward_s: float) -> None:
    """forward_backward takes clearly longer than forward."""
    if forward_backward_s < LEAST_BACKWARD_RATIO * forward_s:
        raise NotProvenError(
            f"forward_backward takes {forward_backward_s / forward_s:.2f} times as long as forward: "
            "the backward pass does not run"
        )


def check_reduced(local_sums: Sequence[float], reduced_sums: Sequence[float]) -> None:
    """Ranks with different gradients of their own hold the same ones after the allreduce."""
    if len(set(local_sums)) == 1:
        raise NotProvenError("all ranks have the same gradients: an allreduce could not be told")
    if max(reduced_sums) - min(reduced_sums) > SAME_SUM * max(reduced_sums):
        raise NotProvenError(f"after the allreduce the ranks' gradients differ: {reduced_sums}")
