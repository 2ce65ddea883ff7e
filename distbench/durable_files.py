"""Files that a reader sees whole or not at all, and JSON for people and programs. Standard library only."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from distbench.errors import OutputError
from distbench.regular_files import read_at_most

MOST_DOCUMENT_BYTES = 256 * 1024 * 1024  # a larger one is none of ours

_ADVICE = {
    errno.ENOSPC: "free space there",
    errno.EDQUOT: "raise the quota there",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "mount it writable",
    errno.EACCES: "make it writable",
    errno.EIO: "see what the kernel's log says of that disk",
}
# What file systems answer that cannot sync a directory and have no need to.
_NO_SYNC_OF_DIRECTORIES = (errno.EINVAL, errno.ENOTSUP)


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The error of a file that could not be written, to be raised."""
    advice = _ADVICE.get(error.errno or 0, "see that the directory is still there")
    return OutputError(
        f"{path} cannot be written ({error.strerror or error}); what was measured before is kept; "
        f"{advice} or name another place with --output"
    )


def sync_directory(directory: Path) -> None:
    """Waits until the names in `directory` are on disk; OSError where the disk does not take them."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC_OF_DIRECTORIES:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def replaced_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path` that takes its place at the end: a reader sees the old or the new one.

    Threads and hosts that replace the same file at once each have their own beside it: the last wins.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(beside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        sync_directory(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):  # gone already; or it cannot be, and that must not hide why
            beside.unlink()


def write_atomically(path: Path, content: bytes) -> None:
    """Writes beside `path`, then renames, so that a reader sees the old file or the new one."""
    with replaced_atomically(path) as file:
        file.write(content)


def json_document(value: Any) -> bytes:
    """A JSON file for people and programs: indented, sorted, closed by a newline."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where the file is not there or holds none."""
    try:
        document = json.loads(read_at_most(path, MOST_DOCUMENT_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
