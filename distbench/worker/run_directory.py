"""The run directory while the ranks write it: made once, never overwritten, gathered at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distbench.config import Config
from distbench.disk_space import check_room, room_of_rank, room_of_run
from distbench.durable_files import (
    cannot_write,
    json_document,
    read_object,
    sync_directory,
    write_atomically,
)
from distbench.errors import OutputError
from distbench.layout import RunLayout
from distbench.plan import PlannedBlock
from distbench.records import raw_file_name
from distbench.worker.stall import SIGNALLED, Cause
from distbench.worker.world import World


@dataclass
class RunDirectory:
    """This rank's view of the run directory; `is_shared` tells whether rank 0's is the same one."""

    layout: RunLayout
    run_id: str
    is_shared: bool
    status: dict[str, Any] = field(default_factory=dict)
    config_document: bytes = b""

    def has_verdict_against(self, cause: Cause) -> bool:
        """Whether a rank has written a failure into a status.json that this rank sees, to stand.

        A signal gives way to any other cause: a launcher signals the others when it has lost a rank,
        and one of them may be the first to write.
        """
        found = read_object(self.layout.status)
        code = found.get("exit_code")
        is_signal = type(code) is int and code > SIGNALLED
        return found.get("state") == "failed" and (cause.is_signal or not is_signal)

    def write_status(self, state: str, exit_code: int | None, **more: Any) -> None:
        """Replaces status.json; `state` is running, complete or failed."""
        self.status.update({"state": state, "exit_code": exit_code, "run_id": self.run_id, **more})
        self._restore()
        write_atomically(self.layout.status, json_document(self.status))

    def _restore(self) -> None:
        """Where somebody deleted the run directory: what a report of the saved records needs."""
        if not self.config_document or self.layout.config.exists():
            return
        try:
            self.layout.raw.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.layout.raw, error) from error
        write_atomically(self.layout.config, self.config_document)


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
        is_there = _is_of(layout, run_id)
        world.barrier()  # all have looked, before a neighbour makes what the others would then see
        makes = is_its_turn and not is_there
        was_there = world.together(lambda: _make(layout, document, run_id) if makes else False)
        return is_there or was_there

    make_if(world.rank == 0)
    sees_rank_0s = make_if(world.local_rank == 0)
    make_if(True)
    return RunDirectory(layout, run_id, is_shared=sees_rank_0s, config_document=document)


def _is_of(layout: RunLayout, run_id: str) -> bool:
    return read_object(layout.config).get("run_id") == run_id


def _make(layout: RunLayout, config_document: bytes, run_id: str) -> bool:
    """Makes the directory; whether this run's was there, which a network's disk may show late."""
    try:
        layout.directory.parent.mkdir(parents=True, exist_ok=True)
        try:
            layout.directory.mkdir()
        except FileExistsError as error:  # only the attempt asks the disk's own server
            if _is_of(layout, run_id):
                return True
            raise _exists(layout) from error
        layout.raw.mkdir()
        sync_directory(layout.directory.parent)
    except OSError as error:
        raise OutputError(
            f"the run directory {layout.directory} cannot be made ({error.strerror}); "
            "name a place that can be written with --output"
        ) from error
    write_atomically(layout.config, config_document)  # which syncs the name of raw/ too
    return False


def _exists(layout: RunLayout) -> OutputError:
    return OutputError(
        f"the run directory {layout.directory} exists already and a run is never overwritten; "
        "name another one with --output"
    )


def check_disk(
    world: World, run: RunDirectory, plan: Sequence[PlannedBlock], reads_telemetry: bool
) -> None:
    """Raises OutputError, on every rank, where a disk has no room for the run, and leaves nothing there.

    Rank 0's disk takes the records of all ranks, and so does a shared one.
    """
    if world.rank == 0 or run.is_shared:
        room = room_of_run(plan, world.rank, world.size, reads_telemetry)
    else:
        room = room_of_rank(plan, world.rank, world.local_size, reads_telemetry)
    try:
        world.together(lambda: check_room(run.layout.raw, room))
    except OutputError:
        _remove_unused(run.layout)  # so that the same --output can be taken once there is room
        raise


def _remove_unused(layout: RunLayout) -> None:
    """Removes what `_make` made; several ranks of a node may do so at once."""
    with suppress(OSError):
        layout.config.unlink(missing_ok=True)
        layout.raw.rmdir()
        layout.directory.rmdir()


def gather_records(world: World, run: RunDirectory) -> Mapping[str, Any] | None:
    """Brings every rank's file to rank 0; returns there what came and how. For every rank to call.

    The gather always runs. Where rank 0 sees a rank's file already (a shared disk), the bytes that
    came must be those of the file; elsewhere they become the file. Raises OutputError on rank 0
    where they differ.
    """
    # all know of a file that is lost before any of them waits for its bytes
    own = world.together(lambda: _read(run.layout.raw / raw_file_name(world.rank)))
    received = world.gather_bytes(own)
    if received is None:
        return None
    verified = written = 0
    for rank, content in enumerate(received):
        path = run.layout.raw / raw_file_name(rank)
        if not path.exists():
            write_atomically(path, content)
            written += 1
        elif _read(path) == content:
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


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OutputError(
            f"{path} cannot be read ({error.strerror or error}), although this run has written it; "
            "leave the run directory alone during a run, and run again"
        ) from error
