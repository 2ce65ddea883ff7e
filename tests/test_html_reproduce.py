from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from distbench.analysis.collect import Run, load_run
from distbench.cli import main
from distbench.config import Config
from distbench.overrides import read_overrides
from distbench.report.html_reproduce import about_the_command, command, settings_flags, steps
from distbench.resolving import resolve
from distbench.simulation.cluster import (
    Cluster,
    DeadRank,
    SlowRank,
    Spike,
    ThermalStep,
    read_cluster,
)
from distbench.simulation.simulate import simulate
from tests.fakes import ladder_blocks, small_config, study_config, write_run, write_study


def given(words: list[str]) -> dict[str, Any]:
    """The flags of a command line as the parser would hold them; one that is repeated as a list."""
    flags: dict[str, Any] = {}
    while words:
        name = words.pop(0).removeprefix("--").replace("-", "_")
        value: Any = words.pop(0) if words and not words[0].startswith("--") else True
        flags[name] = value if name not in ("slow_rank", "spike") else [*flags.get(name, []), value]
    return flags


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"preset": "seed", "seed": "7"},
        {"preset": "quick", "blocks": "8", "phases": "forward,train_step"},
        {"preset": "cpu", "sizes": "1,2,4", "rounds": "4", "placement": "spread"},
        {"preset": "gpu", "sizes": "auto", "config": "A-LRN", "threads_per_rank": "3"},
        {"preset": "gpu", "scaling": "strong", "global_batch": "64", "sizes": "1,2,8"},
        {"preset": "gpu", "steps": "5"},
        {"preset": "gpu", "width_multiplier": "0.5", "tensorflow_log": True},
    ],
)
def test_the_flags_give_the_same_configuration_again(overrides: dict[str, Any]) -> None:
    config = resolve(read_overrides(overrides, {}), on_gpu=True, world_size=8)
    flags = given(settings_flags(config))
    assert resolve(read_overrides(flags, {}), on_gpu=False, world_size=8) == config


def test_only_what_differs_from_the_preset_is_named() -> None:
    assert settings_flags(Config()) == ["--preset", "gpu"]
    assert settings_flags(Config(batch_size=64)) == ["--preset", "gpu", "--batch-size", "64"]


def test_a_run_over_gloo_is_started_by_horovodrun(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    made = command(load_run(run_directory))
    assert made.startswith("horovodrun --gloo -np 2 python -m distbench --preset quick ")
    assert "2 ranks, one per device" in about_the_command(load_run(run_directory))


def test_a_run_over_mpi_is_started_by_mpirun(run_directory: Path) -> None:
    blocks = [ladder_blocks(), ladder_blocks()]
    write_run(run_directory, blocks, header_changes={"controller": "mpi"})
    assert command(load_run(run_directory)).startswith("mpirun -np 2 python -m distbench ")


def test_one_rank_needs_no_launcher(run_directory: Path) -> None:
    write_run(run_directory, [[{**one, "group_size": 1} for one in ladder_blocks()]])
    assert command(load_run(run_directory)).startswith("python -m distbench --preset quick ")


def test_several_hosts_are_named_with_their_slots(run_directory: Path) -> None:
    write_study(run_directory, study_config(), [0, 0, 1, 1])
    made = command(load_run(run_directory))
    assert made.startswith("horovodrun --gloo -np 4 -H node-0:2,node-1:2 python -m distbench ")
    assert "--sizes 1,2,4" in made


def test_no_host_name_becomes_a_command(run_directory: Path) -> None:
    config = small_config(sizes=(1, 2), steps=6, rounds=6)
    write_study(run_directory, config, [0, 0], header_changes={"host": "a;$(touch x)`'\"\n"})
    write_study(run_directory / "other", config, [0, 1])
    raw = "raw/rank-00001.jsonl"
    (run_directory / raw).write_bytes((run_directory / "other" / raw).read_bytes())
    words = shlex.split(command(load_run(run_directory)))
    assert words[words.index("-H") + 1] == "a;$(touch x)`'\"?:1,node-1:1"


def simulated(directory: Path, cluster: Cluster) -> Run:
    config = small_config(output=str(directory), sizes=(1, 2, 4), blocks=6, rounds=6)
    layout, _ = simulate(cluster, config)
    return load_run(layout.directory)


def test_a_simulated_cluster_is_stated_again(tmp_path: Path) -> None:
    cluster = Cluster(
        ranks=4,
        ranks_per_node=2,
        noise=0.02,
        slow_rank=(SlowRank(1, 1.05), SlowRank(3, 1.5)),
        thermal_step=ThermalStep(0.5, 1.1),
        spike=(Spike(2, 0.5, 10.0),),
    )
    run = simulated(tmp_path / "run", cluster)
    words = shlex.split(command(run))
    assert words[:2] == ["distbench", "simulate"]
    assert words[-2:] == ["--output", "DIR"]
    flags = given(words[2:])
    parameters = {name: flags.pop(name) for name in list(flags) if name in Cluster.__dict__}
    parameters |= {name: flags.pop(name) for name in ("slow_rank", "spike") if name in flags}
    assert read_cluster(parameters) == cluster
    again = resolve(read_overrides(flags, {}), on_gpu=True, world_size=4)
    assert settings_flags(again) == settings_flags(run.config)


def test_the_command_of_a_simulated_run_writes_the_same_records(tmp_path: Path) -> None:
    run = simulated(tmp_path / "run", Cluster(ranks=4, noise=0.02, slow_rank=(SlowRank(1, 1.05),)))
    words = shlex.split(command(run))
    assert main([*words[1:-1], str(tmp_path / "again")]) == 0
    first, again = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "raw").iterdir()}
        for name in ("run", "again")
    )
    assert len(first) == 4
    assert first == again


def test_a_rank_that_dies_is_stated_as_its_flag_takes_it(tmp_path: Path) -> None:
    run = simulated(tmp_path / "run", Cluster(ranks=4, dead_rank=DeadRank(3, 0.5)))
    assert "--dead-rank 3:0.5" in command(run)


def test_versions_and_commit_come_first(run_directory: Path) -> None:
    layout = write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    manifest = {
        "versions": {"horovod": "0.28.1", "distbench": "0.1.0"},
        "git_commit": "0123abcd-dirty",
        "ranks": [],
    }
    layout.manifest.write_text(json.dumps(manifest))
    assert steps(load_run(run_directory)) == [
        "Check out commit 0123abcd of distbench, which had changes that are not in it.",
        "Install the same versions: distbench 0.1.0, horovod 0.28.1.",
    ]


@pytest.mark.parametrize("strange", [{}, {"versions": 3}, {"simulated_cluster": "x"}])
def test_a_strange_manifest_only_says_less(run_directory: Path, strange: dict[str, Any]) -> None:
    blocks = [ladder_blocks(), ladder_blocks()]
    layout = write_run(run_directory, blocks, header_changes={"simulated": True})
    layout.manifest.write_text(json.dumps({"ranks": [], **strange}))
    assert steps(load_run(run_directory)) == []
    assert "python -m distbench" in command(load_run(run_directory))
