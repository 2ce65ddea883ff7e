"""The pure parts of benchmarks/side_by_side.py, and that its jobs end for certain.

The jobs here are a few lines of Python in the place of a contender: they start in a moment.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distbench.study import processes

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
NONE = float("nan")
# A rank that takes as many ms as it is told to sleep, and its rank times 10 ms more.
RANK = """
import os, sys, time
sys.path.insert(0, {benchmarks!r})
from contenders.line import Line
rank = int(sys.argv[1])
line = Line.to_runner(int(os.environ["SIDE_BY_SIDE_PORT"]))
line.say(secret=os.environ["SIDE_BY_SIDE_SECRET"], pid=os.getpid())
line.say(ready={{"rank": rank, "phases": ["sleep"]}})
while True:
    message = line.hear()
    if message.get("run") == "crash" and rank == 1:
        os._exit(3)
    if message.get("run") == "crash":
        time.sleep(60)
    if message.get("run") == "fail":
        line.say(failed="NotProvenError: nothing is done")
    if "end" in message:
        line.say(peak_rss_bytes=1000 + rank)
        break
    line.say(step_s=[0.001 * step + 0.01 * rank for step in range(message["steps"])])
"""


@pytest.fixture
def contenders(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Their package, which lies beside the benchmarks."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import contenders.comparison
    import contenders.goals
    import contenders.job
    import contenders.joined
    import contenders.memory
    import contenders.proof
    import contenders.task

    return contenders


@pytest.fixture
def job(contenders: Any, tmp_path: Path) -> Iterator[Any]:
    script = RANK.format(benchmarks=str(BENCHMARKS))
    started = contenders.job.Job("stand-in", 2, tmp_path)
    try:
        started.start([([sys.executable, "-c", script, str(rank)], {}) for rank in (1, 0)])
        yield started
    finally:
        started.end()


def spread(low: float, high: float) -> dict[str, float]:
    return {"median": (low + high) / 2, "low": low, "high": high, "rounds": 12}


# Verdicts


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.05, 1.20, "met"),
        (1.04, 1.20, "not decided"),
        (0.90, 1.05, "not decided"),
        (0.90, 1.04, "not met"),
        (NONE, NONE, "not decided"),
    ],
)
def test_a_goal_is_judged_by_the_whole_interval(
    contenders: Any, low: float, high: float, verdict: str
) -> None:
    assert contenders.goals.judged(spread(low, high), 1.05) == verdict


@pytest.mark.parametrize(
    ("peers", "verdict"),
    [
        ({"keras": (1.1, 1.2), "pytorch": (2.0, 3.0)}, "met"),
        ({"keras": (0.9, 1.0), "pytorch": (2.0, 3.0)}, "not met"),
        ({"keras": (1.1, 1.2), "pytorch": (1.0, 3.0)}, "not decided"),
        ({}, "not measured"),
    ],
)
def test_the_best_peer_decides(
    contenders: Any, peers: dict[str, tuple[float, float]], verdict: str
) -> None:
    pairs = [
        contenders.comparison.Compared("forward", name, 1.0, 1.0, spread(*interval))
        for name, interval in peers.items()
    ]
    assert contenders.goals.goals(pairs, [], ranks=1)[0].verdict == verdict


def test_only_several_ranks_have_an_allreduce_to_judge(contenders: Any) -> None:
    of_one, of_two = (contenders.goals.goals([], [], ranks=ranks) for ranks in (1, 2))
    assert [goal.text for goal in of_two[len(of_one) :]] == [
        "allreduce at least 0.9 times as fast as MPI's alone, in place",
        "allreduce at least 0.9 times as fast as MPI's alone, out of place",
    ]


# Ratios and shares


def test_both_bare_allreduces_and_the_copy_are_compared(contenders: Any) -> None:
    times = {
        ("distbench", "allreduce"): [4.0] * 6,
        ("mpi", "allreduce_in_place"): [3.0] * 6,
        ("mpi", "allreduce_out_of_place"): [2.0] * 6,
        ("mpi", "memory_copy"): [1.0] * 6,
    }
    found = contenders.comparison.compared(times)
    assert [(one.contender, one.ratio["median"]) for one in found] == [
        ("mpi allreduce_in_place", 0.75),
        ("mpi allreduce_out_of_place", 0.5),
        ("mpi memory_copy", 0.25),
    ]


def test_a_ratio_is_taken_within_each_round(contenders: Any) -> None:
    noisy = [1.0, 10.0, 2.0, 5.0, 1.0, 8.0]
    times = {
        ("distbench", "forward"): noisy,
        ("keras", "forward"): [1.1 * value for value in noisy],
    }
    (found,) = contenders.comparison.compared(times)
    assert (found.phase, found.contender) == ("forward", "keras")
    assert found.ratio["low"] == pytest.approx(1.1)
    assert found.ratio["high"] == pytest.approx(1.1)


def test_the_share_is_of_the_fastest_product(contenders: Any) -> None:
    times = {
        ("distbench", "forward"): [2.0] * 6,
        ("peak", "matrix_product_100"): [1.0] * 6,  # 2e6 FLOP/s
        ("peak", "matrix_product_200"): [4.0] * 6,  # 4e6 FLOP/s
    }
    (found,) = contenders.comparison.shares(times, {"forward": 6e6})
    assert found.peak_flops_per_s == pytest.approx(4e6)
    assert found.share["median"] == pytest.approx(0.75)


def test_exposed_communication_is_what_the_allreduce_adds(contenders: Any) -> None:
    times = {
        ("keras", "forward_backward"): [3.0] * 6,
        ("keras", "forward_backward_allreduce"): [4.0] * 6,
        ("distbench", "forward_backward"): [3.0] * 6,
    }
    (found,) = contenders.comparison.exposed(times)
    assert (found.contender, found.seconds["median"], found.share["median"]) == ("keras", 1.0, 0.25)


# Measured before


def test_earlier_runs_are_joined_and_judged_anew(
    contenders: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = importlib.import_module("side_by_side")

    def run_of(name: str, *sections: tuple[int, float]) -> Path:
        """By ranks, and how long Keras's forward takes where distbench's takes a second."""
        found = [
            {
                "task": {"config": "A", "batch_size": 8, "ranks": ranks, "threads": 1},
                "label": f"A on {ranks}",
                "controller": "Horovod over mpi",
                "how": "all",
                "absent": {"pytorch": "not installed"},
                "failed": [],
                "facts": {},
                "steps_per_round": {},
                "round_medians_s": [
                    {"distbench forward": [1.0] * 6, "keras forward": [seconds] * 6}
                ],
                "peak_rss_bytes": {"keras": 10**9},
            }
            for ranks, seconds in sections
        ]
        document = {"runs": [{"settings": name}], "manifest": {}, "sections": found}
        path = tmp_path / name
        path.write_text(json.dumps(document))
        return path

    first, second = run_of("1.json", (1, 2.0), (2, 3.0)), run_of("2.json", (2, 1.0))
    flags = ["--again", f"{first},{second}", "--name", "both", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["side_by_side.py", *flags])
    script.main()
    both = json.loads((tmp_path / "side_by_side_both.json").read_text())
    assert [run["settings"] for run in both["runs"]] == ["1.json", "2.json"]
    sections = both["sections"]
    verdicts = [(one["task"]["ranks"], one["goals"][0]["verdict"]) for one in sections]
    assert verdicts == [(1, "met"), (2, "not met")]
    text = (tmp_path / "side_by_side_both.txt").read_text()
    assert text.count("pytorch: not installed") == 2


def a_section(how: str, held: int, *groups: dict[str, float]) -> dict[str, Any]:
    """The parts of a section's document that are joined; by group, what each phase took."""
    names = {name.split(" ", 1)[0] for group in groups for name in group}
    return {
        "how": how,
        "absent": {},
        "failed": [],
        "facts": dict.fromkeys(names, how),
        "steps_per_round": dict.fromkeys(names, how),
        "peak_rss_bytes": dict.fromkeys(names, held),
        "round_medians_s": [{name: [s] * 6 for name, s in group.items()} for group in groups],
    }


