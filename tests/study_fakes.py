"""Studies whose launches write a small valid run in a moment, with a stand-in for the launcher."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distbench.config import Config
from distbench.durable_files import json_document
from distbench.groups import plan_groups
from distbench.layout import RunLayout
from distbench.plan import plan_blocks
from distbench.resolving import resolve
from distbench.study.study import Cell, Study, cells_of, parse_study
from tests.fakes import RUN_ID, block, write_run

ROOT = Path(__file__).parent.parent
SMALL_RUN = {"preset": "quick", "phases": "train_step", "steps": 6, "warmup_steps": 1}
SMALL_TOML = """\
[study]
name = "small"
ranks = 2
[run]
preset = "quick"
phases = "train_step"
steps = 6
warmup_steps = 1
[axes]
config = ["A", "D"]
batch_size = [2, 4]
"""


def study_of(**tables: Mapping[str, Any]) -> Study:
    """A study of two ranks and short runs; `tables` replace or add keys of the tables."""
    own = {"name": "small", "ranks": 2, **tables.pop("study", {})}
    varied = tables.get("axes", {})
    fixed = SMALL_RUN.items() if isinstance(varied, Mapping) else ()
    defaults = {name: value for name, value in fixed if name not in varied}
    run = {**defaults, **tables.pop("run", {})}
    return parse_study({"study": own, "run": run, **tables}, "study.toml")


def only_cell(**tables: Mapping[str, Any]) -> Cell:
    (cell,) = cells_of(study_of(**tables))
    return cell


def write_small_run(
    directory: Path,
    settings: Config,
    ranks: int,
    step_ms: float | Mapping[int, float] = 10.0,
    drift_ms: float = 0.0,
    **header: Any,
) -> RunLayout:
    """A complete run of these settings; `step_ms` may differ by size, block b is longer by b drifts."""
    planned = plan_blocks(settings, plan_groups(settings, [0] * ranks))
    blocks = [
        [
            block(
                one.phase,
                one.block,
                [_of_size(step_ms, one.group.size) + one.block * drift_ms] * one.steps,
                one.warmup,
                group=one.group.record_name(rank),
                group_size=one.group.size,
                role=one.group.role,
                images_per_step=settings.batch_of(one.group.size),
            )
            for one in planned
            if rank in one.group.ranks
        ]
        for rank in range(ranks)
    ]
    layout = write_run(directory, blocks, settings, header_changes=header)
    status = {"state": "complete", "exit_code": 0, "run_id": RUN_ID}
    layout.status.write_bytes(json_document(status))
    return layout


def _of_size(step_ms: float | Mapping[int, float], size: int) -> float:
    return step_ms[size] if isinstance(step_ms, Mapping) else step_ms


def run_of_cell(
    directory: Path,
    cell: Cell,
    step_ms: float | Mapping[int, float] = 10.0,
    drift_ms: float = 0.0,
    **header: Any,
) -> RunLayout:
    """A complete run of a cell (see `write_small_run`)."""
    settings = resolve(dict(cell.settings), on_gpu=False, world_size=cell.ranks)
    return write_small_run(directory, settings, cell.ranks, step_ms, drift_ms, **header)


def stand_in_launcher(folder: Path, rules: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
    """The variables of a study whose horovodrun is `stand_in_horovodrun.py`.

    `rules` are (words of the command line, what it does then); it does what the first that fits says.
    """
    folder.mkdir(exist_ok=True)
    program = folder / "horovodrun"
    script = ROOT / "tests" / "stand_in_horovodrun.py"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    program.chmod(0o755)
    set_rules(folder, rules)
    return {
        "PATH": f"{folder}:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "STAND_IN_FOLDER": str(folder),
    }


def set_rules(folder: Path, rules: Sequence[tuple[str, str]]) -> None:
    (folder / "rules.json").write_text(json.dumps(list(rules)))


def launched(folder: Path) -> list[list[str]]:
    """The command lines of all launches, in order."""
    path = folder / "launched.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def verdicts(directory: Path) -> dict[str, str]:
    """The state that was noted of each launch, by 'cell/attempt'."""
    return {
        f"{path.parent.parent.name}/{path.parent.name}": json.loads(path.read_text())["state"]
        for path in sorted(directory.glob("cells/*/*/verdict.json"))
    }
