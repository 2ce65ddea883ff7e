"""Simulated runs without files: what `load_run` would read of the directory that `simulate` writes.

A thousand runs are then a matter of minutes. `check_against_files` proves that both ways give the same
frames.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from distbench.analysis.collect import Run, load_run
from distbench.analysis.run_frames import blocks_frame, steps_frame
from distbench.config import Config
from distbench.groups import plan_groups
from distbench.layout import RunLayout
from distbench.plan import plan_blocks
from distbench.records import RankRecords
from distbench.simulation import simulate as simulator
from distbench.simulation.cluster import Cluster
from distbench.simulation.cluster_steps import SimulatedBlock, run_plan

RUN_ID = "simulated-in-memory"


def simulated_run(cluster: Cluster, config: Config) -> Run:
    """The run of a cluster that nobody dies in; its manifest is empty and it holds no waits."""
    config = simulator._with_links(cluster, config)
    groups = plan_groups(config, cluster.nodes)
    plan = plan_blocks(config, groups)
    layout = RunLayout(Path(config.output))
    simulation = simulator.Simulation(cluster, config, groups, plan, len(plan), RUN_ID, layout)
    blocks = list(run_plan(cluster, simulation.config, simulation.plan))
    clocks_ns = simulator._clocks_ns(simulation)
    ranks = tuple(
        RankRecords(
            rank=rank,
            header={"run_id": simulation.run_id, **simulator._header(simulation, rank)},
            blocks=_blocks_of(rank, simulation, blocks, clocks_ns[cluster.node_of(rank)]),
        )
        for rank in range(cluster.ranks)
    )
    return Run(
        layout=simulation.layout,
        config=simulation.config,
        manifest={},
        ranks=ranks,
        steps=steps_frame(ranks),
        blocks=blocks_frame(ranks),
        waits=pd.DataFrame(),
        problems=(),
        incomplete=(),
    )


def _blocks_of(
    rank: int, simulation: simulator.Simulation, blocks: Sequence[SimulatedBlock], clock_ns: int
) -> list[dict[str, Any]]:
    found = []
    for block in blocks:
        planned = block.planned
        if rank not in planned.group.ranks:
            continue
        place = planned.group.ranks.index(rank) if len(block.duration_ns) > 1 else 0
        own = block.duration_ns[place]
        found.append(
            {
                "run_id": simulation.run_id,
                "phase": planned.phase,
                "group": planned.group.record_name(rank),
                "group_size": planned.group.size,
                "role": planned.group.role,
                "block": planned.block,
                "warmup": planned.warmup,
                "images_per_step": simulator._images_per_step(simulation.config, planned),
                "start_ns": clock_ns + block.start_ns + own.cumsum() - own,
                "duration_ns": own,
            }
        )
    return found


def check_against_files(cluster: Cluster, config: Config) -> None:
    """Raises AssertionError unless files of the same cluster give the same steps but for the run id."""
    with tempfile.TemporaryDirectory(prefix="distbench-in-memory-") as folder:
        config = dataclasses.replace(config, output=str(Path(folder) / "run"))
        simulator.simulate(cluster, config)
        read = load_run(config.output)
    made = simulated_run(cluster, config)
    unlike_by_name = ["run_id"]
    pd.testing.assert_frame_equal(
        made.steps.drop(columns=unlike_by_name), read.steps.drop(columns=unlike_by_name)
    )
    pd.testing.assert_frame_equal(made.blocks, read.blocks)
