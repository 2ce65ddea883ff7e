from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distbench import config
from distbench.config import Config, read_overrides, resolve
from distbench.errors import UsageError


def resolved(on_gpu: bool = False, environ: dict[str, str] | None = None, **flags: Any) -> Config:
    return resolve(read_overrides(flags, environ or {}), on_gpu=on_gpu)


def test_default_on_a_gpu_has_the_seeds_sizes_and_the_papers_head() -> None:
    found = resolved(on_gpu=True)
    assert (found.config, found.image_size, found.batch_size) == ("D", 224, 32)
    assert (found.warmup_steps, found.steps) == (10, 100)
    assert (found.head, found.preset) == ("linear", "gpu")
    assert found.phases == config.PHASES


def test_default_on_a_cpu_is_the_real_network_with_few_steps() -> None:
    found = resolved()
    assert (found.config, found.image_size, found.batch_size, found.preset) == ("D", 224, 1, "cpu")
    assert found.warmup_steps in (1, 2)
    assert found.steps >= 6
    assert found.is_vgg


def test_seed_preset_has_the_relu_head_on_any_device() -> None:
    assert resolved(preset="seed").head == "relu"
    assert resolved(preset="seed").batch_size == 32


def test_quick_is_marked_as_not_vgg() -> None:
    found = resolved(preset="quick")
    assert not found.is_vgg
    assert found.blocks >= 6
    assert found.network_label == "NOT VGG: D with width ×0.25, 128 FC units, 32×32, 10 classes"
    assert found.network().parameter_count == 955_098


def test_flags_win_over_variables_over_file_over_preset(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[run]\npreset = "quick"\nbatch_size = 3\nsteps = 30\nseed = 5\n')
    environ = {"DISTBENCH_STEPS": "40", "DISTBENCH_SEED": "6", "HOME": "/"}
    found = resolve(read_overrides({"seed": "7"}, environ, str(path)), on_gpu=True)
    assert (found.batch_size, found.steps, found.seed, found.image_size) == (3, 40, 7, 32)


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("config", "F", "--config is 'F'; it must be one of A, A-LRN, B, C, D, E"),
        ("batch_size", "0", "--batch-size is '0'; it must be a whole number of at least 1"),
        ("batch_size", "-3", "--batch-size is '-3'; it must be a whole number of at least 1"),
        ("batch_size", "x", "--batch-size is 'x'; it must be a whole number of at least 1"),
        ("image_size", "100", "--image-size is '100'; it must be a positive multiple of 32"),
        ("image_size", "0", "--image-size is '0'; it must be a positive multiple of 32"),
        ("image_size", "-32", "--image-size is '-32'; it must be a positive multiple of 32"),
        ("width_multiplier", "0.3", "--width-multiplier is '0.3'; it must be a positive number"),
        (
            "width_multiplier",
            "1e400",
            "--width-multiplier is '1e400'; it must be a positive number",
        ),
        ("batch_size", "1" + "0" * 26, "it must be a whole number of at least 1"),
        ("tensorflow_log", [1], "--tensorflow-log is '[1]'; it must be true or false"),
        ("config", [1], "--config is '[1]'; it must be one of A"),
        ("width_multiplier", "nan", "--width-multiplier is 'nan'; it must be a positive number"),
        ("phases", "forward,backward", "it must be a list without repetition of forward"),
        ("phases", "", "it must be a list without repetition of forward"),
        ("preset", "fast", "--preset is 'fast'; it must be one of seed, gpu, cpu, quick"),
        ("output", "a\nb", "it must be the path of a directory"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_wanted(name: str, raw: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_overrides({name: raw}, {})
    assert said in caught.value.sentence
    assert caught.value.exit_code == 2


def test_the_source_of_a_wrong_value_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[run]\nbatch_size = 1.5\n")
    with pytest.raises(UsageError, match=r"run\.toml key run\.batch_size is '1\.5'"):
        read_overrides({}, {}, str(path))
    with pytest.raises(UsageError, match="DISTBENCH_STEPS is 'many'"):
        read_overrides({}, {"DISTBENCH_STEPS": "many"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[run]\nbatchsize = 1\n", "unknown key run.batchsize"),
        ("[bench]\n", "unknown key bench"),
        ("run = 3\n", "must be a table"),
        ("[run\n", "is not valid TOML"),
        ("[run]\nseed = true\n", "run.seed"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_overrides({}, {}, str(path))
    assert said in caught.value.sentence
    assert str(path) in caught.value.sentence


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml cannot be read \(No such file"):
        read_overrides({}, {}, str(tmp_path / "none.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not valid TOML"):
        read_overrides({}, {}, str(tmp_path / "bytes.toml"))


def test_a_misspelt_variable_is_refused_but_reserved_ones_are_not() -> None:
    with pytest.raises(UsageError, match="DISTBENCH_BATCHSIZE, which is no setting"):
        read_overrides({}, {"DISTBENCH_BATCHSIZE": "1"})
    assert read_overrides({}, {"DISTBENCH_CACHE_DIR": "/somewhere"}) == {}


def test_more_blocks_than_steps_is_refused() -> None:
    with pytest.raises(UsageError, match="--blocks is 9 and --steps is 8"):
        resolved(steps="8", blocks="9")


def test_fewer_steps_than_the_presets_blocks_need_no_blocks_flag() -> None:
    assert resolved(steps="3").blocks == 3


def test_timed_steps_are_divided_among_the_blocks() -> None:
    assert Config(steps=10, blocks=4).steps_of_blocks() == (3, 3, 2, 2)


def test_other_classes_are_in_the_label() -> None:
    assert resolved(classes="10", image_size="32").network_label == "VGG-D, 32×32, 10 classes"


def test_phases_come_in_the_ladders_order() -> None:
    assert resolved(phases="allreduce,forward").phases == ("forward", "allreduce")


def test_config_survives_its_json_form() -> None:
    before = resolved(preset="quick", config="E", phases="forward")
    assert config.from_dict(before.as_dict()) == before
    with pytest.raises(UsageError, match="unknown key 'colour'"):
        config.from_dict({**before.as_dict(), "colour": 1})
