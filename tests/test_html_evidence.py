from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from distbench.analysis.collect import Run, load_run
from distbench.report.html_evidence import MOST_HOSTS, evidence_sections
from tests.fakes import ladder_blocks, write_run


def described(rank: int, host: str, **more: Any) -> dict[str, Any]:
    device = {"kind": "GPU", "name": "a device", "threads": 1}
    return {"rank": rank, "host": host, "device": device, "cores_allowed": [0], **more}


def a_run(directory: Path, ranks: list[dict[str, Any]], **manifest: Any) -> Run:
    layout = write_run(directory, [ladder_blocks(), ladder_blocks()])
    layout.manifest.write_text(json.dumps({"ranks": ranks, **manifest}))
    return load_run(directory)


def content(run: Run, identity: str) -> str:
    return next(one.content for one in evidence_sections(run) if one.identity == identity)


def test_ranks_of_one_machine_share_its_row(run_directory: Path) -> None:
    ranks = [described(rank, f"node-{rank // 4}") for rank in range(8)]
    ranks[6] = described(6, "node-1", device={"kind": "GPU", "name": "another", "threads": 1})
    shown = content(a_run(run_directory, ranks), "environment")
    rows = re.findall(r'<tr><th scope="row">(node-.*?)</tr>', shown)
    assert rows == [
        "node-0</th><td>0–3</td><td>a device</td>",
        "node-1</th><td>4–5, 7</td><td>a device</td>",
        "node-1</th><td>6</td><td>another</td>",
    ]


def test_columns_that_nobody_filled_are_left_out(run_directory: Path) -> None:
    ranks = [described(0, "a", memory_bytes=25_276_502_016), described(1, "b", driver="")]
    shown = content(a_run(run_directory, ranks), "environment")
    assert "25.3 GB" in shown
    assert ">driver<" not in shown


def test_many_machines_are_counted_and_not_all_shown(run_directory: Path) -> None:
    ranks = [described(rank, f"node-{rank}") for rank in range(MOST_HOSTS + 1)]
    shown = content(a_run(run_directory, ranks), "environment")
    assert f"The machines; the first {MOST_HOSTS} of {MOST_HOSTS + 1}" in shown
    assert f">node-{MOST_HOSTS - 1}<" in shown
    assert f">node-{MOST_HOSTS}<" not in shown


def test_variables_are_shown_and_escaped(run_directory: Path) -> None:
    run = a_run(run_directory, [], environment={"NCCL_DEBUG": "<b>"})
    assert '<th scope="row">NCCL_DEBUG</th><td>&lt;b&gt;</td>' in content(run, "environment")


def test_without_a_manifest_the_rest_is_there(run_directory: Path) -> None:
    write_run(run_directory, [ladder_blocks(), ladder_blocks()])
    run = load_run(run_directory)
    assert "The machines" not in content(run, "environment")
    assert "distbench report DIR" in content(run, "reproduce")
    assert "horovodrun --gloo -np 2 python -m distbench" in content(run, "reproduce")


def test_the_method_of_a_simulated_run_says_that_it_is_one(run_directory: Path) -> None:
    blocks = [ladder_blocks(), ladder_blocks()]
    write_run(run_directory, blocks, header_changes={"simulated": True})
    assert "SIMULATED" in content(load_run(run_directory), "method")
    write_run(run_directory / "real", blocks)
    assert "SIMULATED" not in content(load_run(run_directory / "real"), "method")
