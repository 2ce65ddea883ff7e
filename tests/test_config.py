from __future__ import annotations

from typing import Any

import pytest

from distbench import config
from distbench.config import Config
from distbench.errors import UsageError
from distbench.overrides import read_overrides
from distbench.resolving import resolve


def resolved(on_gpu: bool = False, environ: dict[str, str] | None = None, **flags: Any) -> Config:
    return resolve(read_overrides(flags, environ or {}), on_gpu=on_gpu, world_size=8)


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
        ("sizes", "1,2,2", "--sizes is '1,2,2'; it must be a list of different numbers of ranks"),
        ("sizes", "1,,2", "--sizes is '1,,2'; it must be a list of different numbers of ranks"),
        ("sizes", "0,1", "--sizes is '0,1'; it must be a list of different numbers of ranks"),
        ("sizes", "", "--sizes is ''; it must be a list of different numbers of ranks"),
        ("sizes", "all", "--sizes is 'all'; it must be a list of different numbers of ranks"),
        ("placement", "near", "--placement is 'near'; it must be one of packed, spread"),
        ("scaling", "medium", "--scaling is 'medium'; it must be one of weak, strong"),
        ("link_gb_per_s", "-1", "--link-gb-per-s is '-1'; it must be a number from 0 to 1e+09"),
        ("device_peak_tflops", "fast", "--device-peak-tflops is 'fast'; it must be a number"),
        ("measure_peak", "2", "--measure-peak is '2'; it must be true or false"),
        ("output", "a\nb", "it must be the path of a directory"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_wanted(name: str, raw: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_overrides({name: raw}, {})
    assert said in caught.value.sentence
    assert caught.value.exit_code == 2


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


def test_peaks_and_links_are_not_given_by_default() -> None:
    found = resolved()
    assert (found.measure_peak, found.device_peak_tflops) == (False, 0.0)
    assert (found.link_gb_per_s, found.intra_link_gb_per_s) == (0.0, 0.0)


def test_a_config_of_before_a_setting_was_there_has_its_default() -> None:
    before = resolved().as_dict()
    for name in ("measure_peak", "device_peak_tflops", "link_gb_per_s", "intra_link_gb_per_s"):
        del before[name]
    assert config.from_dict(before) == resolved()


def test_a_studys_config_survives_its_json_form() -> None:
    before = resolved(sizes="auto", scaling="strong", global_batch="64", placement="spread")
    assert config.from_dict(before.as_dict()) == before
    with pytest.raises(UsageError, match="a run holds the sizes themselves"):
        config.from_dict({**before.as_dict(), "sizes": "auto"})
