"""The writer of one rank's raw record: each line one write, durable before the next block starts.

What can go wrong with the disk ends in an OutputError here, and never in a line that a reader takes for
another: a piece of a line is taken back, a sync that failed is not tried again, since the kernel may
then say yes to what it has dropped, and a file that was deleted meanwhile is written anew.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distbench.durable_files import cannot_write, sync_directory
from distbench.errors import OutputError
from distbench.records import RESCUED, encode, raw_file_name

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
_COPY_BYTES = 1024 * 1024


class RankWriter:
    """Appends the records of one rank; each line is one write, on disk before the next block starts.

    Any thread may append: records follow each other whole, their sequence numbers without gaps.
    """

    def __init__(self, directory: Path, run_id: str, rank: int) -> None:
        self.path = directory / raw_file_name(rank)
        self._common = {"run_id": run_id, "rank": rank}
        self._sequence = 0
        self._whole_bytes = 0  # of all lines so far
        self._lock = threading.Lock()
        self._refusal: str | None = None  # why nothing more can be appended
        self._is_open = True
        try:
            self._place = self.path.absolute()  # known even when the working directory is deleted
            self._descriptor = os.open(self.path, _NEW_FILE, 0o644)
            sync_directory(directory)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def append(
        self, kind: str, *, durable: bool = True, lock_timeout_s: float | None = None, **fields: Any
    ) -> None:
        """Writes one record and, unless it need not be `durable` by itself, waits for the disk.

        Raises OutputError where the record is not on disk, or where another thread's record keeps
        this one waiting for more than `lock_timeout_s`. A file that was deleted, moved or replaced
        is an error too; what it held is then saved first, and the next record follows it there.
        """
        with self._alone(lock_timeout_s):
            if self._refusal is not None:
                raise OutputError(self._refusal)
            line = encode({"kind": kind, "seq": self._sequence, **self._common, **fields})
            self._write(line)
            if durable:
                self._sync()
                self._check_place()

    def fileno(self) -> int:
        """The descriptor that the records go to."""
        return self._descriptor

    def close(self) -> None:
        """Closes the file; nothing can be appended afterwards."""
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
            self._refusal = self._refusal or f"{self.path} is closed, and takes no more records"
            try:
                os.close(self._descriptor)
            except OSError as error:
                raise cannot_write(self.path, error) from error

    @contextmanager
    def _alone(self, timeout_s: float | None) -> Iterator[None]:
        if not self._lock.acquire(timeout=-1 if timeout_s is None else timeout_s):
            raise OutputError(
                f"{self.path} took no record for {timeout_s:g} s, since the one before it is still on "
                "its way; the disk hangs or is very slow; name another place with --output"
            )
        try:
            yield
        finally:
            self._lock.release()

    def _refuse(self, problem: OutputError) -> OutputError:
        """Nothing is appended from now on; returns the problem, to be raised."""
        self._refusal = problem.sentence
        return problem

    def _write(self, line: bytes) -> None:
        try:
            _write_all(self._descriptor, line)
        except BaseException as error:  # an interrupt may come between two pieces
            taken_back = self._take_back()
            if not isinstance(error, OSError):
                raise
            problem = cannot_write(self.path, error)
            raise (problem if taken_back else self._refuse(problem)) from error
        self._whole_bytes += len(line)
        self._sequence += 1

    def _take_back(self) -> bool:
        """Whether the file ends with its last whole line, so that the next one is not glued on."""
        try:
            if os.fstat(self._descriptor).st_size > self._whole_bytes:
                os.ftruncate(self._descriptor, self._whole_bytes)
        except OSError:
            return False
        return True

    def _sync(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise self._refuse(cannot_write(self.path, error)) from error

    def _check_place(self) -> None:
        """What is written into a deleted file succeeds, and would be lost."""
        try:
            found = os.fstat(self._descriptor)
        except OSError as error:
            raise self._refuse(cannot_write(self.path, error)) from error
        if found.st_size != self._whole_bytes:
            raise self._refuse(
                OutputError(
                    f"{self.path} holds {found.st_size} bytes where this rank wrote "
                    f"{self._whole_bytes}; another program changes it; end that and run again"
                )
            )
        if not self._is_in_place(found):
            raise self._rescue()

    def _is_in_place(self, found: os.stat_result) -> bool:
        try:
            return os.path.samestat(found, self.path.lstat())
        except OSError as error:
            return error.errno not in _GONE and found.st_nlink > 0

    def _rescue(self) -> OutputError:
        """Writes all records anew where their file was; returns the error that tells so."""
        gone = f"{self.path} was deleted, moved or replaced during the run"
        try:
            self._write_anew()
        except OSError as error:
            return self._refuse(
                OutputError(
                    f"{gone} and cannot be written anew ({error.strerror or error}); "
                    "run again with another --output"
                )
            )
        return OutputError(
            f"{gone}; what this rank had measured is saved in {self.path}; leave the run directory "
            "alone during a run, and run again"
        )

    def _write_anew(self) -> None:
        """Copies what the open file holds, which has lost its name, and goes on with the copy."""
        self._place.parent.mkdir(parents=True, exist_ok=True)
        path, copy = _new_file_for(self._place)
        with open(f"/proc/self/fd/{self._descriptor}", "rb") as lost:
            while piece := lost.read(_COPY_BYTES):
                _write_all(copy, piece)
        os.fsync(copy)
        sync_directory(path.parent)
        os.close(self._descriptor)
        self._descriptor, self.path, self._place = copy, path, path


def _new_file_for(path: Path) -> tuple[Path, int]:
    """A new file at `path`, or beside it where somebody put another one; never over that."""
    try:
        return path, os.open(path, _NEW_FILE, 0o644)
    except FileExistsError:
        beside = path.with_name(path.name + RESCUED)
        return beside, os.open(beside, _NEW_FILE, 0o644)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
