"""A scaling study in one launch of real Horovod processes, over Gloo and over MPI."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from distbench.analysis.collect import Run, load_run
from distbench.config import SELF_ALLREDUCE
from distbench.groups import REDUCING
from tests.launching import distbench, launch, only_run, run, status

pytestmark = pytest.mark.real
SCRIPTS = Path(__file__).parent / "real_ranks"
STUDY = ["--preset", "quick", "--steps", "6", "--warmup-steps", "1"]
TENSORS = 32


def allreduces(found: Run, group: str, phase: str) -> list[int | None]:
    """How many allreduces each rank executed in a step of this group's phase."""
    proofs = [records.preflight for records in found.ranks]
    assert None not in proofs
    return [proof["groups"][group]["executed_allreduces"].get(phase) for proof in proofs if proof]


@pytest.mark.parametrize(
    ("launcher", "scaling"),
    [("gloo", []), ("mpi", ["--scaling", "strong", "--global-batch", "6"])],
    ids=["gloo-weak", "mpi-strong"],
)
def test_three_points_from_one_launch(launcher: str, scaling: list[str], tmp_path: Path) -> None:
    batch = scaling or ["--batch-size", "2"]
    ended = launch(launcher, distbench(*STUDY, "--sizes", "1,2,3", *batch), tmp_path, ranks=3)
    assert ended.returncode == 0, ended.stderr
    assert "tall" not in ended.stderr.replace("install", "")  # neither 'Stalled' nor 'stall'
    directory = only_run(tmp_path)
    found = load_run(directory)
    assert (found.incomplete, found.problems) == ((), ())
    assert status(directory)["state"] == "complete"
    _work_is_done_in_each_group(found)
    _ranks_outside_waited(found)
    curve = pd.read_csv(directory / "derived" / "scaling.csv")
    assert curve["size"].tolist() == [1, 2, 3]
    assert curve["images_per_step"].tolist() == ([6, 6, 6] if scaling else [2, 4, 6])
    for column in ("efficiency_low", "efficiency_high", "images_per_s_low", "images_per_s_high"):
        assert (curve[column] > 0).all()
    assert (curve["efficiency_low"] <= curve["efficiency"]).all()
    assert (curve["efficiency"] <= curve["efficiency_high"]).all()
    assert "median step of 3 ranks, each alone" in curve["baseline"].iloc[0]
    kind = "Strong" if scaling else "Weak"
    assert f"{kind} scaling, train_step:" in ended.stdout
    assert "Total img/sec on 3 CPU(s): " in ended.stdout
    report = (directory / "derived" / "report.md").read_text()
    assert "![Parallel efficiency by the number of ranks" in report


def _work_is_done_in_each_group(found: Run) -> None:
    for phase in ("allreduce", "forward_backward_allreduce", "train_step"):
        assert allreduces(found, "world", phase) == [TENSORS] * 3
        assert allreduces(found, "size-2", phase) == [TENSORS, TENSORS, None]
    assert allreduces(found, "independent", "train_step") == [0, 0, 0]
    assert allreduces(found, "alone-turn-1", "train_step") == [None, 0, None]
    assert allreduces(found, "with_itself", SELF_ALLREDUCE) == [TENSORS, None, None]
    timed = found.steps[~found.steps["warmup"]]
    counts = timed.groupby(["group", "phase"])["rank"].nunique()
    assert counts["size-2", "train_step"] == 2
    assert counts["alone-00002", "train_step"] == 1
    members = timed[(timed["role"] == REDUCING) & (timed["group"] == "size-2")]["rank"]
    assert set(members) == {0, 1}


def _ranks_outside_waited(found: Run) -> None:
    assert found.waits["rank"].tolist() == [0, 1, 2]
    by_rank = found.waits.set_index("rank")
    assert (by_rank["wall_s"] > 0).all()
    assert (by_rank["cpu_s"] > 0).all()
    # rank 2 sits out all that ranks 0 and 1 do together, beside the turns that each sits out; the
    # control of rank 0 with itself is one block of warm-up and six of the rounds
    counts = [records.waits.count for records in found.ranks]
    assert counts[0] + 7 == counts[1] < counts[2]


@pytest.mark.parametrize("disabled", ["1", "0"])
def test_a_long_wait_raises_no_stall_warning(disabled: str, tmp_path: Path) -> None:
    """With the check left on, the same wait does raise one: so the test can fail."""
    script = [sys.executable, str(SCRIPTS / "long_wait.py")]
    ended = launch(
        "mpi",
        [*script, *STUDY, "--sizes", "1,2", "--phases", "train_step", "--batch-size", "2"],
        tmp_path,
        HOROVOD_STALL_CHECK_TIME_SECONDS="1",
        **({} if disabled == "1" else {"HOROVOD_STALL_CHECK_DISABLE": "0"}),
    )
    assert ended.returncode == 0, ended.stderr
    warned = "One or more tensors were submitted to be reduced" in ended.stdout + ended.stderr
    assert warned == (disabled == "0"), ended.stderr
    waits = load_run(only_run(tmp_path)).waits.set_index("rank")
    assert waits.loc[1, "wall_s"] > 6.0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--sizes", "1,4"], "--sizes asks for 4 ranks and this job has 1"),
        (["--sizes", "1", "--blocks", "3"], "a study is divided by --rounds; give --rounds"),
        (
            ["--scaling", "strong", "--global-batch", "7", "--sizes", "1", "--batch-size", "7"],
            "and no --batch-size",
        ),
    ],
)
def test_a_study_that_cannot_be_is_refused_at_once(
    flags: list[str], said: str, tmp_path: Path
) -> None:
    ended = run(distbench("--preset", "quick", *flags), tmp_path)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert not (tmp_path / "results").exists()
