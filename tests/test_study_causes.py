from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distbench.durable_files import json_document
from distbench.layout import AttemptLayout
from distbench.rank_writer import RankWriter
from distbench.study import study_causes
from distbench.study.study_causes import cause_of_failure, out_of_memory_kills
from tests.fakes import RUN_ID, header


def attempt(
    folder: Path,
    log: str = "",
    cause: str | None = None,
    failures: dict[int, dict[str, Any] | None] | None = None,
) -> AttemptLayout:
    """A launch that failed; `failures` are the ranks' failure records, None for a rank without."""
    layout = AttemptLayout(folder)
    layout.log.write_text(log)
    if cause is not None or failures is not None:
        layout.run.raw.mkdir(parents=True)
        told = {} if cause is None else {"cause": cause}
        layout.run.status.write_bytes(json_document({"state": "failed", **told}))
    for rank, failure in (failures or {}).items():
        writer = RankWriter(layout.run.raw, RUN_ID, rank)
        writer.append("header", **header(rank, 2))
        if failure is not None:
            writer.append("failure", **{"is_echo": False, "traceback": "", **failure})
        writer.close()
    return layout


@pytest.mark.parametrize(
    "error",
    [
        "rank 1 failed with ResourceExhaustedError: OOM when allocating tensor with shape[1]",
        "rank 1 failed with MemoryError: ",
        "rank 1 failed with MemoryError",
        "rank 1 failed with InternalError: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    ],
)
def test_an_error_of_memory_is_one(error: str, tmp_path: Path) -> None:
    assert cause_of_failure(attempt(tmp_path, cause=error), 1, 2, 0) == (True, error)


def test_a_rank_may_know_what_status_json_does_not(tmp_path: Path) -> None:
    failed = {
        0: {"sentence": "rank 0 failed with UnknownError"},
        1: {"sentence": "rank 1 failed with RuntimeError", "traceback": "…\nMemoryError: no"},
    }
    layout = attempt(tmp_path, cause="rank 0 failed with UnknownError", failures=failed)
    assert cause_of_failure(layout, 1, 2, 0) == (True, "rank 1 failed with RuntimeError")


def test_an_echo_is_no_cause(tmp_path: Path) -> None:
    failed = {
        0: {"sentence": "MemoryError of somebody", "is_echo": True},
        1: {"sentence": "rank 1 failed with ZeroDivisionError: by the test"},
    }
    layout = attempt(tmp_path, failures=failed)
    expected = (False, "rank 1 failed with ZeroDivisionError: by the test")
    assert cause_of_failure(layout, 1, 2, 0) == expected


@pytest.mark.parametrize(
    "log",
    [
        "Process 1 exit with status code 137.",
        "mpirun noticed that process rank 1 … exited on signal 9 (Killed).",
    ],
)
def test_a_killed_rank_is_out_of_memory_only_where_the_kernel_says_so(
    log: str, tmp_path: Path
) -> None:
    failed = {0: {"sentence": "rank 0 failed with UnknownError: peer closed"}, 1: None}
    layout = attempt(tmp_path, log=log, cause="rank 0 failed with UnknownError", failures=failed)
    assert cause_of_failure(layout, 1, 2, memory_kills=1) == (
        True,
        "the kernel ended 1 process(es) for lack of memory meanwhile; rank 1 left no word",
    )
    assert cause_of_failure(layout, 1, 2, memory_kills=0) == (
        False,
        "a process was ended by SIGKILL; rank 1 left no word; rank 0 failed with UnknownError",
    )


@pytest.mark.parametrize(
    "log",
    [
        "Process 1 exit with status code 139.\nProcess 0 exit with status code 143.",
        "mpirun noticed that process rank 1 exited on signal 11 (Segmentation fault).",
        "Process name: 1\nExit code: 139",
    ],
)
def test_the_signal_that_ended_a_rank_is_named(log: str, tmp_path: Path) -> None:
    found, cause = cause_of_failure(attempt(tmp_path, log=log), 1, 2, 0)
    assert not found
    assert cause.startswith("a process was ended by SIGSEGV; exit code 1; its last line is: ")


def test_a_kill_of_another_process_is_not_blamed(tmp_path: Path) -> None:
    failed = {rank: {"sentence": "the network holds a NaN"} for rank in (0, 1)}
    layout = attempt(tmp_path, cause="the network holds a NaN", failures=failed)
    assert cause_of_failure(layout, 1, 2, memory_kills=3) == (False, "the network holds a NaN")


def test_a_launcher_that_is_killed_itself(tmp_path: Path) -> None:
    found = cause_of_failure(attempt(tmp_path), -9, 2, 0)
    assert found == (
        False,
        "a process was ended by SIGKILL; exit code -9; its last line is: it printed nothing",
    )


def test_a_word_of_memory_in_the_log_counts_only_where_a_rank_fell_silent(tmp_path: Path) -> None:
    log = "[1]<stderr>:terminate called after throwing std::bad_alloc\nend"
    words = "terminate called after throwing std::bad_alloc"
    silent = attempt(tmp_path, log=log)
    assert cause_of_failure(silent, 1, 2, 0) == (True, words)
    (tmp_path / "other").mkdir()
    failed = {rank: {"sentence": "the network holds a NaN"} for rank in (0, 1)}
    spoke = attempt(tmp_path / "other", log=log, failures=failed)
    assert cause_of_failure(spoke, 1, 2, 0) == (False, "the network holds a NaN")


def test_a_full_allocator_that_goes_on_is_no_failure(tmp_path: Path) -> None:
    log = "Allocator (GPU_0_bfc) ran out of memory trying to allocate 2GiB. This is not a failure"
    found = cause_of_failure(attempt(tmp_path, log=log), 1, 2, 0)
    assert found == (False, f"exit code 1; its last line is: {log}")


@pytest.mark.parametrize("prefix", ["[0]<stderr>:", "[1,0]<stderr>: ", ""])
def test_the_sentence_of_distbench_is_found_in_the_log(prefix: str, tmp_path: Path) -> None:
    log = (
        f"{prefix}warning\n{prefix}distbench: step 3 of 9, forward\n"
        f"{prefix}distbench: --steps is '-1'; it must be more (exit code 2)\nTraceback …\nlast\n"
    )
    found = cause_of_failure(attempt(tmp_path, log=log), 1, 2, 0)
    assert found == (False, "--steps is '-1'; it must be more (exit code 2)")


def test_a_log_cannot_drive_a_terminal_nor_fill_it(tmp_path: Path) -> None:
    _, cause = cause_of_failure(attempt(tmp_path, log="\x1b[2J" + "x" * 10_000), 1, 2, 0)
    assert cause.isprintable()
    assert len(cause) == study_causes.LONGEST_CAUSE
    (tmp_path / "log").unlink()
    assert study_causes.log_end(tmp_path / "log") == ""


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"begin" + b"\xff" * study_causes.MOST_LOG_BYTES + b"end")
    read = study_causes.log_end(tmp_path / "log")
    assert len(read) == study_causes.MOST_LOG_BYTES
    assert read.endswith("end")


def test_the_kernel_counts_its_kills() -> None:
    assert out_of_memory_kills() >= 0
    assert out_of_memory_kills() == out_of_memory_kills()
