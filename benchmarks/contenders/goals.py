"""The goals of a comparison, each judged by its 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from interleaved import ratio_text

from contenders.comparison import OURS, PEERS, Compared, Share, Spread

MET, NOT_MET, NOT_DECIDED, NOT_MEASURED = "met", "not met", "not decided", "not measured"
LEAST_PEER_RATIO = {"forward": 1.05, "forward_backward": 1.05}
LEAST_PEAK_SHARE = {"forward": 0.90, "forward_backward": 0.80}
LEAST_ALLREDUCE_RATIO = 0.9
# TensorFlow's tensors do not change, so that Horovod reduces from one buffer into another, as the second
# does; the first saves a copy of all bytes.
BARE = {"in place": "mpi allreduce_in_place", "out of place": "mpi allreduce_out_of_place"}


class Goal(NamedTuple):
    """One goal: what it asks, whether it is met, and what that rests on."""

    text: str
    verdict: str
    because: str


def judged(found: Spread, least: float) -> str:
    """By the interval; below 6 rounds there is none, so that nothing is decided."""
    if found["low"] >= least:
        return MET
    return NOT_MET if found["high"] < least else NOT_DECIDED


def goals(pairs: Sequence[Compared], shares: Sequence[Share], ranks: int) -> list[Goal]:
    """Those that can be judged at so many ranks."""
    found = [_against_peers(pairs, phase, least) for phase, least in LEAST_PEER_RATIO.items()]
    found += [_of_peak(shares, phase, least) for phase, least in LEAST_PEAK_SHARE.items()]
    if ranks > 1:
        found += [_allreduce(pairs, how, contender) for how, contender in BARE.items()]
    return found


def _against_peers(pairs: Sequence[Compared], phase: str, least: float) -> Goal:
    """Met where it is met against each peer, and so against the best; not met where one forbids it."""
    rivals = [pair for pair in pairs if pair.phase == phase and pair.contender in PEERS]
    verdicts = [judged(pair.ratio, least) for pair in rivals]
    if not verdicts:
        verdict = NOT_MEASURED
    elif NOT_MET in verdicts:
        verdict = NOT_MET
    else:
        verdict = NOT_DECIDED if NOT_DECIDED in verdicts else MET
    because = "; ".join(f"{pair.contender} {ratio_text(pair.ratio)}" for pair in rivals)
    return Goal(f"{phase} at least {least} times as fast as the best peer", verdict, because)


def _of_peak(shares: Sequence[Share], phase: str, least: float) -> Goal:
    text = f"{phase} at least {least:.0%} of the matrix product's rate, by the FLOPs of direct sums"
    for one in reversed(shares):  # of several the last one counts
        if (one.contender, one.phase) == (OURS, phase):
            return Goal(text, judged(one.share, least), ratio_text(one.share))
    return Goal(text, NOT_MEASURED, "")


def _allreduce(pairs: Sequence[Compared], how: str, contender: str) -> Goal:
    text = f"allreduce at least {LEAST_ALLREDUCE_RATIO} times as fast as MPI's alone, {how}"
    for pair in pairs:
        if pair.contender == contender:
            verdict = judged(pair.ratio, LEAST_ALLREDUCE_RATIO)
            return Goal(text, verdict, f"{pair.contender} {ratio_text(pair.ratio)}")
    return Goal(text, NOT_MEASURED, "")