def test_contenders_of_two_runs_are_joined_into_one_section(contenders: Any) -> None:
    """What both have counts as the later run has it; distbench stays beside each in its own rounds."""
    first = a_section(
        "first",
        7,
        {"distbench forward": 1.0, "keras forward": 2.0, "peak matrix_product_8": 3.0},
        {"distbench forward": 1.1, "distbench_library forward": 1.5},
    )
    second = a_section(
        "second",
        5,
        {"distbench forward": 4.0, "pytorch forward": 5.0, "peak matrix_product_8": 3.1},
        {"distbench forward": 4.1, "distbench_library forward": 6.0},
    )
    found = contenders.joined.joined(first, second)
    assert [
        {name: times[0] for name, times in one.items()} for one in found["round_medians_s"]
    ] == [
        {"distbench forward": 1.0, "keras forward": 2.0, "peak matrix_product_8": 3.0},
        {"distbench forward": 4.0, "pytorch forward": 5.0, "peak matrix_product_8": 3.1},
        {"distbench forward": 4.1, "distbench_library forward": 6.0},
    ]
    assert found["facts"]["keras"] == "first"
    assert found["facts"]["distbench_library"] == "second"
    assert found["facts"]["distbench"] == "second"
    assert found["facts"]["distbench in an earlier run"] == "first"  # which chose for itself
    assert found["peak_rss_bytes"]["distbench"] == 7
    assert found["peak_rss_bytes"]["distbench_library"] == 5
    assert found["how"] == "first; and in another run second"


def test_what_a_later_run_has_measured_all_anew_leaves_nothing_of_the_earlier_one(
    contenders: Any,
) -> None:
    first = a_section("one", 7, {"distbench forward": 1.0, "keras forward": 2.0})
    second = a_section("one", 5, {"distbench forward": 4.0, "keras forward": 5.0})
    found = contenders.joined.joined(first, second)
    assert found["round_medians_s"] == second["round_medians_s"]
    assert set(found["facts"]) == {"distbench", "keras"}
    assert found["how"] == "one"


