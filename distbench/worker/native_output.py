"""What native libraries write to stderr themselves, where no log level of theirs reaches."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2


@contextmanager
def stderr_kept_back(active: bool) -> Iterator[None]:
    """Keeps back what anything in this process writes to stderr; shows it after all on an exception.

    A GPU build of TensorFlow writes lines about cuDNN and cuBLAS factories while it is imported,
    before its log level counts.
    """
    if not active:
        yield
        return
    sys.stderr.flush()
    real = os.dup(STDERR)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), STDERR)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(real, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(real, STDERR)
            os.close(real)
