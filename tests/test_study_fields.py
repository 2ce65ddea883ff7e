from __future__ import annotations

from typing import Any

import pytest

from distbench.errors import UsageError
from distbench.study.study import parse_study
from distbench.study.study_fields import file_name, is_file_name, repeat_flag
from tests.study_fakes import study_of


def test_defaults_are_written_out() -> None:
    assert study_of().as_dict() == {
        "study": {
            "name": "small",
            "launcher": "local",
            "controller": "gloo",
            "ranks": 2,
            "hosts": [],
            "repeat": 1,
            "time_limit_s": 3600,
            "order_seed": 0,
            "launcher_arguments": [],
        },
        "run": {"preset": "quick", "phases": ["train_step"], "steps": 6, "warmup_steps": 1},
        "axes": {},
        "horovod": {},
        "job": {"ranks_per_node": 0, "gpus_per_rank": 1, "cpus_per_rank": 0},
        "axes_order": [],
    }


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"colour": {}}, "has the unknown key 'colour'; a study has the tables study, run, axes"),
        ({"axes": 3}, "axes is '3'; it must be a table, [axes]"),
        ({"study": {"rank": 2}}, "has the unknown key 'study.rank'; known are name, launcher"),
        ({"run": {"batch": 2}}, "has the unknown key 'run.batch'; known are preset, config"),
        ({"run": {"output": "x"}}, "the key run.output, but each launch of a study has a run"),
        ({"axes": {"output": ["x"]}}, "the key axes.output, but each launch of a study has a run"),
        ({"axes": {"colour": ["red"]}}, "has the unknown key 'axes.colour'"),
        ({"job": {"nodes": 2}}, "has the unknown key 'job.nodes'; known are ranks_per_node"),
        ({"study": {"launcher": "sh"}}, "study.launcher is 'sh'; it must be one of local, mpirun"),
        ({"study": {"controller": "nccl"}}, "study.controller is 'nccl'; it must be one of gloo"),
        ({"study": {"ranks": "2"}}, "study.ranks is '2'; it must be a whole number from 0"),
        ({"study": {"ranks": True}}, "study.ranks is 'True'; it must be a whole number"),
        ({"study": {"repeat": 0}}, "study.repeat is '0'; it must be a whole number from 1 to 1000"),
        ({"study": {"name": ""}}, "study.name is ''; it must be a name of 1 to 100 printable"),
        ({"study": {"name": "a\nb"}}, "study.name is 'a?b'; it must be a name"),
        ({"study": {"hosts": "a:4"}}, "study.hosts is 'a:4'; it must be a list of texts"),
        ({"study": {"hosts": ["a:2", "a:2"]}}, "it must be a list of different host lists"),
        ({"study": {"hosts": ["a;touch x:2"]}}, "is no host name"),
        ({"study": {"launcher_arguments": ["\x1b"]}}, "a list of texts without control characters"),
        ({"axes": {"config": "A"}}, "axes.config is 'A'; it must be a list with at least one"),
        ({"axes": {"config": []}}, "axes.config is '[]'; it must be a list with at least one"),
        ({"axes": {"config": ["A", "F"]}}, "key axes.config is 'F'; it must be one of A, A-LRN"),
        (
            {"axes": {"batch_size": [2, "2"]}},
            "axes.batch_size holds '2' twice; give each value once",
        ),
        ({"axes": {"sizes": ["1,2"]}}, "sizes of one launch stand in [run]"),
        ({"horovod": {"PATH": ["x"]}}, "has the unknown key 'horovod.PATH'; known are Horovod's"),
        ({"horovod": {"HOROVOD_X;y": [1]}}, "has the unknown key 'horovod.HOROVOD_X;y'"),
        (
            {"horovod": {"HOROVOD_RANK": [1]}},
            "has the key horovod.HOROVOD_RANK, which the launcher",
        ),
        ({"horovod": {"HOROVOD_LOCAL_SIZE": [1]}}, "HOROVOD_LOCAL_SIZE, which the launcher sets"),
        ({"horovod": {"HOROVOD_CONTROLLER": ["mpi"]}}, "which the launcher sets; leave it out"),
        ({"horovod": {"HOROVOD_CYCLE_TIME": 1}}, "must be a list with at least one value"),
        ({"horovod": {"HOROVOD_CYCLE_TIME": [[1]]}}, "it must be a list of numbers, of true and"),
        (
            {"horovod": {"HOROVOD_CYCLE_TIME": ["a\0b"]}},
            "it must be a list of numbers, of true and",
        ),
    ],
)
def test_what_a_study_cannot_hold_is_named(tables: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        study_of(**tables)
    assert said in refused.value.sentence
    assert "\n" not in refused.value.sentence


def test_the_name_must_be_given() -> None:
    with pytest.raises(UsageError, match=r"has no key study.name"):
        parse_study({"study": {"ranks": 2}}, "study.toml")


def test_values_of_horovod_are_the_text_of_a_variable() -> None:
    study = study_of(horovod={"HOROVOD_CYCLE_TIME": [0.5, 10, True, False, "x y"]})
    assert study.horovod["HOROVOD_CYCLE_TIME"] == ("0.5", "10", "1", "0", "x y")
    with pytest.raises(UsageError, match="holds '1' twice"):  # the same for Horovod
        study_of(horovod={"HOROVOD_CYCLE_TIME": [True, 1]})


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("vgg on four GPUs", "vgg-on-four-GPUs"),
        ("../../x", "x"),
        ("/etc/passwd", "etc-passwd"),
        ("..", "study"),
        ("", "study"),
        ("-rf", "rf"),
        ("a\0b\n", "a-b"),
        ("größe ✓", "gr-e"),
        ("config A, seed 8", "config-A_seed-8"),
        ("a" * 99, "a" * 20),
        ("$(touch x);`y`'\"", "touch-x-y"),
    ],
)
def test_names_become_file_names_that_stay_in_their_folder(text: str, name: str) -> None:
    assert file_name(text, "study", longest=20) == name
    assert is_file_name(name)
    assert not is_file_name(text) or text == name


def test_what_is_no_file_name() -> None:
    for text in ("", "..", ".x", "-x", "a/b", "a\n", "a" * 65, "é"):
        assert not is_file_name(text)


def test_the_flag_is_checked_as_the_key_is() -> None:
    assert repeat_flag("12") == 12
    for raw in ("0", "-1", "x", "1001", ""):
        with pytest.raises(UsageError, match=r"--repeat is .*; it must be a whole number"):
            repeat_flag(raw)
