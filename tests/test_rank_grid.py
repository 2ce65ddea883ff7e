from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from distbench.analysis.collect import load_run
from distbench.analysis.rank_grid import (
    alone_grid,
    computing_grid,
    node_order,
    rank_grid,
    timed_steps,
)
from tests.fakes import block, ladder_blocks, study_config, write_run, write_study


def of_size(blocks: list[dict[str, object]], size: int) -> list[dict[str, object]]:
    return [{**one, "group_size": size} for one in blocks]


def test_the_grid_holds_the_timed_steps_of_every_rank_in_order(run_directory: Path) -> None:
    blocks = [
        [
            block("forward_backward", 0, [500.0], warmup=True),
            block("forward_backward", 2, [scale * 12, scale * 13]),
            block("forward_backward", 1, [scale * 10, scale * 11]),
        ]
        for scale in (1, 2)
    ]
    write_run(run_directory, blocks)
    grid = computing_grid(load_run(run_directory).steps)
    assert grid is not None
    assert (grid.phase, grid.group) == ("forward_backward", "world")
    assert grid.ranks.tolist() == [0, 1]
    assert grid.blocks.tolist() == [1, 1, 2, 2]
    expected = np.array([[10.0, 11, 12, 13], [20, 22, 24, 26]]) * 1e6
    assert grid.duration_ns.tolist() == expected.tolist()


def test_only_steps_that_all_ranks_have_are_compared(run_directory: Path) -> None:
    whole = [block("forward_backward", index, [10.0, 11.0]) for index in (1, 2, 3)]
    torn = [whole[0], {**whole[1], "start_ns": [1000], "duration_ns": [7]}]
    write_run(run_directory, [whole, torn], unfinished=[1])
    grid = computing_grid(load_run(run_directory).steps)
    assert grid is not None
    assert grid.blocks.tolist() == [1, 1, 2]
    assert grid.duration_ns[1].tolist() == [10e6, 11e6, 7]


def test_a_group_with_a_rank_missing_is_not_compared(run_directory: Path) -> None:
    write_run(run_directory, [of_size(ladder_blocks(), 3), of_size(ladder_blocks(), 3)])
    assert computing_grid(load_run(run_directory).steps) is None


def test_forward_stands_in_and_communication_does_not(run_directory: Path, tmp_path: Path) -> None:
    for name, phases in {"forward": ["forward", "train_step"], "": ["train_step"]}.items():
        blocks = [one for one in ladder_blocks() if one["phase"] in phases]
        write_run(tmp_path / f"run-{name}", [blocks, blocks])
        grid = computing_grid(load_run(tmp_path / f"run-{name}").steps)
        assert (grid.phase if grid else "") == name


def test_one_rank_has_nobody_to_be_compared_with(run_directory: Path) -> None:
    write_run(run_directory, [of_size(ladder_blocks(), 1)])
    assert computing_grid(load_run(run_directory).steps) is None


def test_the_largest_group_of_a_study_is_the_main_one(run_directory: Path) -> None:
    write_study(run_directory, study_config(), [0, 0, 1, 1])
    steps = load_run(run_directory).steps
    grid = computing_grid(steps)
    assert grid is not None
    assert (grid.group, grid.ranks.tolist()) == ("world", [0, 1, 2, 3])
    alone = alone_grid(timed_steps(steps, "forward_backward"), "forward_backward")
    assert alone is not None
    assert alone.ranks.tolist() == [0, 1, 2, 3]
    assert alone.duration_ns.shape == grid.duration_ns.shape


def test_ranks_that_only_ran_alone_are_compared_too(run_directory: Path) -> None:
    write_study(run_directory, study_config(sizes=(1,)), [0, 0])
    grid = computing_grid(load_run(run_directory).steps)
    assert grid is not None
    assert (grid.group, grid.ranks.tolist()) == ("alone", [0, 1])


def test_rows_stand_node_by_node_whatever_the_numbers_of_the_ranks(run_directory: Path) -> None:
    write_study(run_directory, study_config(sizes=(4,)), [0, 1, 0, 1])
    grid = computing_grid(load_run(run_directory).steps)
    assert grid is not None
    assert grid.ranks.tolist() == [0, 2, 1, 3]
    assert grid.hosts == ("node-0", "node-0", "node-1", "node-1")
    assert grid.duration_ns[:, 0].tolist() == [
        30.001e6,
        30.001e6,
        30.601e6,
        30.001e6,
    ]  # rank 1: 2 %
    # a node called earlier in the alphabet does not come first
    assert node_order(["b", "a", "b"]) == [0, 2, 1]


def test_categories_and_small_integers_do(run_directory: Path) -> None:
    write_study(run_directory, study_config(), [0, 0, 1, 1])
    steps = load_run(run_directory).steps
    plain = computing_grid(steps)
    for name in ("host", "phase", "group", "role"):
        steps[name] = pd.Categorical(steps[name])
    for name in ("rank", "block", "step", "group_size"):
        steps[name] = steps[name].astype(np.int32)
    small = computing_grid(steps)
    assert plain is not None
    assert small is not None
    assert (small.hosts, small.group) == (plain.hosts, plain.group)
    assert (small.duration_ns == plain.duration_ns).all()


def test_no_step_in_common_is_no_grid(run_directory: Path) -> None:
    blocks = [[block("forward_backward", index, [10.0])] for index in (1, 2)]
    write_run(run_directory, blocks)
    timed = timed_steps(load_run(run_directory).steps, "forward_backward")
    assert rank_grid(timed, "forward_backward", "world") is None
