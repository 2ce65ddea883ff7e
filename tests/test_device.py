from __future__ import annotations

import pytest

from distbench.errors import MissingPartError
from distbench.worker import device
from distbench.worker.device import Device, compute_capability, share_cores
from tests.fakes import on_every_rank


@pytest.mark.parametrize(
    ("requested", "own", "neighbours", "quota", "count"),
    [
        (0, {0, 1}, [{0, 1}, {0, 1}], None, 1),  # two ranks share two cores
        (0, {0, 1}, [{0, 1}], None, 2),  # alone
        (0, {0, 1}, [{0, 1}] * 4, None, 1),  # more ranks than cores
        (0, {0}, [{0}, {1}], None, 1),  # bound to a core each
        (0, {0, 1, 2, 3}, [{0, 1, 2, 3}, {4, 5, 6, 7}], None, 4),  # bound to a socket each
        (0, set(range(4)), [set(range(4))] * 2 + [set(range(4, 8))] * 2, None, 2),  # two a socket
        (0, set(range(64)), [set(range(64))] * 2, 4.0, 2),  # a container's quota of four cores
        (0, set(range(64)), [set(range(64))] * 2, 0.5, 1),
        (3, {0}, [{0}, {1}], None, 3),
    ],
)
def test_cores_are_shared_out(requested, own, neighbours, quota, count) -> None:  # type: ignore[no-untyped-def]
    assert share_cores(requested, own, neighbours, quota).count == count


def test_the_reason_is_said() -> None:
    assert share_cores(0, {0}, [{0}, {1}]).reason == "the launcher bound this rank to 1 core(s)"
    assert share_cores(0, {0, 1}, [{0, 1}] * 2).reason == "2 allowed core(s) shared by 2 rank(s)"
    assert share_cores(2, {0}, [{0}]).reason == "as given by --threads-per-rank"


def test_ranks_that_can_talk_tell_each_other_their_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda pid: {3, 4})
    hosts = ["a", "a", "b"]
    found = on_every_rank(3, lambda one: device.cores_of_node(one, hosts[one.rank]))
    assert found == [[{3, 4}, {3, 4}], [{3, 4}, {3, 4}], [{3, 4}]]


def gloo_cores(monkeypatch: pytest.MonkeyPatch, launcher: set[int]) -> list[set[int]]:
    def body(one):  # type: ignore[no-untyped-def]
        one.exchanges_without_tensorflow = False
        return device.cores_of_node(one, "a")

    monkeypatch.setattr(device.os, "sched_getaffinity", lambda pid: {0})
    monkeypatch.setattr(device, "_launcher_cores", lambda: launcher)
    return on_every_rank(2, body)[0]


def test_over_gloo_fewer_cores_than_the_launcher_means_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert share_cores(0, {0}, gloo_cores(monkeypatch, {0, 1})).reason.startswith(
        "the launcher bound"
    )
    assert "shared by 2" in share_cores(0, {0}, gloo_cores(monkeypatch, {0})).reason


def test_each_local_rank_has_its_gpu() -> None:
    assert [device.gpu_index(rank, 4) for rank in range(4)] == [0, 1, 2, 3]
    assert [device.gpu_index(rank, 1) for rank in range(3)] == [0, 0, 0]  # Slurm shows one each
    with pytest.raises(MissingPartError, match="local rank 2 has no GPU: the node shows 2 GPUs"):
        device.gpu_index(2, 2)


def test_two_ranks_on_one_gpu_are_refused() -> None:
    device.check_one_gpu_each(
        [("a", "GPU-1"), ("a", "GPU-2"), ("b", "GPU-1"), ("c", ""), ("c", "")]
    )
    with pytest.raises(MissingPartError, match=r"ranks 0 and 2 on a share one GPU \(GPU-1\)"):
        device.check_one_gpu_each([["a", "GPU-1"], ["a", "GPU-2"], ["a", "GPU-1"]])


def test_nvml_name_of_a_visible_gpu() -> None:
    assert device.visible_gpu(1, {}) == "1"
    assert device.visible_gpu(1, {"CUDA_VISIBLE_DEVICES": "4, 6"}) == "6"
    assert device.visible_gpu(0, {"CUDA_VISIBLE_DEVICES": "GPU-abc"}) == "GPU-abc"


def test_the_real_launchers_cores_can_be_read() -> None:
    assert device._launcher_cores()


def test_the_compute_capability_is_read_from_the_devices_name() -> None:
    def named(name: str) -> Device:
        return Device("GPU", name, "0", 0, "")

    assert compute_capability(named("NVIDIA A100 (compute capability 8.0)")) == (8, 0)
    assert compute_capability(named("NVIDIA B200 (compute capability 10.0)")) == (10, 0)
    assert compute_capability(named("A GPU (compute capability unknown)")) is None
