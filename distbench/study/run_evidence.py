"""What a run directory proves about how its run ended. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from distbench.durable_files import read_object
from distbench.errors import RecordsError
from distbench.layout import RunLayout
from distbench.records import RankRecords, raw_file_name, read_rank_file


def problems_of_run(layout: RunLayout, ranks: int, settings: Mapping[str, Any]) -> list[str]:
    """Why this is not the complete run of `ranks` ranks with these settings; empty where it is."""
    if not layout.directory.is_dir():
        return ["there is no run directory"]
    return list(_problems(layout, ranks, settings))


def _problems(layout: RunLayout, ranks: int, settings: Mapping[str, Any]) -> Iterator[str]:
    status, config = read_object(layout.status), read_object(layout.config)
    if status.get("state") != "complete" or status.get("exit_code") != 0:
        found = status.get("state", "there is none, or it cannot be read")
        yield f"its status.json does not say that it is complete ({found})"
        return
    for name, value in settings.items():
        if not _same(name, config.get(name), value):
            yield f"its config.json has {name} = {config.get(name)!r} and not {value!r}"
    run_id = config.get("run_id")
    if not isinstance(run_id, str) or status.get("run_id") != run_id:
        yield "its config.json and status.json are not of the same run"
        return
    for rank in range(ranks):
        yield from _problems_of_rank(layout, rank, ranks, run_id)


def _same(name: str, found: Any, wanted: Any) -> bool:
    """Whether a run's setting is the one that was asked for; 'auto' sizes are resolved by the run."""
    if name == "sizes" and not isinstance(wanted, (list, tuple)):
        return bool(found)
    return bool(found == (list(wanted) if isinstance(wanted, tuple) else wanted))


def _problems_of_rank(layout: RunLayout, rank: int, ranks: int, run_id: str) -> Iterator[str]:
    path = layout.raw / raw_file_name(rank)
    if not path.exists():
        yield f"rank {rank} left no record ({path.name})"
        return
    records = read_rank_file(path, run_id)
    yield from records.problems
    if records.header is None or records.header.get("size") != ranks:
        yield f"{path.name} is not of a job of {ranks} ranks"
    if records.failure is not None:
        yield f"rank {rank} failed: {records.failure.get('sentence')}"
    elif records.end is None:
        yield f"rank {rank} has no end line"


def rank_records(layout: RunLayout) -> list[RankRecords]:
    """What every rank left, in order; without files that are no rank's."""
    found = []
    for path in sorted(layout.raw.glob("rank-*.jsonl")):
        try:
            found.append(read_rank_file(path))
        except RecordsError:
            continue
    return found
