from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distbench.analysis.collect import Run, load_run
from distbench.cli import main
from distbench.config import PHASES, Config
from distbench.errors import MissingPartError, OutputError, UsageError
from distbench.groups import plan_groups
from distbench.plan import plan_blocks
from distbench.records import decode, encode, raw_file_name
from distbench.simulation import simulate as simulator
from distbench.simulation.cluster import Cluster, DeadRank, SlowRank, Spike
from distbench.simulation.simulate import simulate
from tests.fakes import MS, small_config

Simulated = Callable[..., Run]


@pytest.fixture
def simulated(tmp_path: Path) -> Simulated:
    """Simulates a cluster of four ranks on two nodes into a directory of its own, and loads it."""

    def run(settings: dict[str, Any] | None = None, **parameters: Any) -> Run:
        directory = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        config = small_config(**{"sizes": (1, 2, 4), "output": str(directory), **(settings or {})})
        simulate(Cluster(**{"ranks": 4, "ranks_per_node": 2, **parameters}), config)
        return load_run(directory)

    return run


def lines_of(run: Run, rank: int) -> list[bytes]:
    return (run.layout.raw / raw_file_name(rank)).read_bytes().splitlines(keepends=True)


def raw_bytes(run: Run) -> list[bytes]:
    return [path.read_bytes() for path in sorted(run.layout.raw.iterdir())]


def test_a_simulated_run_is_read_like_a_real_one(simulated: Simulated) -> None:
    run = simulated()
    assert (run.problems, run.incomplete) == ((), ())
    assert run.size == 4
    assert set(run.steps["group"]) == {"world", "size-2", "independent"} | {
        f"alone-{rank:05d}" for rank in range(4)
    }
    assert [records.header["host"] for records in run.ranks if records.header] == [
        "simulated-node-000",
        "simulated-node-000",
        "simulated-node-001",
        "simulated-node-001",
    ]


def test_it_says_everywhere_that_it_is_simulated(simulated: Simulated) -> None:
    run = simulated(noise=0.02)
    for records in run.ranks:
        assert records.header is not None
        assert records.header["simulated"] is True
        assert records.header["device"]["name"] == "simulated device"
        assert records.preflight == {**(records.preflight or {}), "simulated": True}
    assert run.run_id.startswith("simulated-D-quick-np4-")
    assert json.loads(run.layout.status.read_text()) == {
        "state": "complete",
        "exit_code": 0,
        "run_id": run.run_id,
        "simulated": True,
    }
    stated = run.manifest["simulated_cluster"]
    assert stated["parameters"]["noise"] == 0.02
    assert stated["parameters"]["ranks"] == 4
    assert [row["size"] for row in stated["truth"]["with_noise"]] == [1, 2, 4]


def test_the_blocks_are_those_of_the_plan_in_its_order(simulated: Simulated) -> None:
    settings = {"placement": "spread", "scaling": "strong", "global_batch": 8}
    run = simulated(settings)
    plan = plan_blocks(run.config, plan_groups(run.config, [0, 0, 1, 1]))
    for rank in range(4):
        records = [decode(line) for line in lines_of(run, rank)]
        assert [record["kind"] for record in records[:2]] == ["header", "preflight"]
        assert [record["kind"] for record in records[-2:]] == ["final", "end"]
        assert [record["seq"] for record in records] == list(range(len(plan) + 4))
        for record, block in zip(records[2:-2], plan, strict=True):
            member = rank in block.group.ranks
            assert record["kind"] == ("block" if member else "wait")
            assert (record["phase"], record["block"]) == (block.phase, block.block)
            name = block.group.record_name(rank) if member else block.group.name
            assert record["group"] == name
            if member:
                images = 0 if block.phase == "allreduce" else 8 // block.group.size
                assert record["images_per_step"] == images
                assert len(record["duration_ns"]) == block.steps
    assert set(run.steps.loc[run.steps["group"] == "size-2", "rank"]) == {0, 2}


def test_every_line_is_what_the_ranks_own_writer_would_write(simulated: Simulated) -> None:
    run = simulated(dead_rank=DeadRank(1, 0.6))
    for rank in range(4):
        for line in lines_of(run, rank):
            assert encode(decode(line)) == line


