"""How many cores the cgroups of this process grant it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

_CGROUP_ROOT = Path("/sys/fs/cgroup")


def core_quota() -> float | None:
    """The CPU limit of this process's cgroups, in cores; None where there is none."""
    return cgroup_quota(_own_cgroups(), _CGROUP_ROOT)


def _own_cgroups() -> Sequence[str]:
    try:
        return Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return ()


def cgroup_quota(own: Sequence[str], root: Path) -> float | None:
    """The least CPU limit of this process's cgroups and their parents, in cores; version 1 or 2.

    `own` are the lines of /proc/self/cgroup. In a container the root may stand for the own cgroup.
    """
    limits: list[float] = []
    for line in own:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            limits += _quotas(root, path, _quota_of_version_2)
        elif "cpu" in controllers.split(","):
            for mount in (controllers, "cpu"):
                limits += _quotas(root / mount, path, _quota_of_version_1)
    return min(limits, default=None)


def _quotas(mount: Path, path: str, read: Callable[[Path], float | None]) -> Iterator[float]:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for depth in range(len(parts) + 1):
        quota = read(mount.joinpath(*parts[:depth]))
        if quota is not None:
            yield quota


def _quota_of_version_2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_of_version_1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
