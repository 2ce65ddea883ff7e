from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from distbench import vgg
from distbench.analysis.collect import Run, load_run
from distbench.analysis.rank_costs import StartUp, expected_bytes, memory, start_up
from distbench.config import Config
from tests.fakes import ladder_blocks, write_run


def two_ranks(directory: Path, *finals: dict[str, Any]) -> Run:
    write_run(directory, [ladder_blocks(), ladder_blocks()])
    run = load_run(directory)
    for records, final in zip(run.ranks, finals):
        records.final = final
    return run


def test_the_slowest_rank_of_each_stage_counts(run_directory: Path) -> None:
    run = two_ranks(
        run_directory,
        {"start_up_s": [["importing", 5.0], ["preflight", 20.0]], "life_s": 100.0},
        {"start_up_s": [["importing", 9.0], ["preflight", 10.0]], "life_s": 100.0},
    )
    assert start_up(run) == StartUp({"importing": 9.0, "preflight": 20.0}, 0.2)


def test_older_records_tell_nothing(run_directory: Path) -> None:
    run = two_ranks(run_directory, {}, {})
    assert start_up(run) is None
    assert memory(run) is None


def test_the_rank_that_took_most_memory_counts(run_directory: Path) -> None:
    told = {
        "memory_before_network_bytes": 600,
        "peak_memory_bytes": 3_000,
        "device_peak_memory_bytes": 500,
    }
    found = memory(two_ranks(run_directory, told, {**told, "peak_memory_bytes": 4_000}))
    assert found is not None
    assert (found.host_bytes, found.before_network_bytes, found.device_bytes) == (4_000, 600, 500)


def test_the_network_asks_for_what_the_formula_says(run_directory: Path) -> None:
    """VGG-D at batch 32: 4 · 553.4 MB + 134.2 MB + 32 · 60.9 MB."""
    run = dataclasses.replace(two_ranks(run_directory), config=Config())
    network = vgg.build("D")
    assert expected_bytes(run) == 4 * 553_430_176 + 2**27 + 32 * network.activation_bytes
    assert expected_bytes(run) == pytest.approx(4.30e9, rel=0.005)


def test_what_distbench_keeps_follows_the_phases(run_directory: Path) -> None:
    run = two_ranks(run_directory, {"peak_memory_bytes": 1})
    for phases, copies in (
        (("forward", "allreduce"), 0),
        (("train_step",), 1),
        (("allreduce", "train_step"), 1),
    ):
        config = dataclasses.replace(run.config, phases=phases)
        found = memory(dataclasses.replace(run, config=config))
        assert found is not None
        assert found.kept_bytes == copies * config.network().grad_bytes


def test_winograds_tiles_are_kept_too(run_directory: Path) -> None:
    """36 numbers of each tile of 16 pixels: 2.25 times an input whose sides are multiples of 4."""
    run = dataclasses.replace(two_ranks(run_directory), config=Config(batch_size=1))
    with_winograd = dataclasses.replace(run, config=Config(batch_size=1, convolution="winograd"))
    served = vgg.build("D").layers
    inputs = sum(
        layer.inputs * layer.output_side**2
        for layer in served
        if isinstance(layer, vgg.Convolution)
        and layer.inputs >= 64
        and 28 <= layer.output_side < 224
    )
    assert expected_bytes(with_winograd) - expected_bytes(run) == 2.25 * 4 * inputs
