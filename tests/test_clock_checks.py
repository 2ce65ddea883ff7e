from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from distbench.analysis import clock_checks as checks
from distbench.analysis.check import Check
from distbench.analysis.clock_checks import clock_checks, meetings
from distbench.analysis.collect import Run, load_run
from distbench.records import RankRecords
from distbench.resolving import resolve
from distbench.simulation.cluster import Cluster, SlowRank
from distbench.simulation.simulate import simulate
from tests.fakes import MS, block, header, write_run

EXAMPLE = Path(__file__).parent.parent / "results" / "example-2-cpus"
SECOND = 1_000 * MS
Clock = Callable[[int], int]  # the true time to what a rank's clock shows, in ns


def right(now_ns: int) -> int:
    return 7 * SECOND + now_ns


def ahead(by_ns: int) -> Clock:
    return lambda now_ns: right(now_ns) + by_ns


def faster(percent: int) -> Clock:
    return lambda now_ns: right(now_ns * (100 + percent) // 100)


def jumping(by_ns: int, at_ns: int) -> Clock:
    return lambda now_ns: right(now_ns) + (by_ns if now_ns >= at_ns else 0)


@pytest.fixture(scope="module")
def base() -> Run:
    """A run whose ranks and blocks are then replaced."""
    return load_run(EXAMPLE)


def run_of(
    base: Run,
    clocks: Sequence[Clock],
    meetings: int = 41,
    late_ns: Callable[[int, int], int] = lambda rank, meeting: 0,
    boots: Sequence[str] = (),
) -> Run:
    """Block i begins i - 1 seconds after the first; ranks of boot 'b' are on host 'node-b'."""
    rows = [
        (rank, "world", index, clock((index - 1) * SECOND + late_ns(rank, index)))
        for rank, clock in enumerate(clocks)
        for index in range(1, meetings + 1)
    ]
    return with_boots(dataclasses.replace(base, blocks=frame(rows)), boots or ["a"] * len(clocks))


def frame(rows: Sequence[tuple[int, str, int, int]]) -> pd.DataFrame:
    """Blocks of forward by rank, group, number (0 is the warm-up) and start in ns."""
    return pd.DataFrame(
        [(rank, "forward", group, index, index == 0, at) for rank, group, index, at in rows],
        columns=["rank", "phase", "group", "block", "warmup", "start_ns"],
    )


def with_boots(run: Run, boots: Sequence[str]) -> Run:
    ranks = tuple(
        RankRecords(rank, header=header(rank, len(boots), boot_id=boot, host=f"node-{boot}"))
        for rank, boot in enumerate(boots)
    )
    return dataclasses.replace(run, ranks=ranks)


def only(run: Run) -> Check:
    (found,) = clock_checks(run)
    return found


def test_clocks_of_one_rate_say_nothing_however_far_apart_machines_are(base: Run) -> None:
    clocks = [right, right, ahead(5_000 * SECOND), ahead(5_000 * SECOND)]
    assert list(clock_checks(run_of(base, clocks, boots="aabb"))) == []


def test_a_clock_that_runs_fast_is_named_with_what_it_counted(base: Run) -> None:
    run = run_of(base, [right, right, faster(5), right], boots="aabb")
    found = only(run)  # its offset, which grows, is not told again
    assert found.level == "suspect"
    assert found.text == (
        "the clock of rank 2 on node-b runs 5.0 % fast: between the same two moments there passed "
        "42.00 s for rank 2 on node-b and 40.00 s for rank 0 on node-a. All its times are wrong by as "
        f"much: {checks.RATE_ADVICE}"
    )


def test_the_worst_of_some_slow_clocks_is_named_and_the_rest_counted(base: Run) -> None:
    clocks = [faster(-3), right, right, faster(-5), right, faster(-3), right]
    text = only(run_of(base, clocks)).text
    assert "the clock of rank 3 on node-a (and of 2 more ranks) runs 5.0 % slow" in text
    assert "38.00 s for rank 3 on node-a and 40.00 s for rank 1 on node-a" in text


@pytest.mark.parametrize("meetings_seen", [2, 5, 21])
def test_of_two_ranks_nobody_knows_which_is_right(base: Run, meetings_seen: int) -> None:
    run = run_of(base, [right, faster(100)], meetings_seen, boots="ab")
    text = only(run).text
    span_s = meetings_seen - 1
    assert text.startswith("the clocks of the ranks differ in their rate by 100.0 %: ")
    assert f"{2 * span_s:#.4g} s for rank 1 on node-b" in text
    assert f"{span_s:#.4g} s for rank 0 on node-a" in text
    assert "Which of them is right cannot be told" in text


def test_two_against_two_are_not_judged_either(base: Run) -> None:
    run = run_of(base, [right, right, faster(3), faster(3)], boots="aabb")
    assert "differ in their rate by 3.0 %" in only(run).text


@pytest.mark.parametrize(
    ("meetings_seen", "permille", "is_said"),
    [
        (41, 4, False),  # clocks of two machines may differ by 0.5 %
        (41, 6, True),
        (21, 100, False),  # 5 pairs in a half, 5 s apart: 0.5 % and 0.5 s / 5 s
        (21, 110, True),
    ],
)
def test_a_rate_must_exceed_what_late_starts_may_do(
    base: Run, meetings_seen: int, permille: int, is_said: bool
) -> None:
    def clock(now_ns: int) -> int:
        return right(now_ns * (1_000 + permille) // 1_000)

    run = run_of(base, [right, clock, right], meetings_seen)  # nor is a drift an offset
    assert [check.level for check in clock_checks(run)] == ["suspect"] * is_said


def test_a_clock_that_is_set_right_again_has_no_rate(base: Run) -> None:
    def clock(now_ns: int) -> int:
        return right(now_ns + min(now_ns, 40 * SECOND - now_ns) // 25)

    assert list(clock_checks(run_of(base, [right, clock, right], boots="abc"))) == []


def test_the_spread_of_the_pairs_is_the_measure_of_chance() -> None:
    # 16 meetings, 1 s apart: 8 pairs, 8 s apart; rank 1 is late by 0, 80, 160 … 560 ms at the last 8
    passed_s = np.tile(np.arange(16.0), (3, 1))
    passed_s[1, 8:] += 0.08 * np.arange(8)
    rate, allowed = checks._rate_of_part(passed_s)
    # ratios of 0 to 7 %, by 1 %: median 3.5 %, quartiles 1.75 % and 5.25 %
    assert rate.tolist() == pytest.approx([0.0, 0.035, 0.0])
    assert allowed.tolist() == pytest.approx([0.005, 0.005 + 4 * 0.035 / 8**0.5, 0.005])


def test_late_starts_are_no_fault_of_a_clock(base: Run) -> None:
    random = np.random.default_rng(0)
    late_ns = random.exponential(4 * MS, (3, 100)).astype(int)
    late_ns[1, 10] = 104 * MS
    late_ns[2, 60] = 30 * SECOND  # held up after the meeting, once

    run = run_of(base, [right] * 3, 40, late_ns=lambda rank, index: int(late_ns[rank, index]))
    assert list(clock_checks(run)) == []


def test_a_rank_held_up_for_long_after_one_meeting_is_no_jump(base: Run) -> None:
    def late_ns(rank: int, index: int) -> int:
        return 30 * SECOND if (rank, index) == (2, 15) else 0

    assert list(clock_checks(run_of(base, [right] * 3, late_ns=late_ns))) == []


@pytest.mark.parametrize(("by_ns", "way"), [(2 * SECOND, "ahead"), (-2 * SECOND, "back")])
@pytest.mark.parametrize("last_before", [3, 20, 21, 38])
def test_a_jump_is_told_from_a_rate_and_placed(
    base: Run, by_ns: int, way: str, last_before: int
) -> None:
    jumped = jumping(by_ns, last_before * SECOND - MS)
    found = only(run_of(base, [right, jumped, right], boots="aab"))
    assert found == Check(
        "suspect",
        f"the clock of rank 1 on node-a jumped {way} by 2.000 s against those of the other ranks, "
        f"during or after block {last_before} of forward: {checks.JUMP_ADVICE}",
    )


def test_of_two_ranks_nobody_knows_which_jumped(base: Run) -> None:
    run = run_of(base, [jumping(-2 * SECOND, 5 * SECOND), right], boots="ab")
    # the rank behind is taken for the usual one
    assert "rank 1 on node-b jumped ahead by 2.000 s against those of the other ranks, or" in (
        only(run).text
    )


def test_a_shifted_clock_is_a_note_with_its_size_and_host(base: Run) -> None:
    clocks = [right, right, ahead(-90 * MS), right, ahead(400 * SECOND)]
    found = only(run_of(base, clocks, boots="aaaab"))
    assert found == Check(
        "note",
        "the clock of rank 2 on node-a is 90.00 ms behind those of the other ranks there, which "
        f"share one clock: {checks.OFFSET_ADVICE}",
    )


def test_a_shift_needs_more_where_fewer_meetings_show_it(base: Run) -> None:
    clocks = [right, right, ahead(190 * MS), ahead(210 * MS)]
    text = only(run_of(base, clocks, meetings=5)).text  # 1 s / 5
    assert text.startswith("the clock of rank 3 on node-a is 210.0 ms ahead of those")


def test_ranks_that_do_not_tell_their_boot_are_not_compared(base: Run) -> None:
    run = run_of(base, [right, right, ahead(9 * SECOND)])
    assert len(list(clock_checks(run))) == 1
    assert list(clock_checks(with_boots(run, ["", "", ""]))) == []


def test_a_shift_may_be_larger_than_a_float_holds_exactly(base: Run) -> None:
    uptime_ns = 4 * 10**17  # of years
    run = run_of(base, [ahead(uptime_ns), ahead(uptime_ns), ahead(uptime_ns + 80 * MS)])
    assert "rank 2 on node-a is 80.00 ms ahead" in only(run).text


def test_meetings_are_those_of_the_largest_groups() -> None:
    rows = [
        row
        for rank in (0, 1, 2)
        for row in (
            (rank, "world", 0, 100 * rank),
            *((rank, f"alone-0000{rank}", index, 77) for index in range(5)),
            *([(rank, "size-2", 1, 5)] if rank < 2 else []),
            (rank, "independent", 1, 100 * rank + 30),
            (rank, "world", 1, 100 * rank + 20),  # a clock that went back does not change the order
        )
    ]
    met = meetings(frame(rows))
    assert met is not None
    assert met.ranks.tolist() == [0, 1, 2]
    assert met.start_ns.tolist() == [[0, 30, 20], [100, 130, 120], [200, 230, 220]]
    assert met.names == (
        "the warm-up of forward",
        "block 1 of forward of independent",
        "block 1 of forward",
    )


def test_a_rank_that_stopped_early_is_left_out_and_a_lost_block_is_too() -> None:
    rows = [(rank, "world", index, index) for rank in (0, 1, 2) for index in range(6)]
    rows = [row for row in rows if not (row[0] == 0 and row[2] >= 2) and row[:3] != (2, "world", 3)]
    met = meetings(frame(rows))
    assert met is not None
    assert met.ranks.tolist() == [1, 2]
    assert met.start_ns.tolist() == [[0, 1, 2, 4, 5]] * 2


def test_the_first_piece_of_a_block_says_when_it_began() -> None:
    rows = [(rank, "world", index, at) for rank in (0, 1) for index, at in ((0, 1), (0, 5), (1, 9))]
    met = meetings(frame(rows))
    assert met is not None
    assert met.start_ns.tolist() == [[1, 9]] * 2


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(0, "world", index, index) for index in range(9)],
        [(rank, "world", 1, 5) for rank in range(9)],
        [(rank, f"alone-0000{rank}", index, 5) for rank in range(2) for index in range(9)],
    ],
    ids=["nothing", "one rank", "one meeting", "alone in turn"],
)
def test_without_two_ranks_at_two_meetings_there_is_nothing_to_say(rows: list[Any]) -> None:
    assert meetings(frame(rows)) is None


