"""Why a launch failed, from what it left: status.json, the ranks' records, its log, and the kernel."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from pathlib import Path

from distbench.durable_files import read_object
from distbench.layout import AttemptLayout
from distbench.records import RankRecords
from distbench.study.run_evidence import rank_records

MOST_LOG_BYTES = 256 * 1024  # of its end
LONGEST_CAUSE = 400
# Errors that say so themselves; TensorFlow's warnings of a full allocator are none.
_MEMORY_ERROR = re.compile(
    r"ResourceExhausted|MemoryError|OOM when allocating|std::bad_alloc|CUDA_ERROR_OUT_OF_MEMORY"
    r"|Cannot allocate memory"
)
# A process of the launch, by horovodrun and by mpirun: 128 + the signal, or the signal.
_STATUS = re.compile(r"(?:exit with status code|Exit code:) (\d{1,3})\b")
_SIGNAL = re.compile(r"exited on signal (\d{1,2})\b")
# What launchers put before a rank's line: '[0]<stderr>:' or '[1,0]<stderr>:', and a stamp.
_PREFIX = re.compile(r"^.{0,40}?\[[0-9,]+\]<std(?:err|out)>:\s?")


def out_of_memory_kills() -> int:
    """How often this machine's kernel has ended a process for lack of memory since it was started."""
    try:
        text = Path("/proc/vmstat").read_text()
    except OSError:
        return 0
    found = re.search(r"^oom_kill (\d+)$", text, flags=re.MULTILINE)
    return int(found[1]) if found else 0


def cause_of_failure(
    layout: AttemptLayout, exit_code: int | None, ranks: int, memory_kills: int
) -> tuple[bool, str]:
    """Whether memory ran out, and the cause in a sentence.

    `memory_kills` is by how much `out_of_memory_kills` rose meanwhile. It counts only beside the
    trace of a process that was ended by SIGKILL or that left no word: it may have been another's.
    """
    log, records = log_end(layout.log), rank_records(layout.run)
    told = _told(layout, records)
    for sentence, trace in told:
        if _MEMORY_ERROR.search(sentence + trace):
            return True, _printable(sentence)
    silent = [f"rank {rank} left no word" for rank in _silent_ranks(records, ranks)[:1]]
    signals = _signals(log, exit_code)
    killed = signal.SIGKILL in signals
    if memory_kills > 0 and (killed or silent):
        reason = f"the kernel ended {memory_kills} process(es) for lack of memory meanwhile"
        return True, "; ".join([reason, *silent])
    in_log = _MEMORY_ERROR.search(log)
    if in_log and silent:
        return True, _printable(_line_around(log, in_log.start()))
    ended = [f"a process was ended by {one.name}" for one in signals[:1]]
    first = told[0][0] if told else _last_words(log, exit_code)
    return False, _printable("; ".join([*ended, *(silent if records else []), first]))


def _told(layout: AttemptLayout, records: Sequence[RankRecords]) -> list[tuple[str, str]]:
    """What was said of a failure, as (sentence, traceback): first status.json, then the ranks."""
    status = read_object(layout.run.status)
    told = [(str(status["cause"]), "")] if "cause" in status else []
    for one in records:
        if one.failure is not None and not one.failure.get("is_echo"):
            told.append((str(one.failure.get("sentence")), str(one.failure.get("traceback"))))
    return told


def _signals(log: str, exit_code: int | None) -> list[signal.Signals]:
    """The signals that have ended processes of the launch, but for those of the launcher's clearing up.

    Launchers end the other ranks by SIGTERM when one has failed.
    """
    statuses = [int(code) - 128 for code in _STATUS.findall(log)]
    numbers = [*map(int, _SIGNAL.findall(log)), *statuses]
    if exit_code is not None:
        numbers += [-exit_code, exit_code - 128]
    known = {int(one) for one in signal.Signals} - {int(signal.SIGTERM)}
    return [signal.Signals(number) for number in dict.fromkeys(numbers) if number in known]


def _silent_ranks(records: Sequence[RankRecords], ranks: int) -> list[int]:
    """The ranks that left neither an end nor a failure."""
    spoke = {one.rank for one in records if one.end is not None or one.failure is not None}
    return [rank for rank in range(ranks) if rank not in spoke]


def log_end(log: Path) -> str:
    """The end of what a launch printed; empty where there is nothing."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - MOST_LOG_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _line_around(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    return _PREFIX.sub("", text[start:].partition("\n")[0])


def _last_words(log: str, exit_code: int | None) -> str:
    """The own sentence of distbench in the log, else the last line there."""
    ended = "the launcher could not be watched" if exit_code is None else f"exit code {exit_code}"
    lines = [_PREFIX.sub("", line).strip() for line in log.splitlines()]
    own = [line for line in lines if re.match(r"distbench: .*\(exit code \d+\)$", line)]
    if own:
        return own[0].removeprefix("distbench: ")
    last = next((line for line in reversed(lines) if line), "it printed nothing")
    return f"{ended}; its last line is: {last}"


def _printable(text: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in text)
    return printable[:LONGEST_CAUSE]
