"""Files that a reader sees whole or not at all, and JSON for people and programs. Standard library only."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from distbench.errors import OutputError


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The error of a file that could not be written, to be raised."""
    return OutputError(
        f"{path} cannot be written ({error.strerror}); what was measured before is kept; "
        "free space there or name another place with --output"
    )


@contextmanager
def replaced_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path` that takes its place at the end: a reader sees the old or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        beside.unlink(missing_ok=True)


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
        document = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
