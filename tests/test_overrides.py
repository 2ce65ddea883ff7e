from __future__ import annotations

from pathlib import Path

import pytest

from distbench.errors import UsageError
from distbench.overrides import read_overrides
from distbench.resolving import resolve


def test_flags_win_over_variables_over_file_over_preset(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[run]\npreset = "quick"\nbatch_size = 3\nsteps = 30\nseed = 5\n')
    environ = {"DISTBENCH_STEPS": "40", "DISTBENCH_SEED": "6", "HOME": "/"}
    found = resolve(read_overrides({"seed": "7"}, environ, str(path)), on_gpu=True, world_size=8)
    assert (found.batch_size, found.steps, found.seed, found.image_size) == (3, 40, 7, 32)


def test_links_and_peaks_come_from_all_sources(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[run]\nlink_gb_per_s = 25\nmeasure_peak = true\n")
    environ = {"DISTBENCH_INTRA_LINK_GB_PER_S": "300.5"}
    assert read_overrides({"device_peak_tflops": "19.5"}, environ, str(path)) == {
        "link_gb_per_s": 25.0,
        "measure_peak": True,
        "intra_link_gb_per_s": 300.5,
        "device_peak_tflops": 19.5,
    }


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