def test_times_lie_on_one_line_and_a_collective_ends_for_all_at_once(simulated: Simulated) -> None:
    run = simulated({"steps": 12, "blocks": 6}, noise=0.05, slow_rank=(SlowRank(1, 1.5),))
    ends = run.steps.assign(end_ns=run.steps["start_ns"] + run.steps["duration_ns"])
    for _, own in ends.groupby("rank"):
        in_time = own.sort_values("start_ns")
        assert (in_time["start_ns"].iloc[1:].values >= in_time["end_ns"].iloc[:-1].values).all()
    together = ends[(ends["phase"] == "forward_backward_allreduce") & (ends["group"] == "world")]
    for _, on_node in together.groupby("host"):
        assert (on_node.groupby(["block", "step"])["end_ns"].nunique() == 1).all()
    first = ends[(ends["group"] == "world") & (ends["step"] == 0)]
    begins = first.groupby(["host", "phase", "block", "warmup"])["start_ns"].nunique()
    assert (begins == 1).all()
    assert first.groupby(["phase", "block", "warmup"])["start_ns"].nunique().max() == 2


def test_the_clusters_links_are_settings_unless_others_were_given(simulated: Simulated) -> None:
    own = simulated(inter_gb_per_s=12.5, intra_gb_per_s=250.0).config
    assert (own.link_gb_per_s, own.intra_link_gb_per_s) == (12.5, 250.0)
    given = simulated({"link_gb_per_s": 3.0}, inter_gb_per_s=12.5, intra_gb_per_s=250.0).config
    assert (given.link_gb_per_s, given.intra_link_gb_per_s) == (3.0, 250.0)


def test_waiting_lasts_as_long_as_the_block(simulated: Simulated) -> None:
    run = simulated(noise=0.05)
    blocks = {
        (block["phase"], block["block"], block["warmup"]): block
        for block in run.ranks[0].blocks
        if block["group"] == "size-2" and block["phase"] == "forward_backward_allreduce"
    }
    lines = (run.layout.raw / raw_file_name(3)).read_text().splitlines()
    waits = [
        wait
        for wait in map(json.loads, lines)
        if wait["kind"] == "wait"
        and wait["group"] == "size-2"
        and wait["phase"] == "forward_backward_allreduce"
    ]
    assert len(waits) == 7
    for wait in waits:
        block = blocks[wait["phase"], wait["block"], wait["warmup"]]
        assert wait["wall_ns"] == sum(block["duration_ns"])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(simulated: Simulated) -> None:
    first, again = simulated({"seed": 3}), simulated({"seed": 3})
    assert raw_bytes(first) == raw_bytes(again)
    assert first.manifest == again.manifest
    other = simulated({"seed": 4})
    assert all(one != two for one, two in zip(raw_bytes(first), raw_bytes(other)))
    assert first.run_id != other.run_id


def test_a_slow_rank_is_slow_alone_and_holds_the_others_up(simulated: Simulated) -> None:
    run = simulated(
        {"batch_size": 10},
        noise=0.0,
        network_noise=0.0,
        images_per_s=1000.0,
        slow_rank=(SlowRank(2, 1.5),),
    )
    steps = run.steps[run.steps["phase"] == "forward_backward"]
    for role in ("alone", "independent"):
        of_rank = steps[steps["role"] == role].groupby("rank")["duration_ns"].agg(set)
        assert of_rank.to_dict() == {0: {10 * MS}, 1: {10 * MS}, 2: {15 * MS}, 3: {10 * MS}}
    combined = run.steps[
        (run.steps["phase"] == "forward_backward_allreduce") & (run.steps["group"] == "world")
    ]
    assert combined["duration_ns"].nunique() == 1
    assert combined["duration_ns"].min() > 15 * MS


def test_a_spike_hits_one_step_of_one_rank(simulated: Simulated) -> None:
    quiet = {"noise": 0.0, "network_noise": 0.0, "images_per_s": 1000.0}
    run = simulated(
        {"sizes": (), "phases": ("forward_backward",), "batch_size": 10},
        spike=(Spike(3, 0.5, 7.0),),
        **quiet,
    )
    slow = run.steps[run.steps["duration_ns"] > 10 * MS]
    assert slow[["rank", "duration_ns"]].values.tolist() == [[3, 70 * MS]]


def test_a_rank_that_dies_ends_the_job(simulated: Simulated) -> None:
    run = simulated({"sizes": ()}, dead_rank=DeadRank(0, 0.5))
    dead, *others = run.ranks
    assert dead.failure is None
    assert dead.end is None
    for records in others:
        assert records.end is None
        assert records.failure is not None
        assert records.failure["is_echo"] is (records.rank != 1)
        assert len(records.blocks) == len(dead.blocks)
    plan = plan_blocks(run.config, plan_groups(run.config, [0, 0, 1, 1]))
    assert len(dead.blocks) == len(plan) // 2
    assert any("rank 0 has no end line" in reason for reason in run.incomplete)
    assert "rank 1 failed" in run.incomplete[0]
    status = json.loads(run.layout.status.read_text())
    assert (status["state"], status["exit_code"], status["rank"]) == ("failed", 4, 1)


