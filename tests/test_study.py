from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from distbench.errors import UsageError
from distbench.study.study import (
    Study,
    cell_from_dict,
    cells_of,
    changes,
    command_of,
    launch_of,
    launch_order,
    parse_study,
    read_study,
)
from tests.study_fakes import SMALL_TOML, only_cell, study_of


def written(folder: Path, text: str) -> Study:
    path = folder / "study.toml"
    path.write_text(text)
    return read_study(path)


def test_the_cells_are_the_product_of_the_axes_the_last_one_fastest(tmp_path: Path) -> None:
    cells = cells_of(written(tmp_path, SMALL_TOML))
    assert [cell.label for cell in cells] == [
        "config A, batch_size 2",
        "config A, batch_size 4",
        "config D, batch_size 2",
        "config D, batch_size 4",
    ]
    assert dict(cells[1].settings) == {
        "preset": "quick",
        "phases": ("train_step",),
        "steps": 6,
        "warmup_steps": 1,
        "config": "A",
        "batch_size": 4,
    }
    assert {cell.ranks for cell in cells} == {2}


def test_hosts_come_first_and_horovod_last() -> None:
    study = study_of(
        study={"hosts": ["a:2,b:2", "c:4"]},
        axes={"config": ["A", "B"]},
        horovod={"HOROVOD_FUSION_THRESHOLD": [0, 67108864], "HOROVOD_HIERARCHICAL": [True]},
    )
    cells = cells_of(study)
    assert len(cells) == 8
    assert cells[0].varied == {
        "hosts": "a:2,b:2",
        "config": "A",
        "HOROVOD_FUSION_THRESHOLD": "0",
        "HOROVOD_HIERARCHICAL": "1",
    }
    assert [cell.hosts for cell in cells] == ["a:2,b:2"] * 4 + ["c:4"] * 4
    assert cells[1].horovod["HOROVOD_FUSION_THRESHOLD"] == "67108864"
    launch = launch_of(study, cells[1])
    assert launch.environment == (
        "DISTBENCH_STUDY_MARK",
        "HOROVOD_FUSION_THRESHOLD",
        "HOROVOD_HIERARCHICAL",
    )
    assert [(host.host, host.slots) for host in launch.hosts] == [("a", 2), ("b", 2)]


def test_an_id_is_readable_fit_for_a_file_and_follows_from_all_that_is_measured() -> None:
    cell = only_cell(axes={"config": ["A"]})
    assert re.fullmatch(r"config-A-[0-9a-f]{10}", cell.id)
    assert only_cell(axes={"config": ["A"]}).id == cell.id
    # neither the name nor the number of launches nor the limit makes another cell
    same: dict[str, Any] = {"name": "other", "repeat": 9, "time_limit_s": 5, "order_seed": 3}
    assert only_cell(study=same, axes={"config": ["A"]}).id == cell.id
    for other in (
        only_cell(study={"ranks": 3}, axes={"config": ["A"]}),
        only_cell(study={"launcher": "mpirun"}, axes={"config": ["A"]}),
        only_cell(study={"controller": "mpi"}, axes={"config": ["A"]}),
        only_cell(study={"hosts": ["a:2"]}, axes={"config": ["A"]}),
        only_cell(study={"launcher_arguments": ["--verbose"]}, axes={"config": ["A"]}),
        only_cell(run={"steps": 7}, axes={"config": ["A"]}),
    ):
        assert other.label == cell.label
        assert other.id != cell.id
    long = only_cell(
        axes={"config": ["A-LRN"], "image_size": [32], "batch_size": [2], "classes": [10]},
        horovod={"HOROVOD_CYCLE_TIME": ["3/../../x"]},
    )
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", f"{long.id}-999")


def test_a_study_without_axes_has_one_cell() -> None:
    cell = only_cell()
    assert (cell.label, cell.varied) == ("the one cell", {})
    assert cell.id.startswith("the-one-cell-")


def test_sizes_as_an_axis_are_a_launch_each() -> None:
    cells = cells_of(study_of(study={"ranks": 0}, axes={"sizes": [1, 4]}))
    assert [(cell.ranks, cell.label) for cell in cells] == [(1, "size 1"), (4, "size 4")]
    assert all("--sizes" not in command_of(cell, "run", "python") for cell in cells)


def test_sizes_of_the_run_are_measured_in_one_launch() -> None:
    cell = only_cell(run={"sizes": "1,2"})
    words = command_of(cell, "run", "python")
    assert words[words.index("--sizes") + 1] == "1,2"


def test_the_command_is_that_of_a_run() -> None:
    cell = only_cell(run={"width_multiplier": 0.25, "tensorflow_log": True}, axes={"seed": [0]})
    assert command_of(cell, "out/run", "/usr/bin/python") == (
        *("/usr/bin/python", "-m", "distbench", "run", "--preset", "quick"),
        *("--phases", "train_step", "--steps", "6", "--warmup-steps", "1"),
        *("--width-multiplier", "0.25", "--tensorflow-log", "--seed", "0", "--output", "out/run"),
    )
    off = only_cell(run={"tensorflow_log": False})
    assert not any("tensorflow" in word for word in command_of(off, "run", "python"))


