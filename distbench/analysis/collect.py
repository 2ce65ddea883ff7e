"""A run directory as pandas frames, from the raw records alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from distbench.analysis.completeness import problems_in_words, reasons_incomplete
from distbench.analysis.run_documents import RunDocuments, read_documents
from distbench.analysis.run_frames import blocks_frame, steps_frame, waits_frame
from distbench.config import Config
from distbench.errors import RecordsError
from distbench.knobs import wire_bytes_per_gradient_byte
from distbench.layout import RunLayout
from distbench.record_fields import MAX_RANKS
from distbench.records import RESCUED, RankRecords, read_rank_file


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
        """The bytes of all gradients of one rank: what an allreduce is asked to reduce."""
        return int(self.first_header["grad_bytes"])

    @property
    def wire_bytes(self) -> float:
        """The bytes that an allreduce carries of them: half of them where they travel in 16 bits."""
        return self.grad_bytes * wire_bytes_per_gradient_byte(self.config)

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
    documents = read_documents(layout)
    ranks, foreign = _read_ranks(layout, documents.run_id, progress)
    headers = [records.header for records in ranks if records.header is not None]
    if not headers:
        raise RecordsError(
            f"{layout.raw} holds no readable record of any rank{_first_problem(ranks)}; "
            "name a run directory whose run got as far as its first block"
        )
    progress("putting the records of all ranks together")
    return Run(
        layout=layout,
        config=documents.config,
        manifest=documents.manifest,
        ranks=ranks,
        steps=steps_frame(ranks),
        blocks=blocks_frame(ranks),
        waits=waits_frame(ranks),
        problems=tuple(problems_in_words(ranks, (*documents.problems, *foreign))),
        incomplete=tuple(_incomplete(ranks, documents)),
    )


def _first_problem(ranks: Sequence[RankRecords]) -> str:
    problems = [problem for records in ranks for problem in records.problems]
    return f" ({problems[0]})" if problems else ""


def _incomplete(ranks: Sequence[RankRecords], documents: RunDocuments) -> list[str]:
    """Why the run is not whole; what its status.json tells comes first, where no rank tells it too."""
    size = next(int(one.header["size"]) for one in ranks if one.header is not None)
    reasons = list(reasons_incomplete(ranks, size, documents.config, documents.settings_crc32))
    cause = documents.cause
    if cause and not any(cause in reason for reason in reasons):
        return [f"the run failed: {cause}", *reasons]
    return reasons


def _read_ranks(
    layout: RunLayout, run_id: str, progress: Progress
) -> tuple[tuple[RankRecords, ...], list[str]]:
    """What every rank left, in order, and in words what else is there and looks like it."""
    paths = sorted(layout.raw.glob("rank-*.jsonl"))
    if len(paths) > MAX_RANKS:
        raise RecordsError(
            f"{layout.raw} holds {len(paths)} files and a run has at most {MAX_RANKS} ranks; "
            "move what is no rank's file elsewhere"
        )
    ranks: list[RankRecords] = []
    foreign: list[str] = []
    for done, path in enumerate(paths):
        progress("reading records: ranks", done, len(paths))
        try:
            ranks.append(read_rank_file(path, run_id))
        except RecordsError:
            foreign.append(f"{path.name}: is no file of one rank, and was not read")
    for path in sorted(layout.raw.glob(f"rank-*.jsonl{RESCUED}")):
        foreign.append(
            f"{path.name}: was not read: a rank saved its records there when another file took the "
            "place of its own; give it that place to have them reported"
        )
    return tuple(ranks), foreign
