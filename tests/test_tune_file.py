from __future__ import annotations

import json
from typing import Any

import pytest

from distbench.errors import UsageError
from distbench.study.study import cells_of, command_of
from distbench.tune.tune_file import make_tuning, read_budget, tuning_from_dict
from tests.tune_fakes import TWO_CORES, tuning_of


def made(ranks: str | None = None, **tables: Any) -> Any:
    return make_tuning(tables, "tune.toml", ranks, TWO_CORES)


def test_lists_are_levels_and_the_first_is_the_default() -> None:
    tuning = tuning_of(axes={"batch_size": [2, 4]}, horovod={"HOROVOD_CYCLE_TIME": [1, 5]})
    assert [(axis.name, axis.levels) for axis in tuning.space.axes] == [
        ("batch_size", (2, 4)),
        ("HOROVOD_CYCLE_TIME", ("1", "5")),
    ]
    cell = tuning.cell((1, 0))
    assert cell.label == "batch_size 4, HOROVOD_CYCLE_TIME 1"
    assert cell.settings["batch_size"] == 4
    assert cell.settings["phases"] == ("train_step",)
    assert cell.horovod == {"HOROVOD_CYCLE_TIME": "1"}
    assert cell.id == next(one.id for one in cells_of(tuning.study) if one.label == cell.label)


def test_a_number_of_ranks_is_enough() -> None:
    tuning = made("2")
    default = tuning.cell(tuning.space.default)
    assert (default.label, default.ranks, dict(default.horovod)) == ("the defaults", 2, {})
    assert dict(default.settings) == {
        "warmup_steps": 2,
        "steps": 6,
        "blocks": 6,
        "phases": ("train_step",),
    }
    one = tuning.cell((1, 0, 0, 0))
    assert one.label == "convolution winograd"
    assert "--convolution" in command_of(one, "out", "python")


def test_the_default_axes_surround_the_files_own_settings() -> None:
    tuning = made("2", run={"batch_size": 4, "preset": "quick"})
    assert "batch_size" not in {axis.name for axis in tuning.space.axes}
    default = tuning.cell(tuning.space.default)
    assert dict(default.settings) == {"batch_size": 4, "preset": "quick", "phases": ("train_step",)}


def test_the_efficiency_is_of_one_rank_beside_all() -> None:
    tuning = made("2", run={"steps": 12, "blocks": 6})
    cell = tuning.efficiency_cell(tuning.space.default)
    assert cell.settings["sizes"] == (1, 2)
    assert (cell.settings["rounds"], "blocks" in cell.settings) == (6, False)
    assert cell.id != tuning.cell(tuning.space.default).id
    assert cell.label == "the defaults, one rank alone and all"


def test_a_tuning_is_known_again_from_json() -> None:
    for tuning in (made("2"), tuning_of(axes={"config": ["A", "D"]})):
        document = json.loads(json.dumps(tuning.as_dict()))
        again = tuning_from_dict(document)
        assert again.as_dict() == tuning.as_dict()
        for choice in tuning.space.single_changes(tuning.space.default):
            assert again.cell(choice) == tuning.cell(choice)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("90s", 90), ("1h30m", 5400), ("45", 45), ("1h5s", 3605)]
)
def test_budgets(text: str, seconds: float) -> None:
    assert read_budget(text, "--budget") == seconds


@pytest.mark.parametrize("text", ["", "0", "soon", "-5m", "10 minutes", "9999h", "5m1h"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(UsageError, match="must be a time such as 10m"):
        read_budget(text, "--budget")


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"job": {}}, "the unknown key 'job'; a tuning has the tables"),
        ({"run": 3}, r"run is '3'; it must be a table"),
        ({"tune": 3}, r"tune is '3'; it must be a table"),
        ({"tune": {"phase": "allreduce"}}, "tune.phase is 'allreduce'; it must be one of forward"),
        ({"tune": {"budget": 10}}, "tune.budget is '10'; it must be a text"),
        ({"tune": {"goal": 1}}, "the unknown key 'tune.goal'"),
        ({"study": {"repeat": 3}}, "the key study.repeat; a tuning repeats"),
        ({"study": {"hosts": ["a:2", "b:2"]}}, "several host lists"),
        ({"run": {"phases": "forward"}}, "run.phases; leave it out: name the one phase"),
        ({"run": {"sizes": "1,2"}}, "run.sizes; leave it out"),
        ({"axes": {"sizes": [1, 2]}}, "axes.sizes; leave it out"),
        ({"run": {"rounds": 7}}, "give blocks instead"),
        ({"axes": {"batch_size": [2]}}, "one combination of its levels"),
        ({"axes": {"batch_size": [0]}}, "axes.batch_size is '0'"),
        ({"run": {"flux": 1}}, "unknown key 'run.flux'"),
    ],
)
def test_files_that_are_wrong(tables: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        made("2", **tables)


@pytest.mark.parametrize("ranks", ["0", "two", "-1", ""])
def test_numbers_of_ranks_that_are_wrong(ranks: str) -> None:
    with pytest.raises(UsageError, match="-np is"):
        made(ranks)


def test_no_ranks_at_all_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no key study\.ranks"):
        made()
