from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distbench.analysis.collect import load_run
from distbench.analysis.comparability import REFUSED, Difference, differences, facts_of
from distbench.config import settings
from distbench.durable_files import json_document
from tests.fakes import header, ladder_blocks, write_run

MANIFEST: dict[str, Any] = {
    "versions": {"horovod": "0.28.1"},
    "git_commit": None,
    "horovod": {"nccl_built": 1},
    "tensorflow": {"tensor_float_32_allowed": True},
    "environment": {"HOROVOD_FUSION_THRESHOLD": "1", "HOROVOD_RANK": "0"},
    "ranks": [
        {
            "rank": rank,
            "host": "node",
            "cores_allowed": [0],
            "device": {"kind": "CPU", "threads": 1},
            "cpu": "a processor",
            "system": "Linux 6.1",
            "driver": "",
            "cores_of_node": 2,
        }
        for rank in range(2)
    ],
}


def facts(folder: Path, manifest: dict[str, Any] | None = None, **header: Any) -> dict[str, str]:
    directory = folder / f"run-{len(list(folder.iterdir()))}"
    layout = write_run(directory, [ladder_blocks(), ladder_blocks()], header_changes=header)
    layout.manifest.write_bytes(json_document(MANIFEST if manifest is None else manifest))
    return facts_of(load_run(directory), "mpirun")


def device(**values: Any) -> dict[str, Any]:
    return {"device": {**header(0, 2)["device"], **values}}


def test_facts_are_settings_machines_and_software(tmp_path: Path) -> None:
    found = facts(tmp_path)
    assert found["batch_size"] == "2"
    assert found["seed"] == "0"
    assert found["sizes"] == "none"
    assert found["launcher"] == "mpirun"
    assert found["hosts"] == "node"
    assert found["processor"] == "a processor"
    assert found["operating system"] == "Linux 6.1"
    assert found["GPU driver"] == "not recorded"
    assert found["distbench commit"] == "not recorded"
    assert found["version of horovod"] == "0.28.1"
    assert found["HOROVOD_FUSION_THRESHOLD"] == "1"
    assert not {"HOROVOD_RANK", "output", "tensorflow_log"} & set(found)


def test_tf32_is_a_fact_of_gpus_only(tmp_path: Path) -> None:
    assert "TF32 allowed" not in facts(tmp_path)
    on_gpu = device(kind="GPU", name="a GPU")
    allowed, forbidden = (
        facts(tmp_path, {**MANIFEST, "tensorflow": {"tensor_float_32_allowed": value}}, **on_gpu)
        for value in (True, False)
    )
    found = differences([allowed], [forbidden])
    assert Difference("TF32 allowed", "True", "False", refuses=True) in found


def test_the_parameters_of_a_simulated_cluster_are_facts(tmp_path: Path) -> None:
    cluster = {"parameters": {"noise": 0.01, "thermal_step": None, "spike": []}}
    found = facts(tmp_path, {**MANIFEST, "simulated_cluster": cluster})
    assert found["simulated noise"] == "0.01"
    assert (found["simulated thermal_step"], found["simulated spike"]) == ("none", "none")


@pytest.mark.parametrize(
    ("manifest", "header_changes", "name", "refuses"),
    [
        ({}, device(name="another"), "device", True),
        ({}, {"simulated": True}, "simulated", True),
        ({}, {"host": "elsewhere"}, "hosts", False),
        ({}, {"controller": "mpi"}, "controller", False),
        ({"versions": {"horovod": "0.29"}}, {}, "version of horovod", False),
        ({"git_commit": "abc"}, {}, "distbench commit", False),
        ({"horovod": {"nccl_built": 0}}, {}, "Horovod build", False),
        ({"environment": {"HOROVOD_FUSION_THRESHOLD": "2"}}, {}, "HOROVOD_FUSION_THRESHOLD", False),
    ],
)
def test_what_differs_is_listed_and_what_forbids_to_compare_refuses(
    manifest: dict[str, Any],
    header_changes: dict[str, Any],
    name: str,
    refuses: bool,
    tmp_path: Path,
) -> None:
    one = facts(tmp_path)
    other = facts(tmp_path, {**MANIFEST, **manifest}, **header_changes)
    (found,) = differences([one], [other])
    assert (found.name, found.refuses) == (name, refuses)


def test_nothing_differs_between_equal_runs(tmp_path: Path) -> None:
    assert differences([facts(tmp_path)], [facts(tmp_path), facts(tmp_path)]) == []


def test_a_run_without_a_manifest_is_told_from_one_with(tmp_path: Path) -> None:
    found = differences([facts(tmp_path)], [facts(tmp_path, {})])
    assert Difference("version of horovod", "0.28.1", "not set", refuses=False) in found
    assert not any(one.refuses for one in found)


def test_every_value_of_a_side_is_shown_refusals_first() -> None:
    a = [{"seed": "1", "config": "A"}, {"seed": "2", "config": "A"}]
    b = [{"seed": "1", "config": "B"}]
    assert differences(a, b) == [
        Difference("config", "A", "B", refuses=True),
        Difference("seed", "1 or 2", "1", refuses=False),
    ]


def test_a_side_that_mixes_what_must_be_alike_is_refused_by_itself() -> None:
    mixed = [{"device": "x"}, {"device": "y"}]
    assert differences(mixed, mixed) == [Difference("device", "x or y", "x or y", refuses=True)]
    assert differences([{"seed": "1"}, {"seed": "2"}], [{"seed": "2"}, {"seed": "1"}]) == []


def test_long_values_are_cut_to_where_they_part() -> None:
    hosts = [f"node-{number:04d}" for number in range(100)]
    (found,) = differences([{"hosts": ", ".join(hosts)}], [{"hosts": ", ".join(hosts[:-1])}])
    assert found.a != found.b
    assert max(len(found.a), len(found.b)) <= 62
    assert found.a.endswith("node-0099")


def test_what_refuses_is_the_name_of_a_setting_or_of_a_fact(tmp_path: Path) -> None:
    """So that a setting that is renamed does not silently stop to refuse."""
    known = {*settings(), *facts(tmp_path), "TF32 allowed"}
    assert set(REFUSED) <= known
