from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from distbench.analysis.collect import Run, load_run
from distbench.analysis.knob_checks import knob_checks, settings_rows
from distbench.config import Config
from tests.fakes import config_of, ladder_blocks, write_run


def setting(name: str, value: str, in_use: str | None = None) -> dict[str, Any]:
    return {"name": name, "requested": value, "in_use": in_use, "how": "the graph"}


def a_run(folder: Path, ranks: int = 2, proofs: Any = ({}, {}), **settings: Any) -> Run:
    blocks = [ladder_blocks()] * ranks
    config: Config = dataclasses.replace(config_of(blocks), **settings)
    run = load_run(
        write_run(folder / f"run-{len(list(folder.iterdir()))}", blocks, config).directory
    )
    changed = tuple(
        dataclasses.replace(one, preflight=proof) for one, proof in zip(run.ranks, proofs)
    )
    return dataclasses.replace(run, ranks=changed)


def told(run: Run) -> list[str]:
    return [f"{check.level}: {check.text}" for check in knob_checks(run)]


def test_nothing_is_said_of_what_stands_at_its_default(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    assert told(run) == []
    assert settings_rows(run) == []


def test_settings_of_the_reduction_without_one_are_named(tmp_path: Path) -> None:
    proofs = [{"settings_in_use": [setting("precision", "float32", "float32")]}]
    run = a_run(tmp_path, 1, proofs, cycle_time_ms=2.0, compression="fp16", precision="bfloat16")
    assert told(run) == [
        "note: set without effect on this run, as one rank reduces nothing: compression, "
        "cycle_time_ms"
    ]
    only = a_run(tmp_path, 1, proofs, precision="bfloat16")
    assert told(only) == []


def test_adasum_in_one_node_of_gpus_is_an_average(tmp_path: Path) -> None:
    proofs = [{"settings_in_use": [setting("reduction", "adasum", "adasum")]}] * 2
    run = a_run(tmp_path, 2, proofs, reduction="adasum")
    assert told(run) == []
    for one in run.ranks:
        assert one.header is not None
        one.header["device"]["kind"] = "GPU"
    with_nccl = dataclasses.replace(run, manifest={"horovod": {"nccl_built": 21000}})
    assert told(with_nccl)[0].startswith("note: Adasum without effect")


def test_what_ranks_read_back_must_be_there_and_the_same(tmp_path: Path) -> None:
    of_ranks = [
        {"settings_in_use": [setting("inter_op_threads", "2", used)]} for used in ("2", "1")
    ]
    differing = a_run(tmp_path, 2, of_ranks, inter_op_threads=2)
    assert told(differing) == [
        "suspect: rank 1: another inter_op_threads in use than on the first rank"
    ]
    silent = a_run(tmp_path, 2, [of_ranks[0], {}], inter_op_threads=2)
    assert "suspect: which settings were in use was not recorded by rank 1" in told(silent)[0]


@pytest.mark.parametrize(
    ("values", "level"),
    [
        ({"forward_backward_allreduce": 0.0, "train_step": 1e-7}, "note"),
        ({"train_step": 1e-7}, "suspect"),
        (None, "suspect"),
    ],
)
def test_uncounted_allreduces_need_a_proof_by_value(
    values: Any, level: str, tmp_path: Path
) -> None:
    proof = {
        "settings_in_use": [setting("xla", "all", "all")],
        "groups": {"world": {"reduced_by_value": values} if values else {}},
    }
    (found,) = told(a_run(tmp_path, 2, [proof] * 2, xla="all"))
    assert found.startswith(level)


def test_the_report_shows_what_was_asked_for_and_what_is_in_use(tmp_path: Path) -> None:
    proof = {
        "settings_in_use": [
            setting("precision", "bfloat16", "bfloat16"),
            {**setting("cycle_time_ms", "2"), "how": "requested, not readable"},
        ]
    }
    settings = {"precision": "bfloat16", "cycle_time_ms": 2.0, "layout": "NCHW"}
    assert settings_rows(a_run(tmp_path, 2, [proof] * 2, **settings)) == [
        ("setting precision", "bfloat16, as requested (the graph)"),
        ("setting layout", "NCHW (not recorded whether in use)"),
        ("setting cycle_time_ms", "2.0 (requested, not readable)"),
    ]
