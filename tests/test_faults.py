"""The plan and where it strikes; test_fault_matrix does it to real jobs."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from distbench.errors import OutputError, UsageError
from distbench.rank_writer import RankWriter
from distbench.worker import faults
from distbench.worker.faults import CLOCK_OFFSET_NS, Fault, Saboteur, read_fault
from tests.fakes import RUN_ID

ALLOWED = {"DISTBENCH_TESTING": "1"}


def test_a_fault_is_read_with_its_place() -> None:
    text = "sleep:rank=1,phase=allreduce,step=3,seconds=2.5"
    found = read_fault({**ALLOWED, "DISTBENCH_FAULT": text})
    assert found == Fault("sleep", 1, "allreduce", 3, 2.5)
    assert read_fault({**ALLOWED, "DISTBENCH_FAULT": "oom"}) == Fault("oom")
    assert read_fault(ALLOWED) is None


@pytest.mark.parametrize("testing", [{}, {"DISTBENCH_TESTING": "yes"}])
def test_a_fault_is_refused_where_this_is_no_test(testing: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="DISTBENCH_FAULT is set, which breaks a rank on purpose"):
        read_fault({**testing, "DISTBENCH_FAULT": "raise"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("explode", "must be one of raise, exit0"),
        ("", "must be one of raise"),
        ("raise:rank=-1", "its rank must be a whole number"),
        ("raise:phase=lunch", "its phase must be one of forward"),
        ("raise:when=now", "unknown part 'when'"),
    ],
)
def test_a_wrong_plan_is_named(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_fault({**ALLOWED, "DISTBENCH_FAULT": text})


def strikes(saboteur: Saboteur, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    struck: list[Any] = []
    monkeypatch.setattr(saboteur, "_strike", struck.append)
    return struck


def test_it_strikes_its_step_of_its_phase_on_its_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = Fault("raise", rank=1, phase="train_step", step=2)
    saboteur = Saboteur(fault, 1)
    struck = strikes(saboteur, monkeypatch)
    run = saboteur.around("train_step", lambda: "done")
    assert [run(), run(), len(struck), run(), len(struck), run(), len(struck)] == [
        "done",
        "done",
        0,
        "done",
        1,
        "done",
        1,
    ]
    plain = lambda: "plain"  # noqa: E731
    assert saboteur.around("forward", plain) is plain
    assert Saboteur(fault, 0).around("train_step", plain) is plain


def test_the_steps_of_all_blocks_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    saboteur = Saboteur(Fault("raise", step=3), 0)
    struck = strikes(saboteur, monkeypatch)
    for _ in range(2):
        run = saboteur.around("train_step", lambda: None)
        run()
        run()
    assert len(struck) == 1


def test_it_strikes_where_a_stage_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    saboteur = Saboteur(Fault("sigkill", phase="gather"), 0)
    struck = strikes(saboteur, monkeypatch)
    saboteur.at("preflight")
    assert struck == []
    saboteur.at("gather")
    assert len(struck) == 1


@pytest.mark.parametrize(
    ("kind", "called", "with_what"),
    [
        ("exit0", "_exit", (0,)),
        ("sigkill", "kill", (os.getpid(), signal.SIGKILL)),
        ("sigstop", "kill", (os.getpid(), signal.SIGSTOP)),
    ],
)
def test_what_ends_a_process_is_done_to_this_one(
    kind: str, called: str, with_what: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, ...]] = []
    monkeypatch.setattr(faults.os, called, lambda *arguments: calls.append(arguments))
    Saboteur(Fault(kind, phase="build"), 0).at("build")
    assert calls == [with_what]


def test_a_full_disk_is_a_real_one(tmp_path: Any) -> None:
    writer = RankWriter(tmp_path, RUN_ID, 0)
    saboteur = Saboteur(Fault("no-space", phase="build"), 0)
    saboteur.may_write_to(writer.fileno())
    saboteur.at("build")
    with pytest.raises(OutputError, match="No space left on device"):
        writer.append("end", status="ok")


def test_a_skewed_clock_runs_fast_and_is_off() -> None:
    skewed = Saboteur(Fault("skewed-clock"), 0).clock(lambda: 1000)
    assert skewed() == 1050 + CLOCK_OFFSET_NS
    right = lambda: 7  # noqa: E731
    assert Saboteur(None, 0).clock(right) is right


def test_versions_and_horovod_are_wrong_only_where_asked_for() -> None:
    versions = {"tensorflow": "2.18.1", "python": "3.11"}
    assert Saboteur(Fault("wrong-version"), 0).versions(versions)["tensorflow"] == "0.0"
    assert Saboteur(Fault("slow"), 0).versions(versions) == versions

    class Hvd:
        Average = "average"

        def allreduce(self, tensor: float, **settings: Any) -> float:
            return tensor

    hvd = Hvd()
    wrong = Saboteur(Fault("wrong-gradient"), 0).horovod(hvd)
    assert (wrong.allreduce(2.0, op=wrong.Average), wrong.Average) == (3.0, "average")
    assert Saboteur(None, 0).horovod(hvd) is hvd