def test_planned_steps_are_those_of_every_group() -> None:
    assert only_cell().planned_steps(on_gpu=True) == 7  # one phase: 1 warm-up, 6 timed
    # the world, each of two ranks alone in turn, and both without communication
    assert only_cell(run={"sizes": "1,2"}).planned_steps(on_gpu=True) == 4 * 7
    # two nodes: their ranks take turns at the same time
    spread = only_cell(study={"hosts": ["a:1,b:1"]}, run={"sizes": "1,2"})
    assert spread.planned_steps(on_gpu=True) == 3 * 7


def test_steps_without_a_preset_follow_from_the_device() -> None:
    study = parse_study({"study": {"name": "x", "ranks": 1}}, "study.toml")
    (cell,) = cells_of(study)
    assert cell.planned_steps(on_gpu=True) == 5 * (10 + 100)
    assert cell.planned_steps(on_gpu=False) == 5 * (2 + 12)


def test_launches_are_shuffled_in_rounds_that_a_larger_repeat_only_adds_to() -> None:
    cells = cells_of(study_of(axes={"batch_size": [1, 2, 3, 4, 5, 6]}))
    order = launch_order(cells, 3, seed=0)
    for turn in range(3):
        of_turn = order[6 * turn : 6 * turn + 6]
        assert {launch for _, launch in of_turn} == {turn + 1}
        assert {cell.id for cell, _ in of_turn} == {cell.id for cell in cells}
    turns = [[cell.id for cell, _ in order[6 * turn : 6 * turn + 6]] for turn in range(3)]
    assert turns[0] != turns[1]
    assert turns[0] != [cell.id for cell in cells]
    assert launch_order(cells, 5, seed=0)[:18] == order
    assert launch_order(cells, 3, seed=1) != order


def test_a_cell_comes_back_from_json() -> None:
    cells = cells_of(study_of(axes={"seed": [0, 1]}, run={"sizes": "auto"}))
    assert cells[0].settings["phases"] == ("train_step",)
    for cell in cells:
        assert cell_from_dict(json.loads(json.dumps(cell.as_dict()))) == cell


def test_what_changed_is_named() -> None:
    before = study_of(axes={"batch_size": [2, 4]}).as_dict()
    assert json.loads(json.dumps(before)) == before
    assert changes(before, before) == []
    longer = study_of(study={"repeat": 3, "time_limit_s": 10}, axes={"batch_size": [2, 4]})
    assert changes(before, longer.as_dict()) == []
    other = study_of(run={"steps": 8}, axes={"batch_size": [2, 8]}).as_dict()
    assert changes(before, other) == [
        "axes.batch_size is '[2, 8]' and was '[2, 4]'",
        "run.steps is '8' and was '6'",
    ]
    more = study_of(axes={"batch_size": [2, 4], "config": ["A"]}).as_dict()
    assert changes(before, more) == [
        "axes.config is \"['A']\" and was not given",
        "axes_order is \"['batch_size', 'config']\" and was \"['batch_size']\"",
    ]


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (
            {"run": {"batch_size": 2}, "axes": {"batch_size": [2, 4]}},
            "study.toml has batch_size in both [run] and [axes]; keep one of them",
        ),
        (
            {"study": {"ranks": 0}, "run": {"sizes": "1,2"}, "axes": {"sizes": [1]}},
            "study.toml has sizes in both [run] and [axes]; keep one of them",
        ),
        ({"study": {"ranks": 0}}, "study.toml has no key study.ranks"),
        ({"axes": {"sizes": [1, 2]}}, "has both study.ranks and axes.sizes"),
    ],
)
def test_a_contradiction_is_refused(tables: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        study_of(**tables)


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (
            {"run": {"sizes": "1,4"}},
            "the one cell cannot be run: --sizes asks for 4 ranks and this job has 2",
        ),
        (
            {"axes": {"global_batch": [8, 9]}, "run": {"scaling": "strong"}},
            "global_batch 9 cannot be run: --global-batch 9 cannot be divided among 2",
        ),
        ({"study": {"hosts": ["a:1"]}}, "2 ranks are asked for and a:1 has 1 slots"),
        (
            {"study": {"launcher_arguments": ["-x;touch pwned"]}},
            "horovodrun would hand '-x;touch pwned' to a shell",
        ),
        ({"study": {"launcher": "jsrun", "hosts": ["a:2"]}}, "jsrun takes none"),
        (
            {
                "axes": {
                    "batch_size": list(range(1, 41)),
                    "image_size": [32 * k for k in range(1, 41)],
                }
            },
            "the study has 1600 cells; at most 1000 are run in one study",
        ),
    ],
)
def test_a_cell_that_cannot_run_is_refused_before_anything_runs(
    tables: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        cells_of(study_of(**tables))


def test_a_file_that_is_no_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_study(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="is not valid TOML"):
        written(tmp_path, "[study\n")
