"""The writer of one rank's raw record: each line one write, durable before the next block starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from distbench.durable_files import cannot_write
from distbench.records import encode, raw_file_name


class RankWriter:
    """Appends the records of one rank; each line is one write, on disk before the next block starts."""

    def __init__(self, directory: Path, run_id: str, rank: int) -> None:
        self.path = directory / raw_file_name(rank)
        self._common = {"run_id": run_id, "rank": rank}
        self._sequence = 0
        try:
            self._descriptor = os.open(
                self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW, 0o644
            )
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def append(self, kind: str, *, durable: bool = True, **fields: Any) -> None:
        """Writes one record and, unless it need not be `durable` by itself, waits for the disk."""
        line = encode({"kind": kind, "seq": self._sequence, **self._common, **fields})
        try:
            _write_all(self._descriptor, line)
            if durable:
                os.fsync(self._descriptor)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._sequence += 1

    def close(self) -> None:
        """Closes the file; nothing can be appended afterwards."""
        os.close(self._descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
