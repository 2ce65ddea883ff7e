"""Who holds the job up: a judgement over what all ranks said last. Knows no threads and no sockets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from distbench import units
from distbench.errors import RankFailedError, TimeLimitError
from distbench.worker.pulse import Standing

SIGNALLED = 128  # and the signal's number: the exit code of what a signal ended
MOST_NAMED = 8  # ranks in one sentence
LOST = "RankLost"  # the kind of error of a rank that could not name one


class Cause(NamedTuple):
    """Why a job ends before its end. `ranks` are those that it lies with; none where that is not known."""

    sentence: str
    exit_code: int
    ranks: tuple[int, ...] = ()
    error: str = TimeLimitError.__name__  # the kind, by the name of its class; or a signal's name

    @property
    def is_signal(self) -> bool:
        """Whether somebody told the rank to end; it has then told nobody but rank 0."""
        return self.exit_code > SIGNALLED

    @property
    def is_loss(self) -> bool:
        """Whether the rank ended without a word, so that others must tell it."""
        return self.error == LOST

    @property
    def is_told_by_its_rank(self) -> bool:
        """Whether the rank that it lies with has said so itself, on its own stderr."""
        return not (self.is_loss or self.is_signal)


class Heard(NamedTuple):
    """What is known of one rank, and how long ago it was heard of."""

    standing: Standing | None  # None where it never said a word
    silent_s: float


def cause_of_stall(what: str, ranks: Mapping[int, Heard], silence_s: float, setting: str) -> Cause:
    """The cause where the job does not move; `what` says for how long it did not.

    Ranks that have been silent for `silence_s` are frozen: their own watch would speak while they
    hang. Else it lies with those that are behind the others or, where none is, with those that do
    something else than wait. `setting` is the flag that allows more time.
    """
    more = f"more time is given with {setting}"
    silent = [rank for rank, heard in ranks.items() if heard.silent_s >= silence_s]
    if silent:
        return Cause(
            f"{what}: {named(silent)} {_do(silent, 'is', 'are')} frozen (no sign of life from "
            f"{'its' if len(silent) == 1 else 'their'} process for "
            f"{units.seconds(min(ranks[rank].silent_s for rank in silent), 3)}): see whether the "
            f"process is stopped or its node is down; {more}",
            TimeLimitError.exit_code,
            tuple(silent),
        )
    behind = _behind(ranks)
    if not behind:
        first = next(iter(ranks.values())).standing
        where = f" in {first.stage}" if first else ""
        return Cause(
            f"{what}: all {len(ranks)} ranks wait{where}: a collective or the device does not end; "
            f"the stacks are in stacks/; see to the network and the devices; {more}",
            TimeLimitError.exit_code,
        )
    slow = ranks[behind[0]].standing
    assert slow is not None  # silent ranks never said less
    return Cause(
        f"{what}: the others wait for {named(behind)}, which {_do(behind, 'stands', 'stand')} at "
        f"{slow.code} in {slow.stage}; the stacks are in stacks/; {more}",
        TimeLimitError.exit_code,
        tuple(behind),
    )


def cause_of_loss(rank: int, stage: str) -> Cause:
    """The cause where a rank's process ended without a word."""
    where = f" (last heard of in {stage})" if stage else ""
    return Cause(
        f"rank {rank} was lost{where}: its process ended without a word (killed, out of memory, "
        "crashed, or left early); see the launcher's output and the node's kernel log (dmesg)",
        RankFailedError.exit_code,
        (rank,),
        LOST,
    )


def named(ranks: Sequence[int]) -> str:
    """'rank 3', 'ranks 1, 2 and 5', or the first few and how many more."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    shown = [str(rank) for rank in ranks[:MOST_NAMED]]
    if len(ranks) > MOST_NAMED:
        return f"ranks {', '.join(shown)} and {len(ranks) - MOST_NAMED} more"
    return f"ranks {', '.join(shown[:-1])} and {shown[-1]}"


def _behind(ranks: Mapping[int, Heard]) -> list[int]:
    """The ranks that have come less far than another; else those that do not wait, if any waits."""
    standings = {rank: heard.standing for rank, heard in ranks.items() if heard.standing}
    furthest = max(standing.place for standing in standings.values())
    behind = [rank for rank, standing in standings.items() if standing.place < furthest]
    if behind:
        least = min(standings[rank].place for rank in behind)
        behind = [rank for rank in behind if standings[rank].place == least]
        return [rank for rank in behind if not standings[rank].is_waiting] or behind
    busy = [rank for rank, standing in standings.items() if not standing.is_waiting]
    return busy if len(busy) < len(standings) or len(ranks) == 1 else []


def _do(ranks: Sequence[int], one: str, many: str) -> str:
    return one if len(ranks) == 1 else many
