"""The errors that distbench tells its user, each with its exit code.

DistbenchError                  1   (never raised itself)
├── UsageError                  2   a flag, variable or file holds a wrong value
├── MismatchError               3   the ranks do not hold the same configuration or versions
├── RankFailedError             4   a rank failed, so that what was measured is incomplete
├── TimeLimitError              5   the run, or a part of it, did not end within its time limit
├── CorrectnessError            6   a phase does not do its work, so that no speed may be shown
├── MissingPartError            8   this machine lacks a package, a build option or a device
├── OutputError                 9   the run directory exists already or cannot be written
├── RecordsError               10   there are no readable records to report on
└── SlowerError                11   compare: B is slower than A by more than --fail-above

0 is success and 1 an error of distbench itself, with its traceback. What a signal ended leaves with
128 + the signal's number, such as 130 or 143. 7 is kept for unstable results. `horovodrun` over Gloo
turns each non-zero code into 1, so every sentence carries its code, and `status.json` holds it too.
"""

from __future__ import annotations

from typing import Self


class DistbenchError(Exception):
    """A sentence that says what was found, what was wanted and what to do."""

    exit_code = 1
    # Set where every rank raises the same error together, so that rank 0 alone needs to tell it.
    on_every_rank = False
    # Set where another rank failed first and has told it: this one only felt the consequence.
    is_echo = False

    def __str__(self) -> str:
        return f"{super().__str__()} (exit code {self.exit_code})"

    @property
    def sentence(self) -> str:
        """The message alone, without the exit code."""
        return super().__str__()

    def of_every_rank(self) -> Self:
        """The same error, marked as one that every rank raises."""
        self.on_every_rank = True
        return self


class UsageError(DistbenchError):
    """A flag, an environment variable or a settings file holds a wrong value."""

    exit_code = 2


class MismatchError(DistbenchError):
    """The ranks do not hold the same configuration or the same versions."""

    exit_code = 3


class RankFailedError(DistbenchError):
    """A rank failed; what had been measured until then is on disk."""

    exit_code = 4


class TimeLimitError(DistbenchError):
    """The run, or a part of it, did not end within its time limit."""

    exit_code = 5


class CorrectnessError(DistbenchError):
    """A phase does not do the work that it is timed for."""

    exit_code = 6


class MissingPartError(DistbenchError):
    """A package, a build option or a device is missing on this machine."""

    exit_code = 8


class OutputError(DistbenchError):
    """The run directory exists already, or it cannot be written."""

    exit_code = 9


class RecordsError(DistbenchError):
    """A run directory holds no records that can be read."""

    exit_code = 10


class SlowerError(DistbenchError):
    """A comparison found a slowdown larger than was allowed, and not by chance."""

    exit_code = 11


def first_line(error: BaseException) -> str:
    """What a foreign error says first, short enough for one sentence; its type where it says nothing."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")[:300]


ERROR_KINDS: dict[str, type[DistbenchError]] = {
    kind.__name__: kind
    for kind in (
        UsageError,
        MismatchError,
        RankFailedError,
        TimeLimitError,
        CorrectnessError,
        MissingPartError,
        OutputError,
        RecordsError,
        SlowerError,
    )
}
