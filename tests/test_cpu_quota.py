from __future__ import annotations

from pathlib import Path

from distbench.cpu_quota import cgroup_quota, core_quota


def test_this_machines_quota_is_none_or_some_cores() -> None:
    quota = core_quota()
    assert quota is None or quota > 0


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_least_quota_of_all_parents_counts(tmp_path: Path) -> None:
    own = ["0::/user/job"]
    assert cgroup_quota(own, tmp_path) is None
    write(tmp_path / "user/job/cpu.max", "max 100000\n")
    assert cgroup_quota(own, tmp_path) is None
    write(tmp_path / "user/cpu.max", "150000 100000\n")
    assert cgroup_quota(own, tmp_path) == 1.5
    write(tmp_path / "user/job/cpu.max", "400000 100000\n")
    assert cgroup_quota(own, tmp_path) == 1.5


def test_version_1_is_read_too(tmp_path: Path) -> None:
    own = ["4:memory:/x", "3:cpu,cpuacct:/docker/abc"]
    write(tmp_path / "cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "-1")
    write(tmp_path / "cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000")
    assert cgroup_quota(own, tmp_path) is None
    write(tmp_path / "cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "50000")
    assert cgroup_quota(own, tmp_path) == 0.5


def test_a_cgroup_path_does_not_lead_outside(tmp_path: Path) -> None:
    write(tmp_path / "cpu.max", "100000 100000")
    assert cgroup_quota(["0::/../.."], tmp_path / "inside") is None
