"""What a run lacks, in few words however many ranks lack it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from distbench.analysis.run_frames import host_of
from distbench.config import SELF_ALLREDUCE, Config
from distbench.groups import WORLD, nodes_of, plan_groups
from distbench.plan import PlannedBlock, plan_blocks
from distbench.records import RankRecords, raw_file_name

NAMED_RANKS = 2  # of many that lack the same; the others are counted
NAMED_PLACES = 2  # of many lines with the same problem
MOST_REASONS = 8  # of one kind, where each rank has a reason of its own
BlockKey = tuple[str, str, int, bool]  # phase, group, block, whether warm-up


class Reason(NamedTuple):
    """What one rank lacks. `of_one` and `of_many` go on a sentence that begins with the rank, or ranks."""

    rank: int
    kind: str
    of_one: str
    of_many: str


def ranks_in_words(ranks: Sequence[int]) -> str:
    """'rank 3', 'ranks 3 and 7', or 'ranks 3, 7 and 120 others', in the order given."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    return f"ranks {_in_words([str(rank) for rank in ranks], NAMED_RANKS)}"


def _in_words(names: Sequence[str], most: int) -> str:
    left = len(names) - most
    if left <= 0:
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{', '.join(names[:most])} and {left} other{'s' if left > 1 else ''}"


def problems_in_words(ranks: Sequence[RankRecords]) -> Iterator[str]:
    """The lines that could not be trusted; those with the same problem are told together."""
    places: dict[str, list[str]] = {}
    for records in ranks:
        for problem in records.problems:
            place, _, what = problem.partition(": ")
            places.setdefault(what, []).append(place)
    for what, found in places.items():
        yield f"{_in_words(found, NAMED_PLACES)}: {what}"


def reasons_incomplete(ranks: Sequence[RankRecords], size: int, config: Config) -> Iterator[str]:
    """Why a run of `size` ranks is not whole, the first cause first; nothing where it is."""
    present = [records for records in ranks if records.header is not None]
    absent = sorted(set(range(size)) - {records.rank for records in present})
    if absent:
        first = raw_file_name(absent[0])
        file = f"({first})" if len(absent) == 1 else f"({first} is the first such)"
        yield f"{ranks_in_words(absent)} left no record {file}"
    yield from _in_few_words(_reasons(present, size, config))


def _in_few_words(reasons: Iterable[Reason]) -> Iterator[str]:
    """One line for each reason, and one for what is left of a kind with very many."""
    alike: dict[tuple[str, str], list[Reason]] = {}
    for reason in reasons:
        alike.setdefault((reason.kind, reason.of_one), []).append(reason)
    told: dict[str, int] = {}
    left: dict[str, list[int]] = {}
    for (kind, _), same in alike.items():
        ranks = [reason.rank for reason in same]
        told[kind] = told.get(kind, 0) + 1
        if told[kind] > MOST_REASONS:
            left.setdefault(kind, []).extend(ranks)
        else:
            yield f"{ranks_in_words(ranks)} {same[0].of_one if len(same) == 1 else same[0].of_many}"
    for kind, ranks in left.items():
        yield f"{ranks_in_words(ranks)} {kind}, each in another way"


def _reasons(present: Sequence[RankRecords], size: int, config: Config) -> Iterator[Reason]:
    whole = len(present) == size
    groups = (
        plan_groups(config, nodes_of([host_of(records) for records in present])) if whole else ()
    )
    plan = [(block, frozenset(block.group.ranks)) for block in plan_blocks(config, groups)]
    # The first cause comes first: a rank that only felt another's failure says so in its record.
    for records in sorted(present, key=_distance_from_cause):
        if records.failure is not None:
            sentence = f"failed: {records.failure.get('sentence')}"
            yield Reason(records.rank, "failed", sentence, sentence)
        elif records.end is None:
            place = _last_place(records)
            yield Reason(
                records.rank,
                "stopped",
                f"has no end line; it stopped {place}",
                f"have no end line; they stopped {place}",
            )
        if records.end is not None:
            yield from _missing_blocks(records, _planned_steps(records.rank, plan))


def _distance_from_cause(records: RankRecords) -> int:
    """0 for a rank that failed itself, 1 for one that was ended, 2 for one that felt another's end."""
    if records.failure is None:
        return 1
    return 2 if records.failure.get("is_echo") else 0


def _planned_steps(
    rank: int, plan: Sequence[tuple[PlannedBlock, frozenset[int]]]
) -> dict[BlockKey, int]:
    """How many steps a rank has in each block of each group that it is in."""
    return {
        (block.phase, block.group.record_name(rank), block.block, block.warmup): block.steps
        for block, members in plan
        if rank in members
    }


def _missing_blocks(records: RankRecords, planned: dict[BlockKey, int]) -> Iterator[Reason]:
    """The blocks of the plan that a finished rank's file does not hold."""
    held: dict[BlockKey, int] = {}
    for block in records.blocks:
        key = (block["phase"], block["group"], block["block"], block["warmup"])
        held[key] = held.get(key, 0) + len(block["duration_ns"])
    controls = {SELF_ALLREDUCE} - {
        phase for phase, *_ in held
    }  # runs before there was one are whole
    lacking = [
        key
        for key, steps in planned.items()
        if held.get(key, 0) != steps and key[0] not in controls
    ]
    if lacking:
        phase, group, index, warmup = lacking[0]
        name = "warm-up" if warmup else f"block {index}"
        more = f" (and {len(lacking) - 1} more blocks)" if len(lacking) > 1 else ""
        steps = (
            f"{held.get(lacking[0], 0)} of the {planned[lacking[0]]} steps "
            f"of {phase}{_of_group(group)}, {name}{more}"
        )
        yield Reason(records.rank, "lack steps", f"holds {steps}", f"hold {steps}")


def _last_place(records: RankRecords) -> str:
    if not records.blocks:
        return "before its first block"
    last = records.blocks[-1]
    name = "the warm-up" if last["warmup"] else f"block {last['block']}"
    return f"after {name} of {last['phase']}{_of_group(last['group'])}"


def _of_group(group: str) -> str:
    return "" if group == WORLD else f" of {group}"
