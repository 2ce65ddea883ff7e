"""What this rank has heard of the others, over the line beside Horovod. Knows no sockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from distbench.worker.pulse import Place, Standing
from distbench.worker.stall import Cause, Heard, cause_of_loss

Message = dict[str, Any]


@dataclass
class Peer:
    """What is known of another rank; times are those of this rank's own clock."""

    heard_s: float
    moved_s: float
    standing: Standing | None = None
    failed: Cause | None = None
    failed_s: float = 0.0
    lost_s: float | None = None  # when its connection ended without a word
    has_left: bool = False


class Peers:
    """The ranks at the other ends of this rank's lines."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._news = threading.Condition()
        self._by_rank: dict[int, Peer] = {}
        self.order: Cause | None = None  # of rank 0, to end

    def expect(self, ranks: Sequence[int]) -> None:
        """These ranks are to be heard of from now on."""
        now_s = self._clock_s()
        self._by_rank = {rank: Peer(now_s, now_s) for rank in ranks}

    def forget(self, ranks: Sequence[int]) -> None:
        """Of these ranks nothing will be heard."""
        for rank in ranks:
            self._by_rank.pop(rank, None)

    def hear(self, rank: int, message: Message) -> None:
        """Files what a rank said: a beat, a failure, a farewell, or the order to end.

        Raises ValueError where it is none of these; the line is then cut.
        """
        peer = self._by_rank.get(rank)
        if peer is None:
            raise ValueError(f"rank {rank} is not expected")
        now_s = peer.heard_s = self._clock_s()
        with self._news:
            if "beat" in message:
                _note_beat(peer, message["beat"], now_s)
            elif "failed" in message:
                peer.failed, peer.failed_s = read_cause(message["failed"]), now_s
            elif "bye" in message:
                peer.has_left = True
            elif "end" in message and rank == 0:
                self.order = read_cause(message["end"])
            else:
                raise ValueError("no message of ours")
            self._news.notify_all()

    def lose(self, rank: int) -> None:
        """A rank's line has ended."""
        peer = self._by_rank.get(rank)
        if peer is not None and not peer.has_left and peer.failed is None:
            with self._news:
                peer.lost_s = self._clock_s()
                self._news.notify_all()

    def failure(self, loss_grace_s: float = 0.0) -> Cause | None:
        """The first failure of another rank: one that it told, or a loss of `loss_grace_s` ago.

        Launchers send signals to all ranks when one was lost or failed: those come last.
        """
        if self.order is not None:
            return self.order
        now_s = self._clock_s()
        found: list[tuple[bool, float, int, Cause]] = []
        for rank, peer in self._by_rank.items():
            if peer.failed is not None:
                found.append((peer.failed.is_signal, peer.failed_s, rank, peer.failed))
            elif peer.lost_s is not None and now_s - peer.lost_s >= loss_grace_s:
                stage = peer.standing.stage if peer.standing else ""
                found.append((False, peer.lost_s, rank, cause_of_loss(rank, stage)))
        return min(found)[3] if found else None

    def failed_since_s(self) -> float | None:
        """How long ago the first failure was told; None where none was."""
        told = [peer.failed_s for peer in self._by_rank.values() if peer.failed is not None]
        return self._clock_s() - min(told) if told else None

    def wait_for_failure(self, patience_s: float) -> Cause | None:
        """`failure`, as soon as one is known, for at most so long."""
        with self._news:
            self._news.wait_for(lambda: self.failure() is not None, timeout=patience_s)
        return self.failure()

    def all_heard(self) -> dict[int, Heard]:
        """What is known of every rank that has not left."""
        now_s = self._clock_s()
        return {
            rank: Heard(peer.standing, now_s - peer.heard_s)
            for rank, peer in self._by_rank.items()
            if not peer.has_left
        }

    def last_move_s(self) -> float:
        """When any of them was seen to move last, by this rank's clock; minus infinity for none."""
        return max((peer.moved_s for peer in self._by_rank.values()), default=float("-inf"))


def _note_beat(peer: Peer, said: Any, now_s: float) -> None:
    place, stage, code, is_waiting = said
    standing = Standing(
        Place(*map(int, place)), str(stage)[:200], str(code)[:200], bool(is_waiting)
    )
    if peer.standing is None or standing.place != peer.standing.place:
        peer.moved_s = now_s
    peer.standing = standing


def read_cause(said: Any) -> Cause:
    """A cause as it travels; ValueError or TypeError where it is none."""
    sentence, exit_code, ranks, error = said
    return Cause(str(sentence)[:4000], int(exit_code), tuple(map(int, ranks)), str(error)[:100])
