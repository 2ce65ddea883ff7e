from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from distbench.study.study import cells_of, read_study
from distbench.tune import winner
from tests.tune_fakes import tuning_of


@pytest.mark.parametrize("launcher", ["local", "mpirun", "srun"])
def test_the_command_line_runs_the_settings(launcher: str) -> None:
    tuning = tuning_of(
        study={"name": "x", "ranks": 2, "launcher": launcher},
        axes={"threads_per_rank": [1, 2], "tensorflow_log": [False, True]},
        horovod={"HOROVOD_CYCLE_TIME": [1, 5]},
    )
    line = winner.command_line(tuning.study, tuning.cell((1, 1, 1)))
    words = shlex.split(line)
    assert words[0] == "HOROVOD_CYCLE_TIME=5"
    after = words[words.index("run") + 1 :]
    assert after == ["--preset", "quick", "--threads-per-rank", "2", "--tensorflow-log"]
    assert "DISTBENCH_STUDY_MARK" not in line
    if launcher == "mpirun":
        assert words[words.index("-x") + 1] == "HOROVOD_CYCLE_TIME"


def test_the_study_file_is_a_study_of_the_same_settings(tmp_path: Path) -> None:
    tuning = tuning_of(
        study={"name": 'a "name"', "ranks": 2, "hosts": ["node-1:2"], "launcher": "mpirun"},
        axes={"batch_size": [2, 4], "tensorflow_log": [False, True]},
        horovod={"HOROVOD_CYCLE_TIME": ["0.5", "5"]},
    )
    cell = tuning.cell((1, 1, 0))
    path = tmp_path / "winner.toml"
    path.write_text(winner.study_file(tuning.study, cell))
    assert "controller" not in path.read_text()  # mpirun brings its own
    (read,) = cells_of(read_study(path))
    assert dict(read.settings) == winner.settings_of(cell)
    assert read.horovod == cell.horovod
    assert (read.ranks, read.hosts) == (2, "node-1:2")


def test_the_study_file_keeps_the_controller_that_horovodrun_is_given() -> None:
    tuning = tuning_of(
        study={"name": "x", "ranks": 2, "controller": "mpi"}, axes={"threads_per_rank": [1, 2]}
    )
    text = winner.study_file(tuning.study, tuning.cell((1,)))
    assert 'controller = "mpi"' in text