def test_what_failed_in_one_run_and_was_measured_in_another_is_no_failure(contenders: Any) -> None:
    forward = {"distbench forward": 1.0}
    first = a_section("first", 7, {**forward, "keras forward": 2.0})
    first["absent"] = {"pytorch": "not installed", "mpi": "one rank reduces nothing"}
    mended = {"reason": "ended", "contenders": ["distbench", "pytorch"]}
    other = {"reason": "ended", "contenders": ["distbench", "distbench_library"]}
    first["failed"] = [mended, other]
    second = a_section("second", 5, {**forward, "pytorch forward": 2.0})
    second["failed"] = [other]
    found = contenders.joined.joined(first, second)
    assert found["failed"] == [other]
    assert found["absent"] == {"mpi": "one rank reduces nothing"}


# Memory


def test_pairs_are_made_where_not_all_fit(contenders: Any) -> None:
    task = contenders.task.Task("D", batch_size=8, ranks=2, threads=1)
    present = ["distbench", "keras", "pytorch", "mpi", "peak"]
    together, _ = contenders.memory.grouped(present, task, 1e12, "auto")
    in_pairs, how = contenders.memory.grouped(present, task, 20e9, "auto")
    assert together == [present]
    assert in_pairs == [["distbench", "keras", "mpi", "peak"], ["distbench", "pytorch"]]
    assert how.startswith("in pairs")
    with_library = ["distbench", "distbench_library", "keras", "peak"]
    in_pairs, _ = contenders.memory.grouped(with_library, task, 20e9, "auto")
    assert in_pairs == [["distbench", "distbench_library"], ["distbench", "keras", "peak"]]


# Proof


def test_what_does_no_work_is_refused(contenders: Any) -> None:
    proof = contenders.proof
    good = proof.Gradient((3, 3), True, 1.0)
    proof.check_gradients([good], [(3, 3)])
    for bad in (None, good._replace(shape=(3,)), good._replace(is_finite=False)):
        with pytest.raises(proof.NotProvenError):
            proof.check_gradients([bad], [(3, 3)])
    with pytest.raises(proof.NotProvenError, match="all zero"):
        proof.check_gradients([good._replace(sum_of_absolutes=0.0)], [(3, 3)])
    with pytest.raises(proof.NotProvenError, match="backward pass does not run"):
        proof.check_backward_runs(1.0, 1.1)


def test_an_allreduce_that_reduces_nothing_is_refused(contenders: Any) -> None:
    proof = contenders.proof
    proof.check_reduced([1.0, 2.0], [1.5, 1.5])
    with pytest.raises(proof.NotProvenError, match="differ"):
        proof.check_reduced([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(proof.NotProvenError, match="could not be told"):
        proof.check_reduced([1.0, 1.0], [1.0, 1.0])


def test_a_task_reaches_its_rank_unchanged(contenders: Any) -> None:
    task = contenders.task.Task("E", batch_size=4, ranks=2, threads=3, smoke=True)
    assert contenders.task.Task.from_flags(task.flags()) == task


# Jobs


def states(job: Any) -> set[str]:
    marked = processes.marked("SIDE_BY_SIDE_MARK", job._mark)
    stats = [Path(f"/proc/{pid}/stat").read_text() for pid in marked]
    return {stat.rpartition(")")[2].split()[0] for stat in stats}


def test_a_step_of_the_job_is_that_of_its_slowest_rank(job: Any) -> None:
    assert job.run("sleep", 3) == pytest.approx([0.010, 0.011, 0.012])
    assert [one["rank"] for one in job.ready] == [0, 1]


def test_a_job_is_stopped_but_while_it_is_asked(job: Any) -> None:
    assert states(job) == {"T"}
    job.run("sleep", 1)
    assert states(job) == {"T"}


def test_a_job_parts_by_itself(job: Any) -> None:
    assert job.part() == 1001
    assert processes.wait_until_gone("SIDE_BY_SIDE_MARK", job._mark, 5.0)


@pytest.mark.parametrize(
    ("phase", "reason"), [("crash", "a rank has gone"), ("fail", "nothing is done")]
)
def test_nothing_is_left_of_a_job_that_fails(
    contenders: Any, job: Any, phase: str, reason: str
) -> None:
    begun_s = time.monotonic()
    with pytest.raises(contenders.job.ContenderFailedError, match=reason):
        job.run(phase, 1)
    job.end()
    assert time.monotonic() - begun_s < 30  # the sleeping rank was not waited for
    assert processes.marked("SIDE_BY_SIDE_MARK", job._mark) == []


def test_a_job_whose_ranks_never_call_is_given_up(contenders: Any, tmp_path: Path) -> None:
    started = contenders.job.Job("stand-in", 1, tmp_path)
    try:
        with pytest.raises(contenders.job.ContenderFailedError, match="not all of its ranks"):
            started.start([([sys.executable, "-c", "raise SystemExit(2)"], {})])
    finally:
        started.end()
