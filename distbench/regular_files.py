"""Reads files that others left, whatever they are by now. Standard library only.

Whoever opens a pipe to read waits for a writer, and a device never ends. So only regular files are
read, also through a link, and no more of them than was asked for.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file to be read; OSError at once where it is anything else."""
    _check_regular(os.stat(path))  # before it is opened, which makes some devices act
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _check_regular(os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")


def read_at_most(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file; OSError where it has more than `most_bytes`."""
    with open_regular(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes} bytes")
    return content