def test_records_without_any_time_between_them_say_nothing(run_directory: Path) -> None:
    write_run(run_directory, [[block("forward", index, [1.0]) for index in range(20)]] * 3)
    assert list(clock_checks(load_run(run_directory))) == []


@pytest.mark.parametrize("seed", range(4))
def test_no_alarm_in_simulated_runs(tmp_path: Path, seed: int) -> None:
    cluster = Cluster(
        ranks=8, ranks_per_node=4, noise=0.1, slow_rank=(SlowRank(3, 1.5),), drift=0.2
    )
    overrides = {"sizes": (1, 2, 4, 8), "steps": 30, "seed": seed, "output": str(tmp_path / "run")}
    simulate(cluster, resolve(overrides, on_gpu=True, world_size=8))
    run = load_run(tmp_path / "run")
    met = meetings(run.blocks)
    assert met is not None
    assert met.start_ns.shape[0] == 8  # so that there was something to judge
    assert met.start_ns.shape[1] >= 30
    assert list(clock_checks(run)) == []


def test_no_alarm_in_the_example(base: Run) -> None:
    assert list(clock_checks(base)) == []


def test_thousands_of_ranks_take_few_words(base: Run) -> None:
    start_ns = np.arange(110) * SECOND + np.zeros((4096, 1), dtype=np.int64)
    start_ns[1000:1100] += start_ns[1000:1100] // 50
    met = checks.Meetings(np.arange(4096), ("a block",) * 110, start_ns)
    odd, found = checks._rates(with_boots(base, ["a"] * 4096), met, np.zeros(4096, dtype=bool))
    assert np.flatnonzero(odd).tolist() == list(range(1000, 1100))
    assert found is not None
    assert "the clock of rank 1000 on node-a (and of 99 more ranks) runs 2.0 % fast" in found.text
