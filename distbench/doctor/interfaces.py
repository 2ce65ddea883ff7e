"""The network interfaces of this machine, and which of them the ranks would use."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from distbench.doctor.verdicts import Verdict, note, ok, problem

_ASK_ADDRESS = 0x8915  # SIOCGIFADDR of Linux
_NAME_BYTES = 15
_LOOPBACK_TYPE = "772"
GLOO_VARIABLE = "HOROVOD_GLOO_IFACE"


class Interface(NamedTuple):
    """One interface; `megabits_per_s` is 0 where the driver does not tell."""

    name: str
    is_up: bool
    is_loopback: bool
    is_physical: bool
    address: str
    megabits_per_s: int

    @property
    def text(self) -> str:
        """Its name, speed and address."""
        speed = f"{self.megabits_per_s / 1000:g} Gbit/s" if self.megabits_per_s else "speed unknown"
        return f"{self.name} ({self.address or 'no IPv4 address'}, {speed})"


def collect(folder: Path = Path("/sys/class/net")) -> list[Interface]:
    """All interfaces in the order of their names; none where the kernel does not list them."""
    try:
        names = sorted(name for _, name in socket.if_nameindex())
    except OSError:
        return []
    return [read(folder / name, address_of(name)) for name in names]


def read(folder: Path, address: str) -> Interface:
    """One interface by its folder in /sys/class/net."""
    is_loopback = _text(folder / "type") == _LOOPBACK_TYPE
    speed = _text(folder / "speed")
    return Interface(
        name=folder.name,
        # drivers without carrier detection, and the loopback, say 'unknown' while they work
        is_up=_text(folder / "operstate") in ("up", "unknown") and bool(address),
        is_loopback=is_loopback,
        is_physical=(folder / "device").exists() or (folder / "bonding").exists(),
        address=address,
        megabits_per_s=int(speed) if speed.isdecimal() else 0,
    )


def address_of(name: str) -> str:
    """The IPv4 address of an interface; empty where it has none."""
    request = struct.pack("256s", name.encode()[:_NAME_BYTES])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            answer = fcntl.ioctl(asked.fileno(), _ASK_ADDRESS, request)
        except OSError:
            return ""
    return socket.inet_ntoa(answer[20:24])


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # the speed of an interface that is down, too
        return ""


def judge(interfaces: Sequence[Interface], environ: Mapping[str, str]) -> list[Verdict]:
    """Verdicts on what joins this machine with others."""
    up = [one for one in interfaces if one.is_up and not one.is_loopback]
    chosen = environ.get(GLOO_VARIABLE)
    if chosen is not None and chosen not in {one.name for one in interfaces if one.is_up}:
        verdicts = [
            problem(
                f"{GLOO_VARIABLE} is {chosen!r}, and no interface of that name is up here",
                f"unset it, or name one of: {', '.join(one.name for one in up) or 'none is up'}",
            )
        ]
    else:
        verdicts = []
    if not up:
        return [
            *verdicts,
            note(
                "no interface but the loopback is up with an IPv4 address",
                "a job on this machine alone works; for several nodes see to the network",
            ),
        ]
    found = f"up: {', '.join(one.text for one in up)}"
    if len(up) == 1 or chosen in {one.name for one in up}:
        using = f"; {GLOO_VARIABLE} chooses {chosen}" if chosen else ""
        return [*verdicts, ok(found + using)]
    best = fastest(up)
    return [
        *verdicts,
        note(
            found,
            f"name the one that joins the nodes, perhaps {best}: horovodrun --network-interfaces "
            f"{best} (which sets {GLOO_VARIABLE}={best}), for NCCL NCCL_SOCKET_IFNAME={best}",
        ),
    ]


def fastest(interfaces: Sequence[Interface]) -> str:
    """The interface to try first: a physical one before a bridge, then by speed."""
    best = max(interfaces, key=lambda one: (one.is_physical, one.megabits_per_s))
    return best.name
