from __future__ import annotations

import contextlib
import ipaddress
import json
import resource
import selectors
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from distbench.worker.channel import (
    MOST_LINE_BYTES,
    Contact,
    Hub,
    Message,
    Spoke,
    allow_connections,
    own_addresses,
)


@dataclass
class Side:
    """One process of the test: its selector, and what it was told."""

    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    heard: list[tuple[int, Message]] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)

    def hear(self, rank: int, message: Message) -> None:
        if "nonsense" in message:
            raise ValueError("nonsense")
        self.heard.append((rank, message))

    def turn(self, turns: int = 20) -> None:
        for _ in range(turns):
            for key, _ in self.selector.select(0.01):
                key.data()


@pytest.fixture
def side() -> Iterator[Side]:
    found = Side()
    yield found
    found.selector.close()


@pytest.fixture
def hub(side: Side) -> Iterator[Hub]:
    found = Hub(side.selector, True, side.hear, side.closed.append)
    yield found
    found.close()


def join(hub: Hub, rank: int) -> tuple[Side, Spoke]:
    other = Side()
    return other, Spoke(other.selector, rank, hub.contact, other.hear, other.closed.append)


def test_messages_go_both_ways(side: Side, hub: Hub) -> None:
    other, spoke = join(hub, 2)
    spoke.tell({"beat": 1})
    spoke.tell({"beat": 2})
    side.turn()
    assert side.heard == [(2, {"beat": 1}), (2, {"beat": 2})]
    hub.tell({"end": "all"})
    other.turn()
    assert other.heard == [(0, {"end": "all"})]
    spoke.close()
    other.selector.close()


def test_each_side_notices_that_the_other_has_gone(side: Side, hub: Hub) -> None:
    other, spoke = join(hub, 1)
    side.turn()
    spoke.close()
    side.turn()
    assert side.closed == [1]
    another, _ = join(hub, 3)
    side.turn()
    hub.close()
    another.turn()
    assert another.closed == [0]
    other.selector.close()
    another.selector.close()


def knock(hub: Hub, data: bytes) -> socket.socket:
    stranger = socket.create_connection((hub.contact.addresses[0], hub.contact.port), timeout=5)
    stranger.sendall(data)
    return stranger


@pytest.mark.parametrize(
    "greeting",
    [
        b'{"rank":1,"word":"wrong"}\n',
        b'{"rank":true,"word":"wrong"}\n',
        b'{"rank":1}\n',
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xfe\x00\n",
        b"[1]\n",
        b"x" * (MOST_LINE_BYTES + 1),
    ],
)
def test_a_stranger_is_cut_off_and_nothing_of_it_heard(
    side: Side, hub: Hub, greeting: bytes
) -> None:
    stranger = knock(hub, greeting)
    side.turn()
    stranger.settimeout(5)
    with contextlib.suppress(ConnectionResetError):
        assert stranger.recv(1) == b""
    assert (side.heard, side.closed, hub.lines) == ([], [], {})
    stranger.close()


def test_a_rank_that_is_there_already_cannot_be_taken_over(side: Side, hub: Hub) -> None:
    other, spoke = join(hub, 1)
    side.turn()
    greeting = json.dumps({"rank": 1, "word": hub.contact.word}).encode() + b"\n"
    stranger = knock(hub, greeting)
    side.turn()
    spoke.tell({"beat": 1})
    side.turn()
    assert side.heard == [(1, {"beat": 1})]
    stranger.close()
    spoke.close()
    other.selector.close()


def test_a_rank_that_talks_nonsense_counts_as_gone(side: Side, hub: Hub) -> None:
    other, spoke = join(hub, 1)
    spoke.tell({"nonsense": 1})
    side.turn()
    assert side.closed == [1]
    spoke.close()
    other.selector.close()


def test_one_that_does_not_read_blocks_nobody(side: Side, hub: Hub) -> None:
    other, spoke = join(hub, 1)
    side.turn()
    for _ in range(20_000):
        hub.tell({"beat": "x" * 200})
    assert side.closed == []
    spoke.close()
    other.selector.close()


def test_rank_0_that_cannot_be_reached_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    side = Side()
    for addresses in (["127.0.0.1"], []):
        with pytest.raises(OSError, match=r"refused|no address"):
            Spoke(side.selector, 1, Contact(addresses, port, "w"), side.hear, side.closed.append)
    side.selector.close()


def test_addresses_are_those_that_other_machines_can_reach() -> None:
    for address in own_addresses():
        found = ipaddress.ip_address(address)
        assert not found.is_loopback
        assert not found.is_link_local


def test_addresses_of_version_6_come_from_the_kernels_table(tmp_path: Path) -> None:
    table = tmp_path / "if_inet6"
    table.write_text(
        "00000000000000000000000000000001 01 80 10 80       lo\n"
        "fe800000000000000000000000000001 02 40 20 80     eth0\n"
        "20010db8000000000000000000000007 02 40 00 80     eth0\n"
    )
    assert own_addresses(table)[-1] == "2001:db8::7"
    assert own_addresses(tmp_path / "none") == own_addresses(table)[:-1]


def test_several_hosts_are_heard_in_both_versions_of_ip(side: Side) -> None:
    hub = Hub(side.selector, False, side.hear, side.closed.append)
    try:
        for address in ["127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])]:
            socket.create_connection((address, hub.contact.port), timeout=5).close()
    finally:
        hub.close()


def test_the_limit_of_open_files_is_raised_as_far_as_it_may() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        allow_connections(100)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(356, before[1])
        allow_connections(2**40)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
