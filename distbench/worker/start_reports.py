"""Which ranks of this node have started: small files, for the time before the ranks can talk.

Until `hvd.init` has returned no rank can ask another one whether it lives. Those of one node leave a
file each, so that one that waits in vain can say who is missing.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

# What names one job, by launcher; all of a group must be there.
_JOB_VARIABLES = (
    ("HOROVOD_GLOO_RENDEZVOUS_ADDR", "HOROVOD_GLOO_RENDEZVOUS_PORT"),
    ("PMIX_NAMESPACE",),
    ("OMPI_MCA_ess_base_jobid",),
    ("SLURM_JOB_ID", "SLURM_STEP_ID"),
    ("PMI_FD", "PMI_SIZE"),
)


class StartReports:
    """The files of one job on this node; without a name for the job there are none."""

    def __init__(self, environ: Mapping[str, str], rank: int) -> None:
        self._rank = rank
        self._has_reported = False
        self._directory = _directory_of_job(environ)

    def report(self) -> None:
        """Leaves this rank's file; that it cannot is no reason to end."""
        if self._directory is None:
            return
        with suppress(OSError):
            self._directory.mkdir(mode=0o700, exist_ok=True)
            if _is_ours(self._directory):
                flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
                os.close(os.open(self._directory / str(self._rank), flags, 0o600))
                self._has_reported = True

    def are_told(self) -> bool:
        """Whether another rank has told of the files and taken them all away, or is about to."""
        reported = self.reported()
        return reported[0] < self._rank if reported else self._has_reported

    def reported(self) -> list[int]:
        """The ranks of this node that have left their file and not yet taken it away."""
        if self._directory is None:
            return []
        with suppress(OSError):
            if _is_ours(self._directory):
                names = os.listdir(self._directory)
                return sorted(int(name) for name in names if name.isdecimal())
        return []

    def withdraw(self) -> None:
        """Takes this rank's file away; the last rank takes the directory too."""
        self._has_reported = False
        if self._directory is None:
            return
        with suppress(OSError):
            if _is_ours(self._directory):
                (self._directory / str(self._rank)).unlink(missing_ok=True)
                self._directory.rmdir()

    def clear(self) -> None:
        """Takes every file and the directory away, once they have been told of."""
        if self._directory is None:
            return
        with suppress(OSError):
            if _is_ours(self._directory):
                for rank in self.reported():
                    (self._directory / str(rank)).unlink(missing_ok=True)
                self._directory.rmdir()


def _directory_of_job(environ: Mapping[str, str]) -> Path | None:
    for names in _JOB_VARIABLES:
        if all(name in environ for name in names):
            told = "\n".join(f"{name}={environ[name]}" for name in names)
            digest = hashlib.sha256(f"{os.getuid()}\n{told}".encode()).hexdigest()[:16]
            return Path(tempfile.gettempdir()) / f"distbench-start-{digest}"
    return None


def _is_ours(directory: Path) -> bool:
    """Anybody may make files where temporary ones are: only a directory of our own counts."""
    found = directory.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
