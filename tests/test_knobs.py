from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from distbench import knobs
from distbench.config import Config, settings
from distbench.errors import MissingPartError, UsageError
from distbench.knobs import Place
from distbench.resolving import resolve

CPU = Place(False, None, 1, {"mpi_enabled": True, "nccl_built": 0, "cuda_built": False})
BOTH = {"mpi_enabled": True, "nccl_built": 21000, "cuda_built": True}
A100 = Place(True, (8, 0), 2, BOTH)


def test_every_knob_is_a_setting_and_none_changes_what_is_run_by_default() -> None:
    assert set(knobs.KNOBS) <= set(settings())
    assert knobs.changed(Config()) == {}
    assert knobs.label(Config()) == ""
    assert knobs.work_label(Config()) == Config().network_label
    assert knobs.horovod_variables({}) == {}
    assert knobs.REDUCING_KNOBS[0] == "compression"


def test_a_title_names_what_is_not_as_by_default() -> None:
    config = Config(precision="bfloat16", xla="compute", compression="fp16", reduction="adasum")
    assert knobs.label(config) == "bfloat16, XLA compute, fp16 on the wire, Adasum"
    every = Config(
        inter_op_threads=2,
        loss_scale=64,
        tf32="off",
        layout="NCHW",
        convolution="winograd",
        input="host",
        grouped_allreduce=3,
        fusion_threshold_mb=0.5,
        cycle_time_ms=2,
        hierarchical_allreduce=True,
    )
    assert knobs.label(Config(reduction="scaled_sum")) == "sum of scaled gradients"
    assert knobs.label(every) == (
        "2 inter-op threads, loss scale 64, TF32 off, NCHW, Winograd convolutions, fed by the host, "
        "gradients in 3 group(s), fusion threshold 0.5 MiB, cycle time 2 ms, hierarchical allreduce"
    )
    assert knobs.work_label(config).startswith("VGG-D, 224×224, bfloat16")


def test_half_of_a_gradient_travels_in_16_bits() -> None:
    assert knobs.wire_bytes_per_gradient_byte(Config()) == 1.0
    assert knobs.wire_bytes_per_gradient_byte(Config(compression="fp16")) == 0.5


@pytest.mark.parametrize(
    ("overrides", "ranks", "found"),
    [
        ({"loss_scale": 64.0}, 1, "--loss-scale is 64 and --precision is float32"),
        (
            {"convolution": "winograd", "precision": "bfloat16"},
            1,
            "winograd with --precision bfloat16: its transforms",
        ),
        (
            {"convolution": "winograd", "image_size": 32, "width_multiplier": 0.25},
            1,
            "no convolution of this network has the channels and, with 1 image",
        ),
        ({"grouped_allreduce": 33}, 2, "is 33, and this network has 32 gradient tensors"),
        ({"grouped_allreduce": 2, "xla": "all"}, 2, "XLA knows Horovod's single allreduce only"),
        ({"reduction": "adasum", "grouped_allreduce": 2}, 2, "grouped allreduce fails"),
        ({"reduction": "adasum", "sizes": (1, 2)}, 2, "Adasum reduces all ranks of a job"),
        ({"reduction": "adasum"}, 6, "a power of two of ranks and this job has 6; start 4"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    overrides: dict[str, Any], ranks: int, found: str
) -> None:
    with pytest.raises(UsageError, match=found):
        resolve(overrides, on_gpu=False, world_size=ranks)


def test_settings_that_agree_are_taken() -> None:
    for ranks in (1, 2, 8):
        assert resolve({"reduction": "adasum"}, False, ranks).reduction == "adasum"
    assert resolve({"precision": "float16", "loss_scale": 64.0}, False, 1).loss_scale == 64.0
    assert resolve({"grouped_allreduce": 32}, False, 2).grouped_allreduce == 32
    assert resolve({"convolution": "winograd"}, False, 2).convolution == "winograd"


@pytest.mark.parametrize(
    ("values", "place", "found"),
    [
        ({"tf32": "on"}, CPU, "this rank computes on a CPU"),
        ({"tf32": "off"}, CPU, "this rank computes on a CPU"),
        ({"tf32": "on"}, A100._replace(compute_capability=(7, 0)), "compute capability 7.0"),
        ({"precision": "bfloat16"}, A100._replace(compute_capability=(7, 5)), "takes 8.0"),
        ({"convolution": "winograd"}, A100, "cuDNN chooses the algorithm itself"),
        ({"layout": "NCHW"}, CPU, "kernels for CPUs know NHWC only"),
        ({"xla": "all"}, CPU, "Horovod's XLA ops are for GPUs"),
        ({"xla": "all"}, A100._replace(build={}), "this Horovod was built without one"),
        ({"reduction": "adasum"}, CPU._replace(build={}), "this job runs over Gloo"),
        ({"hierarchical_allreduce": True}, CPU, "this rank computes on a CPU"),
        ({"hierarchical_allreduce": True}, A100._replace(build={"nccl_built": 1}), "has not both"),
        ({"hierarchical_allreduce": True}, A100._replace(build={"mpi_enabled": 1}), "has not both"),
        ({"hierarchical_allreduce": True}, A100._replace(nodes=1), "all ranks are on one node"),
    ],
)
def test_what_does_not_exist_here_is_refused_with_the_reason(
    values: dict[str, Any], place: Place, found: str
) -> None:
    with pytest.raises(MissingPartError, match=found):
        knobs.check_place(Config(**values), place)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({}, CPU),
        ({"convolution": "winograd"}, CPU),
        ({"precision": "bfloat16", "xla": "compute", "reduction": "adasum"}, CPU),
        ({"tf32": "off"}, A100._replace(compute_capability=(7, 0))),
        ({"tf32": "on"}, A100._replace(compute_capability=None)),  # not NVIDIA's, or not told
        ({"hierarchical_allreduce": True, "xla": "all", "layout": "NCHW", "tf32": "on"}, A100),
    ],
)
def test_what_exists_is_taken(values: dict[str, Any], place: Place) -> None:
    knobs.check_place(dataclasses.replace(Config(), **values), place)


def test_horovod_is_told_by_its_variables() -> None:
    environ = {"HOROVOD_CYCLE_TIME": "2.0", "HOME": "here"}
    overrides = {"fusion_threshold_mb": 0.5, "cycle_time_ms": 2.0, "xla": "all"}
    knobs.set_horovod_variables({**overrides, "hierarchical_allreduce": True}, environ)
    assert environ == {
        "HOME": "here",
        "HOROVOD_FUSION_THRESHOLD": "524288",
        "HOROVOD_CYCLE_TIME": "2",
        "HOROVOD_HIERARCHICAL_ALLREDUCE": "1",
        "HOROVOD_ENABLE_XLA_OPS": "1",
    }
    knobs.set_horovod_variables({"fusion_threshold_mb": 0.0}, fresh := {})
    assert fresh == {"HOROVOD_FUSION_THRESHOLD": "0"}
    knobs.set_horovod_variables({"fusion_threshold_mb": -1.0, "xla": "compute"}, untouched := {})
    assert untouched == {}


@pytest.mark.parametrize("held", ["5", "fast"])
def test_a_launcher_that_asks_for_something_else_is_a_contradiction(held: str) -> None:
    environ = {"HOROVOD_CYCLE_TIME": held}
    with pytest.raises(UsageError, match=f"CYCLE_TIME=2, and the environment holds .*={held};"):
        knobs.set_horovod_variables({"cycle_time_ms": 2.0}, environ)
    assert environ == {"HOROVOD_CYCLE_TIME": held}
