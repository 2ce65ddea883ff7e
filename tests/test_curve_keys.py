from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distbench.analysis.collect import load_run
from distbench.analysis.curve_keys import curve_key, differing, text_of
from distbench.durable_files import json_document
from tests.fakes import header
from tests.study_fakes import only_cell, run_of_cell

MANIFEST: dict[str, Any] = {
    "versions": {"tensorflow-cpu": "2.18.1", "horovod": "0.28.1"},
    "git_commit": "abc",
    "mpi_library": None,
    "horovod": {"nccl_built": 0},
    "tensorflow": {"is_cuda_build": False},
    "environment": {"HOROVOD_FUSION_THRESHOLD": "1", "HOROVOD_RANK": "0"},
}


def key_of(
    folder: Path,
    manifest: dict[str, Any] | None = None,
    launcher: str = "local",
    hosts: str = "",
    varied: dict[str, str] | None = None,
    header_changes: dict[str, Any] | None = None,
    **tables: Any,
) -> dict[str, str]:
    directory = folder / f"run-{len(list(folder.iterdir()))}"
    layout = run_of_cell(directory, only_cell(**tables), **(header_changes or {}))
    layout.manifest.write_bytes(json_document(MANIFEST if manifest is None else manifest))
    return curve_key(load_run(directory), launcher, hosts, varied or {})


def changed(**values: Any) -> dict[str, Any]:
    return {**MANIFEST, **values}


def device(**values: Any) -> dict[str, Any]:
    return {"device": {**header(0, 2)["device"], **values}}


@pytest.mark.parametrize(
    "other",
    [
        {"run": {"steps": 12}},
        {"run": {"warmup_steps": 3}},
        {"run": {"seed": 5}},
        {"run": {"blocks": 3}},
        {"run": {"tensorflow_log": True}},
        {"run": {"measure_peak": True, "device_peak_tflops": 19.5}},
        {"run": {"link_gb_per_s": 25, "intra_link_gb_per_s": 300}},
        {"study": {"ranks": 1}, "varied": {"size": "1"}},
        {"manifest": changed(environment={"HOROVOD_FUSION_THRESHOLD": "1", "HOROVOD_RANK": "1"})},
        {"manifest": changed(environment={**MANIFEST["environment"], "SLURM_JOB_ID": "7"})},
        {"manifest": changed(environment={**MANIFEST["environment"], "HOROVOD_GLOO_IFACE": "lo"})},
    ],
)
def test_what_changes_neither_work_nor_conditions_is_not_in_the_key(
    other: dict[str, Any], tmp_path: Path
) -> None:
    assert differing([key_of(tmp_path), key_of(tmp_path, **other)]) == []


@pytest.mark.parametrize(
    ("other", "names"),
    [
        ({"run": {"config": "A"}}, ["config"]),
        ({"run": {"image_size": 64}}, ["image_size"]),
        ({"run": {"batch_size": 4}}, ["batch_size"]),
        ({"run": {"classes": 11}}, ["classes"]),
        ({"run": {"fc_units": 64}}, ["fc_units"]),
        ({"run": {"width_multiplier": 0.5}}, ["width_multiplier"]),
        ({"run": {"head": "relu"}}, ["head"]),
        ({"run": {"phases": "forward,train_step"}}, ["phases"]),
        ({"run": {"precision": "bfloat16"}}, ["precision"]),
        ({"run": {"xla": "compute"}}, ["xla"]),
        ({"run": {"layout": "NCHW"}}, ["layout"]),
        ({"run": {"tf32": "off"}}, ["tf32"]),
        ({"run": {"input": "host"}}, ["input"]),
        ({"run": {"compression": "fp16"}}, ["compression"]),
        ({"run": {"grouped_allreduce": 2}}, ["grouped_allreduce"]),
        ({"run": {"fusion_threshold_mb": 16}}, ["fusion_threshold_mb"]),
        ({"run": {"cycle_time_ms": 2}}, ["cycle_time_ms"]),
        ({"run": {"hierarchical_allreduce": True}}, ["hierarchical_allreduce"]),
        ({"run": {"inter_op_threads": 2}}, ["inter_op_threads"]),
        (
            {"run": {"scaling": "strong", "global_batch": 16}},
            ["batch_size", "scaling", "global_batch"],
        ),
        ({"run": {"sizes": "1,2"}}, ["one launch for all sizes", "placement"]),
        ({"launcher": "srun"}, ["launcher"]),
        ({"hosts": "a:2"}, ["hosts"]),
        ({"varied": {"HOROVOD_CYCLE_TIME": "5"}}, ["HOROVOD_CYCLE_TIME"]),
        ({"varied": {"seed": "5"}}, ["seed"]),
        ({"header_changes": device(name="another processor")}, ["device"]),
        ({"header_changes": device(kind="GPU")}, ["device"]),
        ({"header_changes": device(threads=2)}, ["threads per rank"]),
        ({"header_changes": {"controller": "mpi"}}, ["controller"]),
        ({"header_changes": {"simulated": True}}, ["simulated"]),
        (
            {"manifest": changed(versions={"horovod": "0.29"})},
            ["version of horovod", "version of tensorflow-cpu"],
        ),
        ({"manifest": changed(git_commit="def")}, ["distbench commit"]),
        ({"manifest": changed(mpi_library="Open MPI")}, ["MPI library"]),
        ({"manifest": changed(horovod={"nccl_built": 21000})}, ["Horovod build"]),
        ({"manifest": changed(tensorflow={"is_cuda_build": True})}, ["TensorFlow build"]),
        (
            {"manifest": changed(environment={"OMP_NUM_THREADS": "3"})},
            ["HOROVOD_FUSION_THRESHOLD", "OMP_NUM_THREADS"],
        ),
        (
            {"manifest": {}},
            [
                *("version of horovod", "version of tensorflow-cpu", "distbench commit"),
                *("Horovod build", "TensorFlow build", "HOROVOD_FUSION_THRESHOLD"),
            ],
        ),
    ],
)
def test_what_makes_launches_incomparable_is_in_the_key(
    other: dict[str, Any], names: list[str], tmp_path: Path
) -> None:
    one, another = key_of(tmp_path), key_of(tmp_path, **other)
    assert differing([one, another]) == names
    assert text_of(one) != text_of(another)


def test_under_strong_scaling_the_batch_of_a_rank_follows_from_the_size(tmp_path: Path) -> None:
    strong = {"scaling": "strong", "global_batch": 8}
    one = key_of(tmp_path, study={"ranks": 1}, run=strong)
    four = key_of(tmp_path, study={"ranks": 4}, run=strong)
    assert differing([one, four]) == []


def test_launches_of_several_sizes_are_of_the_same_world(tmp_path: Path) -> None:
    two = key_of(tmp_path, run={"sizes": "1,2"})
    four = key_of(tmp_path, study={"ranks": 4}, run={"sizes": "1,2"})
    assert differing([two, four]) == ["one launch for all sizes"]
