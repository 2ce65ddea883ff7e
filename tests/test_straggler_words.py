from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd

from distbench.analysis import straggler_words
from distbench.analysis.straggler_scores import Comparison

NAN = float("nan")


def row(rank: int, lag: float = 0.0, **changes: Any) -> dict[str, Any]:
    return {
        "rank": rank,
        "host": f"node-{rank // 4}",
        "device": "a GPU",
        "relative_lag": lag,
        "relative_lag_low": lag - 0.002,
        "relative_lag_high": lag + 0.003,
        "z": lag / 0.001,
        "own_change": 0.0,
        "own_change_block": 1,
        "late_lag": lag,
        "became_slow": False,
        "alone_lag": NAN,
        "alone_lag_low": NAN,
        "alone_lag_high": NAN,
        "meetings": 6,
        "last_arrivals": 0,
        "median_wait_s": 0.0,
        "is_late": False,
        "spikes": 0,
        "longest_spike": 1.0,
        "spike_share": 0.0,
        "is_straggler": lag > 0.04,
        **changes,
    }


def comparison(*rows: dict[str, Any], **changes: Any) -> Comparison:
    found = Comparison(
        phase="forward_backward",
        group="world",
        steps_per_rank=100,
        units=20,
        autocorrelation=0.1,
        scores=pd.DataFrame(rows),
        slowdown=1.06,
        slowdown_without=1.02,
        gain=0.041,
        least_named=0.016,
        is_uneven=False,
    )
    return dataclasses.replace(found, **changes)


def alike(ranks: int, **changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [row(rank, **changes.get(f"of_{rank}", {})) for rank in range(ranks)]


def test_nobody_is_named_where_ranks_are_alike() -> None:
    found = comparison(*alike(7), row(7, lag=-0.004))
    assert straggler_words.verdict(found) == (
        "No straggler: the 8 ranks are alike within 0.4 % (one slower by 1.6 % would have been named)."
    )


def test_one_straggler_is_named_with_what_it_costs() -> None:
    found = comparison(*alike(7), row(7, lag=0.051, last_arrivals=6, median_wait_s=0.0123))
    clause = (
        "Rank 7 on node-1 (a GPU) computes 5.1 % (4.9 to 5.4 %) slower than the other 7 ranks and came "
        "last at 6 of 6 meetings"
    )
    assert straggler_words.verdict(found) == (
        f"{clause}; swap or exclude it: the job's forward_backward would take 4.1 % less time."
    )
    named = found.scores.iloc[7]
    assert straggler_words.evidence(named, found) == f"{clause}."
    assert straggler_words.details(named) == "When it came last, the others waited 12 ms for it."


def test_a_gain_that_reads_as_nothing_is_not_promised() -> None:
    found = comparison(*alike(7), row(7, lag=0.051), gain=0.0004)
    assert straggler_words.verdict(found).endswith("7 ranks; swap or exclude it.")


def test_of_two_ranks_the_slower_is_named_with_a_doubt() -> None:
    verdict = straggler_words.verdict(comparison(row(0), row(1, lag=0.051)))
    assert (
        "slower than the other rank; of two ranks nobody can say which is the odd one;" in verdict
    )


def test_several_stragglers_are_gathered_by_host_the_slowest_first() -> None:
    slow = [row(rank, lag=0.05 + rank / 1000) for rank in (4, 5, 6, 7)]
    found = comparison(*alike(4), *slow, *alike(20)[8:], row(20, lag=0.08), row(22, lag=0.045))
    assert straggler_words.verdict(found).startswith(
        "6 of 22 ranks hold the others up: all 2 ranks of node-5 (20 and 22) and all 4 ranks of node-1 "
        "(4 to 7), computing 4.5 to 8.0 % slower than the other ranks; swap or exclude them: "
    )
    one = straggler_words.verdict(comparison(*alike(9), row(9, lag=0.05), row(10, lag=0.06)))
    assert one.startswith("2 of 11 ranks hold the others up: ranks 9 and 10 on node-2, computing")
    many = [row(rank, lag=0.05) for rank in range(0, 40, 4)]
    among = [row(rank) for rank in range(40) if rank % 4]
    assert " and 6 more, computing 5.0 to 5.0 %" in straggler_words.verdict(
        comparison(*many, *among)
    )


def test_a_rank_that_became_slow_is_named_with_its_block() -> None:
    changed = {"became_slow": True, "own_change": 0.049, "late_lag": 0.052, "own_change_block": 4}
    found = comparison(*alike(7), row(7, lag=0.03, is_straggler=True, **changed))
    assert straggler_words.evidence(found.scores.iloc[7], found) == (
        "Rank 7 on node-1 (a GPU) computes 5.2 % slower than the other 7 ranks since block 4, "
        "4.9 % more than before."
    )


def test_where_to_look_follows_from_the_rank_alone() -> None:
    def said(lag: float, low: float, high: float) -> str:
        alone = {"alone_lag": lag, "alone_lag_low": low, "alone_lag_high": high}
        return straggler_words.details(row(1, lag=0.05, **alone))

    assert said(0.049, 0.04, 0.06).startswith("It is slow alone too (4.9 %): the device itself")
    assert said(0.002, -0.01, 0.01).startswith("Alone it is not (0.2 %): it is slow only beside")
    assert said(0.03, 0.01, 0.05) == "Alone its lag is 3.0 % (1.0 to 5.0 %), which decides nothing."
    assert said(0.03, NAN, NAN) == ""


def test_uneven_ranks_are_told_with_their_hosts_where_those_part_them() -> None:
    rows = [row(rank, lag=(-0.05 if rank < 4 else 0.03) + rank / 1000) for rank in range(8)]
    found = comparison(*rows, is_uneven=True)
    assert straggler_words.verdict(found) == (
        "No straggler, but the 8 ranks are uneven, from 5.0 % faster to 3.7 % slower than the others: "
        "more than noise, and none stands out; the slower ones are the ranks of node-1."
    )
    spread = [row(rank, lag=rank / 100, is_straggler=False) for rank in range(8)]
    assert straggler_words.verdict(comparison(*spread, is_uneven=True)).endswith("stands out.")


def test_too_few_steps_leave_no_verdict() -> None:
    found = comparison(row(0), row(1, lag=0.5), steps_per_rank=3, least_named=NAN)
    assert straggler_words.verdict(found).startswith("No verdict on stragglers: 3 timed steps")


def test_notes_tell_of_late_ranks_spikes_and_waiting() -> None:
    late = {"is_late": True, "last_arrivals": 6, "median_wait_s": 0.004}
    spiky = {"spikes": 2, "longest_spike": 9.96, "spike_share": 0.12}
    cheap = {"spikes": 9, "longest_spike": 2.0, "spike_share": 0.001}
    found = comparison(*alike(4, of_0=late, of_1=spiky, of_2=cheap))
    first, second, third = straggler_words.notes(found)
    assert first.startswith(
        "Rank 0 on node-0 came last at 6 of 6 meetings, 4.0 ms after the others, and its steps do not "
        "explain it (0.0 % slower): it loses time between them"
    )
    assert second == (
        "Rank 1 on node-0 had 2 spikes in 100 steps, of up to 10.0 times its usual time; waiting for "
        "them took 12.0 % of the job's forward_backward."
    )
    assert third == (
        "The slowest rank of a step takes 6.0 % longer than the ranks do on average (forward_backward)."
    )
    with_one = straggler_words.notes(comparison(*alike(7), row(7, lag=0.05)))
    assert with_one[-1].endswith("(forward_backward), of the ranks that are not named 2.0 %.")
