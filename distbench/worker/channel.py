"""A line between rank 0 and every other rank, beside Horovod, on which they say that they live.

Horovod's collectives end or hang with the ranks they wait for; these sockets tell of a rank that
froze, failed or was killed. Small JSON lines, a secret word first; whoever sends anything else is cut
off. All sockets are non-blocking and belong to the watching thread.
"""

from __future__ import annotations

import errno
import fcntl
import hmac
import json
import resource
import secrets
import selectors
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

MOST_LINE_BYTES = 8192
MOST_PENDING_BYTES = 65536  # for one that does not read
STRANGERS = 64  # connections that have not said the word yet
CONNECT_PATIENCE_S = 3.0  # for each address
_SCOPE_GLOBAL = "00"
_SIOCGIFADDR = 0x8915  # of ioctl: the IPv4 address of an interface
Message = dict[str, Any]


class Contact(NamedTuple):
    """Where rank 0 listens and the word that its ranks say; handed to them over Horovod."""

    addresses: Sequence[str]
    port: int
    word: str


class Line:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self._received = b""
        self._pending = b""

    def receive(self) -> list[Message]:
        """What has come; ConnectionError where the other side has gone, ValueError for nonsense."""
        try:
            data = self.connection.recv(65536)
        except BlockingIOError:
            return []
        if not data:
            raise ConnectionError("closed")
        *lines, self._received = (self._received + data).split(b"\n")
        if len(self._received) > MOST_LINE_BYTES:
            raise ValueError("a line without end")
        messages = [json.loads(line) for line in lines]
        if not all(isinstance(message, dict) for message in messages):
            raise ValueError("no object")
        return messages

    def send(self, message: Message) -> None:
        """Sends as much as the other side takes now; the rest goes with the next message."""
        if len(self._pending) < MOST_PENDING_BYTES:
            self._pending += json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with suppress(OSError):  # that the other side has gone is told by `receive`
            self._pending = self._pending[self.connection.send(self._pending) :]

    def close(self) -> None:
        """Closes the connection."""
        self.connection.close()


class Hub:
    """Rank 0's side: takes in the others, and hands on what they say."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        is_one_host: bool,
        heard: Callable[[int, Message], None],
        closed: Callable[[int], None],
    ) -> None:
        self._selector = selector
        self._heard, self._closed = heard, closed
        self._word = secrets.token_hex(16)
        self._strangers: list[Line] = []
        self.lines: dict[int, Line] = {}
        self._listener = _listener(is_one_host)
        self._listener.setblocking(False)
        addresses = ["127.0.0.1"] if is_one_host else own_addresses()
        self.contact = Contact(addresses, self._listener.getsockname()[1], self._word)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def tell(self, message: Message) -> None:
        """Sends a message to every rank."""
        for line in self.lines.values():
            line.send(message)

    def close(self) -> None:
        """Closes every connection."""
        for line in (*self.lines.values(), *self._strangers):
            self._drop(line)
        with suppress(KeyError, ValueError):
            self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        line = Line(connection)
        if len(self._strangers) >= STRANGERS:
            self._drop(self._strangers.pop(0))
        self._strangers.append(line)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._greet(line))

    def _greet(self, line: Line) -> None:
        """The first message of a connection must be the word."""
        try:
            messages = line.receive()
            if not messages:
                return
            rank = self._rank_of(messages[0])
        except (OSError, ValueError, TypeError):
            self._strangers.remove(line)
            self._drop(line)
            return
        self._strangers.remove(line)
        self.lines[rank] = line
        self._selector.modify(
            line.connection, selectors.EVENT_READ, lambda: self._listen(rank, line, None)
        )
        self._listen(rank, line, messages[1:])

    def _rank_of(self, message: Message) -> int:
        rank, word = message.get("rank"), message.get("word")
        if type(rank) is not int or not isinstance(word, str) or rank in self.lines:
            raise ValueError("no greeting")
        if not hmac.compare_digest(word.encode(), self._word.encode()):
            raise ValueError("not the word")
        return rank

    def _listen(self, rank: int, line: Line, messages: Sequence[Message] | None) -> None:
        """Hands on what came, which is `messages` where it has been read already."""
        try:
            for message in line.receive() if messages is None else messages:
                self._heard(rank, message)
        except (OSError, ValueError, TypeError):
            del self.lines[rank]
            self._drop(line)
            self._closed(rank)

    def _drop(self, line: Line) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(line.connection)
        line.close()


class Spoke:
    """Another rank's side: one connection to rank 0."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        rank: int,
        contact: Contact,
        heard: Callable[[int, Message], None],
        closed: Callable[[int], None],
    ) -> None:
        """Raises OSError where rank 0 cannot be reached at any of its addresses."""
        self._selector = selector
        self._heard, self._closed = heard, closed
        self._line = Line(_connected(contact))
        self._line.send({"rank": rank, "word": contact.word})
        selector.register(self._line.connection, selectors.EVENT_READ, self._listen)

    def tell(self, message: Message) -> None:
        """Sends a message to rank 0."""
        self._line.send(message)

    def close(self) -> None:
        """Closes the connection."""
        with suppress(KeyError, ValueError):
            self._selector.unregister(self._line.connection)
        self._line.close()

    def _listen(self) -> None:
        try:
            for message in self._line.receive():
                self._heard(0, message)
        except (OSError, ValueError, TypeError):
            self.close()
            self._closed(0)


def _connected(contact: Contact) -> socket.socket:
    problem: OSError = OSError(errno.EADDRNOTAVAIL, "rank 0 named no address")
    for address in contact.addresses:
        try:
            return socket.create_connection((address, contact.port), timeout=CONNECT_PATIENCE_S)
        except OSError as error:
            problem = error
    raise problem


def allow_connections(count: int) -> None:
    """Raises this process's limit of open files as far as it may, where it is short for so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = soft + count
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    with suppress(OSError, ValueError):  # the ranks that then cannot connect are named
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _listener(is_one_host: bool) -> socket.socket:
    """Hears this host alone, or every interface in both versions of IP."""
    if is_one_host:
        return socket.create_server(("127.0.0.1", 0), backlog=1024)
    if socket.has_dualstack_ipv6():
        with suppress(OSError):  # a kernel may know version 6 and have it switched off
            return socket.create_server(
                ("", 0), family=socket.AF_INET6, backlog=1024, dualstack_ipv6=True
            )
    return socket.create_server(("", 0), backlog=1024)


def own_addresses(version_6: Path = Path("/proc/net/if_inet6")) -> list[str]:
    """The addresses of this machine's interfaces that others may reach, those of IPv4 first."""
    return [*_addresses_4(), *_addresses_6(version_6)]


def _addresses_6(listed: Path) -> list[str]:
    """From the kernel's table: 32 hexadecimal digits, index, prefix, scope, flags, name."""
    try:
        rows = [line.split() for line in listed.read_text().splitlines()]
    except OSError:  # a kernel without version 6
        return []
    return [
        socket.inet_ntop(socket.AF_INET6, bytes.fromhex(row[0]))
        for row in rows
        if len(row) == 6 and row[3] == _SCOPE_GLOBAL
    ]


def _addresses_4() -> list[str]:
    found: dict[str, None] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # an interface without an address
                answer = fcntl.ioctl(
                    asked.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15])
                )
                found[socket.inet_ntoa(answer[20:24])] = None
    return [address for address in found if not address.startswith("127.")]
