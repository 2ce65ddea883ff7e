"""What the comparison of the ranks says, in sentences. Names of hosts and devices stand as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from distbench import units
from distbench.analysis.straggler_scores import Comparison

MOST_NAMED = 4  # hosts or ranks in one sentence; the table holds them all
MOST_NOTES = 3  # ranks that a kind of note is written for
LEAST_GAIN = 0.0005  # less would read as 0.0 %
LEAST_SPIKE_SHARE = 0.01


def verdict(found: Comparison) -> str:
    """The answer in one sentence."""
    named = found.scores[found.scores["is_straggler"]].sort_values(
        "relative_lag", ascending=False, kind="stable"
    )
    if not found.was_tested:
        return (
            f"No verdict on stragglers: {found.steps_per_rank} timed steps of {found.phase} are too "
            "few to tell a slow rank from noise; give --steps 20 or more."
        )
    if named.empty:
        return _nobody(found)
    if len(named) == 1:
        doubt = "; of two ranks nobody can say which is the odd one" if found.ranks == 2 else ""
        return f"{_main_clause(named.iloc[0], found)}{doubt}; swap or exclude it{_gain(found)}."
    lags = named["relative_lag"]
    return (
        f"{len(named)} of {found.ranks} ranks hold the others up: {_who(found, named)}, computing "
        f"{_range(lags.min(), lags.max())} slower than the other ranks; swap or exclude them"
        f"{_gain(found)}."
    )


def evidence(row: Any, found: Comparison) -> str:
    """Why the rank of this row of the scores is named, in one sentence."""
    return f"{_main_clause(row, found)}."


def details(row: Any) -> str:
    """What else is known of a named rank, and where to look; empty where there is nothing."""
    wait = ""
    if row["last_arrivals"]:
        wait = f"When it came last, the others waited {units.seconds(row['median_wait_s'], 2)} for it. "
    return (wait + _alone(row)).strip()


def notes(found: Comparison) -> tuple[str, ...]:
    """What else the comparison shows: late for another reason, spikes, what waiting costs."""
    return (*_late(found), *_spikes(found), *_waiting(found))


def _power(found: Comparison) -> str:
    if found.least_named > 1:
        return "too few steps to name one that is slower by less than 100 %"
    return f"one slower by {units.percent(found.least_named)} would have been named"


def _nobody(found: Comparison) -> str:
    lags = found.scores["relative_lag"]
    if not found.is_uneven:
        return (
            f"No straggler: the {found.ranks} ranks are alike within "
            f"{units.percent(lags.abs().max())} ({_power(found)})."
        )
    hosts = _slow_hosts(found)
    return (
        f"No straggler, but the {found.ranks} ranks are uneven, from {_signed(lags.min())} to "
        f"{_signed(lags.max())} than the others: more than noise, and none stands out"
        + (f"; the slower ones are the ranks of {hosts}." if hosts else ".")
    )


def _slow_hosts(found: Comparison) -> str:
    """The hosts whose ranks are all slower than all ranks of all other hosts; none if not so clear."""
    lags = found.scores.groupby("host", observed=True)["relative_lag"].agg(["min", "max"])
    ordered = lags.sort_values("max")
    for count in range(1, len(ordered)):
        gap = ordered["min"].iloc[count:].min() - ordered["max"].iloc[:count].max()
        if gap > ordered["max"].iloc[count - 1] - ordered["min"].iloc[:count].min():
            return _listed([str(host) for host in ordered.index[count:]])
    return ""


def _main_clause(row: Any, found: Comparison) -> str:
    """'Rank 3 on node-1 (a GPU) computes 5.1 % (4.8 to 5.4 %) slower than … and came last at …'."""
    others = "rank" if found.ranks == 2 else f"{found.ranks - 1} ranks"
    device = f" ({row['device']})" if row["device"] else ""
    lag = (
        f"{units.percent(row['relative_lag'])} "
        f"({_range(row['relative_lag_low'], row['relative_lag_high'])}) slower than the other {others}"
    )
    if row["became_slow"]:
        lag = (
            f"{units.percent(row['late_lag'])} slower than the other {others} since block "
            f"{row['own_change_block']}, {units.percent(row['own_change'])} more than before"
        )
    clause = f"Rank {row['rank']} on {row['host']}{device} computes {lag}"
    if row["last_arrivals"]:
        clause += f" and came last at {row['last_arrivals']} of {row['meetings']} meetings"
    return clause


def _gain(found: Comparison) -> str:
    if found.gain < LEAST_GAIN:
        return ""
    return f": the job's {found.phase} would take {units.percent(found.gain)} less time"


def _who(found: Comparison, named: pd.DataFrame) -> str:
    """The named ranks by host, the slowest first; a host whose ranks are all named counts as one."""
    sizes = found.scores["host"].value_counts()
    parts = []
    for host, of_host in named.groupby("host", sort=False, observed=True):
        ranks = sorted(of_host["rank"])
        if len(ranks) == sizes[host] > 1:
            parts.append(f"all {len(ranks)} ranks of {host} ({_numbers(ranks)})")
        else:
            parts.append(f"rank{'s' if len(ranks) > 1 else ''} {_numbers(ranks)} on {host}")
    return _listed(parts)


def _alone(row: Any) -> str:
    """Whether the rank is slow without its neighbours too: half of its lag is where opinions part."""
    lag, low, high = row["alone_lag"], row["alone_lag_low"], row["alone_lag_high"]
    beside = row["late_lag"] if row["became_slow"] else row["relative_lag"]
    if np.isnan(low) or np.isnan(high):
        return ""
    if low > beside / 2:
        return (
            f"It is slow alone too ({units.percent(lag)}): the device itself is slow (its clocks, "
            "power limit, temperature)."
        )
    if high < beside / 2:
        return (
            f"Alone it is not ({units.percent(lag)}): it is slow only beside the other ranks, which "
            "take cores, memory or cooling from it."
        )
    return f"Alone its lag is {units.percent(lag)} ({_range(low, high)}), which decides nothing."


def _late(found: Comparison) -> Iterator[str]:
    late = found.scores[found.scores["is_late"]]
    for _, row in late.nlargest(MOST_NOTES, "median_wait_s").iterrows():
        yield (
            f"Rank {row['rank']} on {row['host']} came last at {row['last_arrivals']} of "
            f"{row['meetings']} meetings, {units.seconds(row['median_wait_s'], 2)} after the others, "
            f"and its steps do not explain it ({_signed(row['relative_lag'])}): it loses time between "
            "them, where nothing is timed (printing, interruptions)."
        )


def _spikes(found: Comparison) -> Iterator[str]:
    spiky = found.scores[found.scores["spike_share"] >= LEAST_SPIKE_SHARE]
    for _, row in spiky.nlargest(MOST_NOTES, "spike_share").iterrows():
        plural = "s" if row["spikes"] > 1 else ""
        yield (
            f"Rank {row['rank']} on {row['host']} had {row['spikes']} spike{plural} in "
            f"{found.steps_per_rank} steps, of up to {row['longest_spike']:.1f} times its usual time; "
            f"waiting for them took {units.percent(row['spike_share'])} of the job's {found.phase}."
        )


def _waiting(found: Comparison) -> Iterator[str]:
    without = ""
    if found.scores["is_straggler"].any():
        without = f", of the ranks that are not named {units.percent(found.slowdown_without - 1)}"
    yield (
        f"The slowest rank of a step takes {units.percent(found.slowdown - 1)} longer than the ranks "
        f"do on average ({found.phase}){without}."
    )


def _signed(lag: float) -> str:
    return f"{units.percent(abs(lag))} {'faster' if lag < 0 else 'slower'}"


def _range(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {units.percent(high)}"


def _numbers(ranks: Sequence[int]) -> str:
    """'3 and 5', or '4 to 7' where none is left out between."""
    if len(ranks) > 2 and ranks[-1] - ranks[0] == len(ranks) - 1:
        return f"{ranks[0]} to {ranks[-1]}"
    return _listed(ranks)


def _listed(parts: Sequence[Any]) -> str:
    """'1, 2 and 3', cut after MOST_NAMED."""
    words = [str(part) for part in parts]
    if len(words) > MOST_NAMED:
        words = [*words[:MOST_NAMED], f"{len(words) - MOST_NAMED} more"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
