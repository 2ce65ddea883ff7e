from __future__ import annotations

from pathlib import Path

import pytest

from distbench.doctor.interfaces import Interface, address_of, collect, fastest, judge, read
from distbench.doctor.verdicts import NOTE, OK, PROBLEM

LOOPBACK = Interface("lo", True, True, False, "127.0.0.1", 0)
ETHERNET = Interface("eth0", True, False, True, "192.0.2.5", 25_000)
BRIDGE = Interface("docker0", True, False, False, "172.17.0.1", 100_000)
DOWN = Interface("eth1", False, False, True, "", 0)


def folder(tmp_path: Path, name: str = "eth0", **files: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    for file, text in files.items():
        (made / file).write_text(f"{text}\n")
    return made


def test_an_interface_is_read(tmp_path: Path) -> None:
    made = folder(tmp_path, operstate="up", type="1", speed="25000")
    (made / "device").mkdir()
    assert read(made, "192.0.2.5") == ETHERNET
    assert ETHERNET.text == "eth0 (192.0.2.5, 25 Gbit/s)"


@pytest.mark.parametrize(
    ("state", "address", "is_up"),
    [
        ("up", "192.0.2.1", True),
        ("unknown", "192.0.2.1", True),
        ("up", "", False),
        ("down", "192.0.2.1", False),
    ],
)
def test_up_means_working_with_an_address(tmp_path: Path, state, address, is_up) -> None:
    # virtual drivers say -1 for a speed that they do not know
    found = read(folder(tmp_path, operstate=state, type="1", speed="-1"), address)
    assert (found.is_up, found.megabits_per_s) == (is_up, 0)


def test_this_machines_loopback_is_seen() -> None:
    found = {one.name: one for one in collect()}
    assert found["lo"].is_loopback
    assert found["lo"].address == "127.0.0.1" == address_of("lo")
    assert address_of("no-such-interface") == ""


def test_one_is_well_and_several_need_a_name() -> None:
    assert [one.level for one in judge([LOOPBACK, ETHERNET, DOWN], {})] == [OK]
    several = judge([LOOPBACK, BRIDGE, ETHERNET], {})
    assert [one.level for one in several] == [NOTE]
    assert "HOROVOD_GLOO_IFACE=eth0" in several[0].fix


def test_a_choice_is_checked() -> None:
    chosen = judge([LOOPBACK, BRIDGE, ETHERNET], {"HOROVOD_GLOO_IFACE": "eth0"})
    assert [one.level for one in chosen] == [OK]
    wrong = judge([LOOPBACK, ETHERNET, DOWN], {"HOROVOD_GLOO_IFACE": "eth1"})
    assert [one.level for one in wrong] == [PROBLEM, OK]
    assert "name one of: eth0" in wrong[0].fix


def test_the_loopback_alone_is_a_note() -> None:
    assert [one.level for one in judge([LOOPBACK, DOWN], {})] == [NOTE]
    assert [one.level for one in judge([], {})] == [NOTE]


def test_hardware_comes_before_a_bridge() -> None:
    assert fastest([BRIDGE, ETHERNET]) == "eth0"
    assert fastest([ETHERNET, ETHERNET._replace(name="ib0", megabits_per_s=200_000)]) == "ib0"
