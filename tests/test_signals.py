from __future__ import annotations

import os
import select
import signal

import pytest

from distbench.worker.signals import Signals, cause_of_signal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_is_heard_and_everything_put_back(number: int) -> None:
    before = signal.getsignal(number)
    signals = Signals()
    signals.install()
    try:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert select.select([signals.reader], [], [], 5.0)[0]
        signals.read()
        assert signals.received == number  # the second one changes nothing
    finally:
        signals.remove()
    assert signal.getsignal(number) == before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signals = Signals()
    try:
        signals.install()
        os.kill(os.getpid(), signal.SIGINT)
        signals.wake()
        signals.read()
        assert signals.received is None
        signals.remove()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_cause_has_the_shells_exit_code() -> None:
    cause = cause_of_signal(signal.SIGTERM, 3, "train_step, block 2")
    assert cause.sentence == (
        "rank 3 received SIGTERM in train_step, block 2; what was measured until then is kept"
    )
    assert (cause.exit_code, cause.ranks, cause.error, cause.is_signal) == (
        143,
        (3,),
        "SIGTERM",
        True,
    )
