from __future__ import annotations

from typing import Any

import pytest

from distbench import config
from distbench.tune import default_axes as offered
from distbench.tune.default_axes import Machine, default_axes, this_machine


def levels(on_gpu: bool, cores: int, ranks: int, **run: Any) -> dict[str, tuple[Any, ...]]:
    return {axis.name: axis.levels for axis in default_axes(Machine(on_gpu, cores), ranks, run)}


def test_on_cpus_threads_batch_and_horovods_settings_are_tried() -> None:
    found = levels(False, 8, 2)
    assert found["threads_per_rank"] == (None, 2, 8)  # a share is 4
    assert found["batch_size"] == (None, 2, 4)  # the preset cpu has 1
    assert found["cycle_time_ms"] == (None, 0.5, 5, 20)
    assert found["grouped_allreduce"] == (None, 1, 4)
    assert found["convolution"] == (None, "winograd")
    assert not {"HOROVOD_NUM_NCCL_STREAMS", "xla", "tf32", "layout"} & set(found)


def test_winograd_is_tried_where_it_serves() -> None:
    assert "convolution" not in levels(False, 8, 2, image_size=32)
    assert "convolution" not in levels(False, 8, 2, precision="bfloat16")
    strong = {"scaling": "strong", "image_size": 32, "sizes": (1, 2)}
    assert "convolution" in levels(False, 8, 2, global_batch=128, **strong)
    assert "convolution" not in levels(False, 8, 2, global_batch=2, **strong)
    assert "convolution" not in levels(True, 8, 2)


def test_on_gpus_others_are() -> None:
    found = levels(True, 64, 8)
    assert found["batch_size"] == (None, 16, 64, 128)
    assert "threads_per_rank" not in found
    assert found["hierarchical_allreduce"] == (None, True)
    assert found["xla"] == (None, "compute", "all")
    assert found["precision"] == (None, "bfloat16", "float16")
    assert found["layout"] == (None, "NCHW")
    assert levels(True, 64, 1)["xla"] == (None, "compute")


def test_one_rank_has_nothing_to_communicate() -> None:
    found = set(levels(False, 4, 1)) | set(levels(True, 4, 1))
    assert not {"compression", "fusion_threshold_mb", "HOROVOD_NUM_NCCL_STREAMS"} & found


def test_what_is_fixed_is_not_tried() -> None:
    assert "batch_size" not in levels(False, 4, 2, batch_size=8)
    assert "batch_size" not in levels(False, 4, 2, scaling="strong", global_batch=8)


def test_settings_and_levels_that_do_not_exist_are_not_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offers = (
        offered._Offer("flux_capacitor", offered._always(1)),
        offered._Offer("head", offered._always("relu", "linear", "lobster")),
    )
    monkeypatch.setattr(offered, "_OFFERS", offers)
    assert levels(False, 4, 2) == {"head": (None, "relu")}
    assert "flux_capacitor" not in config.settings()


def test_every_offer_can_be_run_on_this_machine() -> None:
    machine = this_machine()
    assert machine.cores >= 1
    for axis in default_axes(machine, 2, {}):
        for level in axis.levels[1:]:
            if not axis.is_horovod:
                config.checked_value(axis.name, level, axis.name)
