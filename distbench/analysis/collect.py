"""A run directory as pandas frames, from the raw records alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from distbench.analysis.completeness import problems_in_words, reasons_incomplete
from distbench.analysis.run_frames import blocks_frame, steps_frame, waits_frame
from distbench.config import Config, from_dict
from distbench.errors import RecordsError, UsageError
from distbench.layout import RunLayout
from distbench.records import RankRecords, read_rank_file


class Progress(Protocol):
    """Is told what is being done, and how much of it is done where it can be counted."""

    def __call__(self, what: str, done: int = 0, total: int = 0) -> None: ...


def silent(what: str, done: int = 0, total: int = 0) -> None:
    """Progress that nobody wants to see."""


@dataclass(frozen=True)
class Run:
    """One run as its files tell it.

    `steps` has one row per rank × phase × block × step: `start_ns` and `duration_ns` in integer
    nanoseconds of the rank's own clock, `images` of that rank and step, `warmup` for the steps that
    no result counts. `blocks` has one row per rank × phase × block with the device's telemetry.
    `waits` has one row per rank that was outside of a block's group: how long it waited in all, and
    its CPU time meanwhile. Words in `steps` and `blocks` are categories, counts have 32 bits.
    `problems` are lines that could not be trusted, `incomplete` the reasons why the run is not whole;
    what many ranks have in common is told once.
    """

    layout: RunLayout
    config: Config
    manifest: dict[str, Any]
    ranks: tuple[RankRecords, ...]
    steps: pd.DataFrame
    blocks: pd.DataFrame
    waits: pd.DataFrame
    problems: tuple[str, ...]
    incomplete: tuple[str, ...]

    @property
    def run_id(self) -> str:
        """The run's id."""
        return str(self.first_header["run_id"])

    @property
    def first_header(self) -> dict[str, Any]:
        """The header of the first rank that has one."""
        return next(records.header for records in self.ranks if records.header is not None)

    @property
    def size(self) -> int:
        """How many ranks the job was started with."""
        return int(self.first_header["size"])

    @property
    def grad_bytes(self) -> int:
        """The bytes of all gradients of one rank: what an allreduce carries."""
        return int(self.first_header["grad_bytes"])

    @property
    def is_simulated(self) -> bool:
        """Whether the records come from a simulated cluster and not from devices."""
        return bool(self.first_header.get("simulated", False))

    @property
    def device_kind(self) -> str:
        """'GPU', 'CPU', or both joined by 'and' where ranks differ."""
        kinds = {records.header["device"]["kind"] for records in self.ranks if records.header}
        return " and ".join(sorted(kinds))


def load_run(directory: str | Path, progress: Progress = silent) -> Run:
    """Reads a run directory. Raises RecordsError where it holds no record of any rank.

    `progress` is told of each file of a rank that was read.
    """
    layout = RunLayout(Path(directory))
    config, run_id = _read_config(layout)
    ranks = _read_ranks(layout, run_id, progress)
    headers = [records.header for records in ranks if records.header is not None]
    if not headers:
        raise RecordsError(
            f"{layout.raw} holds no readable record of any rank{_first_problem(ranks)}; "
            "name a run directory whose run got as far as its first block"
        )
    progress("putting the records of all ranks together")
    size = int(headers[0]["size"])
    return Run(
        layout=layout,
        config=config,
        manifest=_read_manifest(layout),
        ranks=ranks,
        steps=steps_frame(ranks),
        blocks=blocks_frame(ranks),
        waits=waits_frame(ranks),
        problems=tuple(problems_in_words(ranks)),
        incomplete=tuple(reasons_incomplete(ranks, size, config)),
    )


def _first_problem(ranks: Sequence[RankRecords]) -> str:
    problems = [problem for records in ranks for problem in records.problems]
    return f" ({problems[0]})" if problems else ""


def _read_config(layout: RunLayout) -> tuple[Config, str]:
    document = _read_json(layout.config)
    run_id = document.pop("run_id", None)
    try:
        return from_dict(document), str(run_id)
    except UsageError as error:
        raise RecordsError(f"{layout.config}: {error.sentence}") from error


def _read_manifest(layout: RunLayout) -> dict[str, Any]:
    manifest = _read_json(layout.manifest) if layout.manifest.exists() else {}
    ranks, environment = manifest.get("ranks", []), manifest.get("environment", {})
    whole = isinstance(environment, dict) and isinstance(ranks, list)
    if not whole or not all(_describes_a_rank(item) for item in ranks):
        raise RecordsError(
            f"{layout.manifest} is damaged: it does not describe the ranks; bring it back from a "
            "copy, or take it away to report without it"
        )
    return manifest


def _describes_a_rank(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and {"rank", "host", "device", "cores_allowed"} <= set(item)
        and isinstance(item["device"], dict)
        and {"kind", "threads"} <= set(item["device"])
        and isinstance(item["cores_allowed"], list)
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise RecordsError(
            f"{path} cannot be read ({error.strerror}); name the directory of a run, "
            "which holds config.json and raw/"
        ) from error
    except (ValueError, RecursionError) as error:
        raise RecordsError(
            f"{path} is not valid JSON ({error}); bring it back from a copy of the run directory"
        ) from error
    if not isinstance(document, dict):
        raise RecordsError(f"{path} holds no JSON object; bring it back from a copy")
    return document


def _read_ranks(layout: RunLayout, run_id: str, progress: Progress) -> tuple[RankRecords, ...]:
    paths = sorted(layout.raw.glob("rank-*.jsonl"))
    ranks: list[RankRecords] = []
    for path in paths:
        progress("reading records: ranks", len(ranks), len(paths))
        ranks.append(read_rank_file(path, run_id))
    return tuple(ranks)
