"""The run directory while the ranks write it: made once, never overwritten, gathered at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distbench.config import Config
from distbench.durable_files import json_document, read_object, write_atomically
from distbench.errors import OutputError
from distbench.layout import RunLayout
from distbench.records import raw_file_name
from distbench.worker.world import World


@dataclass
class RunDirectory:
    """This rank's view of the run directory; `is_shared` tells whether rank 0's is the same one."""

    layout: RunLayout
    run_id: str
    is_shared: bool
    status: dict[str, Any] = field(default_factory=dict)

    def failed_already(self) -> bool:
        """Whether a rank has written a failure into a status.json that this rank sees."""
        return read_object(self.layout.status).get("state") == "failed"

    def write_status(self, state: str, exit_code: int | None, **more: Any) -> None:
        """Replaces status.json; `state` is running, complete or failed."""
        self.status.update({"state": state, "exit_code": exit_code, "run_id": self.run_id, **more})
        write_atomically(self.layout.status, json_document(self.status))


def create(world: World, config: Config, run_id: str) -> RunDirectory:
    """Makes the run directory: rank 0 first, then one rank on each node that does not see it.

    `run_id` is rank 0's, the same on every rank. Raises OutputError, on every rank, where the
    directory exists already or cannot be made.
    """
    directory = Path(config.output) if config.output else Path("results") / run_id
    layout = RunLayout(directory)
    document = json_document({"run_id": run_id, **config.as_dict()})

    def make_if(is_its_turn: bool) -> bool:
        """Whether this rank saw the directory before its turn; `together` ends the turn for all."""
        is_there = read_object(layout.config).get("run_id") == run_id
        world.barrier()  # all have looked, before a neighbour makes what the others would then see
        makes = is_its_turn and not is_there
        world.together(lambda: _make(layout, document) if makes else None)
        return is_there

    make_if(world.rank == 0)
    sees_rank_0s = make_if(world.local_rank == 0)
    make_if(True)
    return RunDirectory(layout, run_id, is_shared=sees_rank_0s)


def _make(layout: RunLayout, config_document: bytes) -> None:
    try:
        if layout.directory.exists():
            raise _exists(layout)
        layout.directory.parent.mkdir(parents=True, exist_ok=True)
        try:
            layout.directory.mkdir()
        except FileExistsError as error:  # another run was faster
            raise _exists(layout) from error
        layout.raw.mkdir()
    except OSError as error:
        raise OutputError(
            f"the run directory {layout.directory} cannot be made ({error.strerror}); "
            "name a place that can be written with --output"
        ) from error
    write_atomically(layout.config, config_document)


def _exists(layout: RunLayout) -> OutputError:
    return OutputError(
        f"the run directory {layout.directory} exists already and a run is never overwritten; "
        "name another one with --output"
    )


def gather_records(world: World, run: RunDirectory) -> Mapping[str, Any] | None:
    """Brings every rank's file to rank 0; returns there what came and how. For every rank to call.

    The gather always runs. Where rank 0 sees a rank's file already (a shared disk), the bytes that
    came must be those of the file; elsewhere they become the file. Raises OutputError on rank 0
    where they differ.
    """
    own = (run.layout.raw / raw_file_name(world.rank)).read_bytes()
    received = world.gather_bytes(own)
    if received is None:
        return None
    verified = written = 0
    for rank, content in enumerate(received):
        path = run.layout.raw / raw_file_name(rank)
        if not path.exists():
            write_atomically(path, content)
            written += 1
        elif path.read_bytes() == content:
            verified += 1
        else:
            raise OutputError(
                f"the {len(content)} bytes that rank {rank} sent are not those of {path}; "
                "does another job write to this directory? Run again with another --output"
            )
    return {
        "transport": world.transport,
        "ranks": world.size,
        "bytes": sum(map(len, received)),
        "files_verified": verified,
        "files_written": written,
    }