def test_a_lone_rank_that_dies_at_once_leaves_a_running_job(simulated: Simulated) -> None:
    run = simulated({"sizes": ()}, ranks=1, dead_rank=DeadRank(0, 0.0))
    assert run.ranks[0].blocks == []
    assert json.loads(run.layout.status.read_text())["state"] == "running"


def test_an_existing_directory_is_not_touched(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        simulate(Cluster(ranks=2), small_config(output=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        simulate(Cluster(ranks=2), small_config(output=str(tmp_path / "file" / "run")))


def test_a_disk_that_fills_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(simulator, "_rank_file", full)
    config = small_config(output=str(tmp_path / "run"))
    with pytest.raises(OutputError, match=r"cannot be written .*No space left"):
        simulate(Cluster(ranks=2), config)
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["state"] == "running"


def test_numpy_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(MissingPartError, match="numpy is missing"):
        simulate(Cluster(ranks=2), small_config(output=str(tmp_path / "run")))


@pytest.mark.parametrize(
    ("changes", "parameters", "sentence"),
    [
        ({"steps": 2**31 - 1}, {"ranks": 65536}, "the most is 200000000"),
        ({"batch_size": 2**31 - 1}, {"images_per_s": 1e-3}, "the longest is 1e\\+08 s"),
        ({"steps": 10**5}, {"latency_us": 1e6, "ranks": 100}, "would last"),
        ({"steps": 2000}, {"images_per_s": 1e-3, "drift": 9.0}, "would last"),
        ({}, {"images_per_s": 1e-3, "spike": (Spike(0, 0, 1000.0),) * 1000}, "would last"),
    ],
)
def test_a_run_beyond_all_measure_is_refused(
    run_directory: Path, changes: dict[str, Any], parameters: dict[str, Any], sentence: str
) -> None:
    config = small_config(**{"output": str(run_directory), "phases": PHASES, **changes})
    with pytest.raises(UsageError, match=sentence):
        simulate(Cluster(**parameters), config)
    assert not run_directory.exists()


def test_the_command_resolves_settings_as_run_does(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--ranks", "6", "--ranks-per-node", "4", "--sizes", "auto", "--steps", "12"]
    arguments += ["--slow-rank", "1:1.1", "--slow-rank", "2:1.2", "--output", str(run_directory)]
    assert main(["simulate", *arguments]) == 0
    told = capsys.readouterr().out
    run = load_run(run_directory)
    assert run.config == Config(
        sizes=(1, 2, 4, 6),
        steps=12,
        rounds=6,
        blocks=6,
        output=str(run_directory),
        link_gb_per_s=1.5,
        intra_link_gb_per_s=100.0,
    )
    slow = [{"rank": 1, "factor": 1.1}, {"rank": 2, "factor": 1.2}]
    assert run.manifest["simulated_cluster"]["parameters"]["slow_rank"] == slow
    assert run.manifest["process_sets_registered"] == 3
    assert told.count("efficiency") == 4
    assert f"distbench report {run_directory}" in told


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the following arguments are required: --ranks"),
        (["--ranks", "4", "--noise", "1"], "--noise is '1'"),
        (["--ranks", "4", "--sizes", "8"], "--sizes asks for 8 ranks"),
        (["--ranks", "4", "--threads-per-rank", "2"], "unrecognized arguments"),
        (["--ranks", "4", "--steps", "3"], None),
    ],
)
def test_wrong_flags_of_the_command(
    arguments: list[str],
    sentence: str | None,
    run_directory: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(["simulate", *arguments, "--output", str(run_directory)])
    if sentence is None:
        assert code == 0
        return
    assert code == 2
    assert sentence in capsys.readouterr().err
    assert not run_directory.exists()


def test_its_help_needs_no_numpy() -> None:
    code = (
        "import sys\nsys.modules.update(numpy=None)\nfrom distbench.cli import main\n"
        "try:\n    main(['simulate', '--help'])\nexcept SystemExit:\n    pass"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "slower by 5 %" in " ".join(ended.stdout.split())


def test_its_report_says_that_it_is_simulated(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--ranks", "2", "--sizes", "1,2", "--steps", "12", "--output", str(run_directory)]
    assert main(["simulate", *arguments]) == 0
    assert main(["report", str(run_directory)]) == 0
    assert "SIMULATED" in capsys.readouterr().out
    assert "SIMULATED" in (run_directory / "derived" / "report.md").read_text()


def test_a_setting_that_a_simulated_cluster_lacks_is_refused(tmp_path: Path) -> None:
    config = Config(output=str(tmp_path / "run"), compression="fp16")
    with pytest.raises(
        UsageError, match="compression is fp16, and a simulated cluster has no such"
    ):
        simulate(Cluster(ranks=2), config)
    assert not (tmp_path / "run").exists()
