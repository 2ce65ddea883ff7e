"""What a run lacks, in few words however many ranks lack it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from distbench.analysis.run_frames import host_of
from distbench.config import SELF_ALLREDUCE, Config
from distbench.groups import MOST_TURNS, WORLD, nodes_of, plan_groups
from distbench.plain_text import printable
from distbench.plan import PlannedBlock, plan_blocks
from distbench.records import RankRecords, raw_file_name

NAMED_RANKS = 2  # of many that lack the same; the others are counted
NAMED_PLACES = 2  # of many lines with the same problem
MOST_REASONS = 8  # of one kind, where each rank has a reason of its own
MOST_PROBLEMS = 20  # that differ from each other
MOST_PLANNED = 1_000_000  # blocks of all groups, which are to be held against the records
LONGEST_SENTENCE = 600  # of what a rank says itself
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


def problems_in_words(ranks: Sequence[RankRecords], others: Iterable[str] = ()) -> Iterator[str]:
    """What could not be trusted: `others`, then lines; those with the same problem are told together.

    Of very many different problems only the first are told, and the others counted.
    """
    places: dict[str, list[str]] = {}
    for problem in (*others, *(one for records in ranks for one in records.problems)):
        place, _, what = problem.partition(": ")
        places.setdefault(what, []).append(place)
    for what, found in list(places.items())[:MOST_PROBLEMS]:
        yield printable(f"{_in_words(found, NAMED_PLACES)}: {what}")
    left = sum(map(len, list(places.values())[MOST_PROBLEMS:]))
    if left:
        yield f"and {left} more, which the first of each file explain; look at raw/ for all"


def reasons_incomplete(
    ranks: Sequence[RankRecords], size: int, config: Config, settings_crc32: str | None = None
) -> Iterator[str]:
    """Why a run of `size` ranks is not whole, the first cause first; nothing where it is.

    `settings_crc32` is the checksum of the settings in config.json; headers may tell it too.
    """
    present = [records for records in ranks if records.header is not None]
    absent = sorted(set(range(size)) - {records.rank for records in present})
    if absent:
        first = raw_file_name(absent[0])
        file = f"({first})" if len(absent) == 1 else f"({first} is the first such)"
        yield f"{ranks_in_words(absent)} left no record {file}"
    yield from _contradictions(present, settings_crc32)
    planned = _planned_blocks(config)
    if planned > MOST_PLANNED:
        yield (
            f"config.json plans some {planned:.0e} blocks, far more than a run holds, so that what is "
            "missing was not looked for"
        )
        config = Config(phases=())
    yield from _in_few_words(_reasons(present, size, config))


def _planned_blocks(config: Config) -> int:
    """About how many blocks a run has in all its groups, at most."""
    sizes = len(config.sizes)
    groups = sizes + MOST_TURNS + 2 if sizes else 1
    return (config.blocks + 1) * len(config.phases) * groups + sizes**2


def _told(name: str, present: Sequence[RankRecords]) -> list[tuple[int, Any]]:
    """Each rank with the value of `name` in its header, where there is one."""
    headers = [(records.rank, records.header or {}) for records in present]
    return [(rank, header[name]) for rank, header in headers if name in header]


def _contradictions(present: Sequence[RankRecords], settings_crc32: str | None) -> Iterator[str]:
    """Where headers say what cannot be true of one run."""
    for name, what in (("size", "number of ranks"), ("grad_bytes", "size of the gradients")):
        told = _told(name, present)
        usual = Counter(value for _, value in told).most_common(1)
        others = [(rank, value) for rank, value in told if value != usual[0][0]]
        if others:
            names = ranks_in_words([rank for rank, _ in others])
            yield f"{names}: the {what} is {others[0][1]} there and {usual[0][0]} elsewhere"
    if settings_crc32 is not None:
        told = _told("settings_crc32", present)
        others = [(rank, value) for rank, value in told if value != settings_crc32]
        if others:
            names = ranks_in_words([rank for rank, _ in others])
            yield f"{names}: config.json was changed, or is not that of this run"


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
    plan = _plan(present, size, config)
    at_first_hand = {_failure_of(one) for one in present if _distance_from_cause(one) == 0}
    # The first cause comes first: a rank that only felt another's failure says so in its record.
    for records in sorted(present, key=_distance_from_cause):
        if records.failure is not None:
            sentence = _failure_of(records)
            if _distance_from_cause(records) == 0 or sentence not in at_first_hand:
                yield Reason(records.rank, "failed", f"failed: {sentence}", f"failed: {sentence}")
        elif records.end is None:
            place = _last_place(records)
            yield Reason(
                records.rank,
                "stopped",
                f"has no end line; it stopped {place}",
                f"have no end line; they stopped {place}",
            )
        if plan:
            yield from _other_blocks(records, _planned_steps(records.rank, plan))


def _failure_of(records: RankRecords) -> str:
    """What a rank says of its failure, made safe to show."""
    sentence = printable(str((records.failure or {}).get("sentence")))
    return sentence if len(sentence) <= LONGEST_SENTENCE else f"{sentence[:LONGEST_SENTENCE]}…"


Plan = Sequence[tuple[PlannedBlock, frozenset[int]]]


def _plan(present: Sequence[RankRecords], size: int, config: Config) -> Plan:
    """The blocks of all groups; none where a rank left no header, which may have been on any node."""
    if [records.rank for records in present] != list(range(size)) or not config.phases:
        return []
    groups = plan_groups(config, nodes_of([host_of(records) for records in present]))
    return [(block, frozenset(block.group.ranks)) for block in plan_blocks(config, groups)]


def _distance_from_cause(records: RankRecords) -> int:
    """0 for a rank that failed itself, 1 for one that was ended, 2 for one that felt another's end."""
    if records.failure is None:
        return 1
    return 2 if records.failure.get("is_echo") else 0


def _planned_steps(rank: int, plan: Plan) -> dict[BlockKey, int]:
    """How many steps a rank has in each block of each group that it is in."""
    return {
        (block.phase, block.group.record_name(rank), block.block, block.warmup): block.steps
        for block, members in plan
        if rank in members
    }


def _other_blocks(records: RankRecords, planned: dict[BlockKey, int]) -> Iterator[Reason]:
    """The blocks of the plan that a finished rank's file does not hold, and those of no plan."""
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
    if lacking and records.end is not None:
        have, wanted = held.get(lacking[0], 0), planned[lacking[0]]
        steps = f"{have} of the {wanted} steps of {_blocks_in_words(lacking)}"
        yield Reason(records.rank, "lack steps", f"holds {steps}", f"hold {steps}")
    unplanned = [key for key in held if key not in planned]
    if unplanned:
        steps = f"steps that config.json does not plan: {_blocks_in_words(unplanned)}"
        yield Reason(records.rank, "hold other steps", f"holds {steps}", f"hold {steps}")


def _blocks_in_words(keys: Sequence[BlockKey]) -> str:
    phase, group, index, warmup = keys[0]
    name = "warm-up" if warmup else f"block {index}"
    more = f" (and {len(keys) - 1} more blocks)" if len(keys) > 1 else ""
    return printable(f"{phase}{_of_group(group)}, {name}{more}")


def _last_place(records: RankRecords) -> str:
    if not records.blocks:
        return "before its first block"
    last = records.blocks[-1]
    name = "the warm-up" if last["warmup"] else f"block {last['block']}"
    return printable(f"after {name} of {last['phase']}{_of_group(last['group'])}")


def _of_group(group: str) -> str:
    return "" if group == WORLD else f" of {group}"
