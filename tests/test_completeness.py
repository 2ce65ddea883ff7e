from __future__ import annotations

from pathlib import Path

import pytest

from distbench.analysis.collect import load_run
from distbench.analysis.completeness import (
    MOST_REASONS,
    problems_in_words,
    ranks_in_words,
    reasons_incomplete,
)
from distbench.groups import WORLD
from distbench.layout import RunLayout
from distbench.records import RankRecords, raw_file_name
from tests.fakes import ladder_blocks, small_config, write_run


def of_ranks(directory: Path, count: int, unfinished: list[int]) -> RunLayout:
    return write_run(directory, [ladder_blocks(rounds=1)] * count, unfinished=unfinished)


@pytest.mark.parametrize(
    ("ranks", "words"),
    [
        ([3], "rank 3"),
        ([3, 7], "ranks 3 and 7"),
        ([3, 7, 9], "ranks 3, 7 and 1 other"),
        ([7, 3, *range(10, 130)], "ranks 7, 3 and 120 others"),
    ],
)
def test_ranks_in_words(ranks: list[int], words: str) -> None:
    assert ranks_in_words(ranks) == words


def test_ranks_that_stopped_at_the_same_place_are_told_together(run_directory: Path) -> None:
    of_ranks(run_directory, 6, unfinished=[1, 2, 4, 5])
    assert load_run(run_directory).incomplete == (
        "ranks 1, 2 and 2 others have no end line; they stopped after block 1 of train_step",
    )


def test_ranks_that_stopped_elsewhere_are_told_apart(run_directory: Path) -> None:
    blocks = ladder_blocks(rounds=1)
    write_run(run_directory, [blocks, blocks[:7], blocks[:7], []], unfinished=[1, 2, 3])
    assert load_run(run_directory).incomplete == (
        "ranks 1 and 2 have no end line; they stopped after block 1 of forward_backward",
        "rank 3 has no end line; it stopped before its first block",
    )


def test_ranks_without_a_file_are_told_together(run_directory: Path) -> None:
    layout = of_ranks(run_directory, 4, unfinished=[])
    for rank in (1, 3):
        (layout.raw / raw_file_name(rank)).unlink()
    assert load_run(run_directory).incomplete == (
        "ranks 1 and 3 left no record (rank-00001.jsonl is the first such)",
    )


def failed(rank: int, sentence: str, is_echo: bool = False) -> RankRecords:
    failure = {"sentence": sentence, "is_echo": is_echo}
    return RankRecords(rank, header={"host": "node", "size": 20}, failure=failure)


def reasons(ranks: list[RankRecords], size: int) -> list[str]:
    return list(reasons_incomplete(ranks, size, small_config()))


def test_the_first_cause_is_first_and_the_same_sentence_is_told_once() -> None:
    ranks = [failed(rank, "another rank ended", is_echo=rank != 2) for rank in range(4)]
    ranks[2] = failed(2, "no space left")
    assert reasons(ranks, 4) == [
        "rank 2 failed: no space left",
        "ranks 0, 1 and 1 other failed: another rank ended",
    ]


def test_an_echo_of_what_a_rank_says_itself_adds_nothing() -> None:
    ranks = [failed(0, "rank 1 failed: by zero", is_echo=True), failed(1, "rank 1 failed: by zero")]
    assert reasons(ranks, 2) == ["rank 1 failed: rank 1 failed: by zero"]


def test_very_many_sentences_end_in_a_count() -> None:
    found = reasons([failed(rank, f"I am {rank}") for rank in range(20)], 20)
    assert found[0] == "rank 0 failed: I am 0"
    assert len(found) == MOST_REASONS + 1
    assert (
        found[-1]
        == f"ranks {MOST_REASONS}, {MOST_REASONS + 1} and 10 others failed, each in another way"
    )


def test_a_finished_rank_that_lacks_blocks_is_named_beside_one_that_does_not(
    run_directory: Path,
) -> None:
    blocks = ladder_blocks(rounds=2)
    write_run(run_directory, [blocks, blocks[:-1], blocks[:-1]])
    assert load_run(run_directory).incomplete == (
        "ranks 1 and 2 hold 0 of the 2 steps of train_step, block 2",
    )


def test_a_whole_run_lacks_nothing(run_directory: Path) -> None:
    of_ranks(run_directory, 3, unfinished=[])
    run = load_run(run_directory)
    assert (run.incomplete, run.problems) == ((), ())
    assert set(run.steps["group"]) == {WORLD}


def test_lines_with_the_same_problem_are_told_together() -> None:
    ranks = [
        RankRecords(0, problems=["rank-00000.jsonl line 4: torn", "rank-00000.jsonl: gone: x"])
    ]
    ranks += [
        RankRecords(rank, problems=[f"rank-0000{rank}.jsonl line 9: torn"]) for rank in (1, 2)
    ]
    assert list(problems_in_words(ranks)) == [
        "rank-00000.jsonl line 4, rank-00001.jsonl line 9 and 1 other: torn",
        "rank-00000.jsonl: gone: x",
    ]
