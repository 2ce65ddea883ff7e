"""One section out of two runs of it: what both have measured counts as the later one has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from contenders.comparison import OURS

_BY_CONTENDER = ("facts", "steps_per_round", "peak_rss_bytes")
Group = Mapping[str, Sequence[float]]  # the medians of each round, by 'CONTENDER PHASE'


def joined(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """The documents of two sections with one label as one document.

    Each run measured distbench beside its own contenders, so that its groups stay as they are, but for
    the contenders that the later run has measured anew.
    """
    anew = {name for group in later["round_medians_s"] for name in _contenders(group)}
    kept = [_without(group, anew - {OURS}) for group in earlier["round_medians_s"]]
    groups = [*(group for group in kept if _contenders(group) - {OURS}), *later["round_medians_s"]]
    measured = {name for group in groups for name in _contenders(group)}
    absent = {**earlier["absent"], **later["absent"]}
    hows = dict.fromkeys([earlier["how"], later["how"]])
    return {
        **later,
        **{name: {**earlier[name], **later[name]} for name in _BY_CONTENDER},
        "round_medians_s": groups,
        "absent": {name: reason for name, reason in absent.items() if name not in measured},
        "failed": [*earlier["failed"], *later["failed"]],
        "how": "; and in another run ".join(hows),
    }


def _contenders(group: Group) -> set[str]:
    return {name.split(" ", 1)[0] for name in group}


def _without(group: Group, names: set[str]) -> dict[str, Sequence[float]]:
    return {name: times for name, times in group.items() if name.split(" ", 1)[0] not in names}
