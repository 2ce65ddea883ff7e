"""One section out of two runs of it: what both have measured counts as the later one has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from contenders.comparison import OURS

EARLIER = f"{OURS} in an earlier run"
_PEAK = "peak"  # what the shares of the contenders beside it are shares of
Group = Mapping[str, Sequence[float]]  # the medians of each round, by 'CONTENDER PHASE'
Document = Mapping[str, Any]


def joined(earlier: Document, later: Document) -> dict[str, Any]:
    """The documents of two sections with one label and one controller as one document.

    Each run measured distbench beside its own contenders, so that its groups stay as they are, but for
    the contenders that the later run has measured anew. A matrix product stays with its group.
    """
    anew = _contenders(later["round_medians_s"]) - {OURS, _PEAK}
    kept = [_without(group, anew) for group in earlier["round_medians_s"]]
    kept = [group for group in kept if _contenders([group]) - {OURS, _PEAK}]
    groups = [*kept, *later["round_medians_s"]]
    measured = _contenders(groups)
    absent = {**earlier["absent"], **later["absent"]}
    failed = [one for one in earlier["failed"] if not set(one["contenders"]) <= measured]
    return {
        **later,
        "facts": _facts(earlier["facts"], later["facts"], is_kept=bool(kept)),
        "steps_per_round": {**earlier["steps_per_round"], **later["steps_per_round"]},
        "peak_rss_bytes": _most(earlier["peak_rss_bytes"], later["peak_rss_bytes"]),
        "round_medians_s": groups,
        "absent": {name: reason for name, reason in absent.items() if name not in measured},
        "failed": [*failed, *(one for one in later["failed"] if one not in failed)],
        "how": "; and in another run ".join(dict.fromkeys([earlier["how"], later["how"]])),
    }


def _facts(earlier: Document, later: Document, is_kept: bool) -> dict[str, Any]:
    """By contender; of distbench those of both runs, since it may have chosen otherwise in each."""
    found = {**earlier, **later}
    if is_kept and OURS in earlier and OURS in later and earlier[OURS] != later[OURS]:
        found[EARLIER] = earlier[OURS]
    return found


def _most(earlier: Mapping[str, int], later: Mapping[str, int]) -> dict[str, int]:
    most = {**earlier, **later}
    if OURS in earlier:
        most[OURS] = max(earlier[OURS], most[OURS])
    return most


def _contenders(groups: Sequence[Group]) -> set[str]:
    return {_contender(name) for group in groups for name in group}


def _without(group: Group, names: set[str]) -> dict[str, Sequence[float]]:
    return {name: times for name, times in group.items() if _contender(name) not in names}


def _contender(name: str) -> str:
    """Of 'CONTENDER PHASE'."""
    return name.split(" ", 1)[0]
