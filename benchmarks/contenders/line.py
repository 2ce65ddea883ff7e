"""The line between the runner and one rank of a contender: JSON lines over TCP on this machine.

Standard library only: a contender may have a Python of its own.
"""

from __future__ import annotations

import json
import socket
from typing import Any

HOST = "127.0.0.1"
PORT_VARIABLE = "SIDE_BY_SIDE_PORT"
SECRET_VARIABLE = "SIDE_BY_SIDE_SECRET"
LONGEST_MESSAGE_BYTES = 1 << 20
_PART_BYTES = 1 << 16


class LineClosedError(Exception):
    """The other side has gone, or speaks another language."""


class Line:
    """One connection. Both sides say one thing at a time, each a JSON object in one line."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""

    @classmethod
    def to_runner(cls, port: int) -> Line:
        """The rank's side."""
        connection = socket.create_connection((HOST, port), timeout=30)
        connection.settimeout(None)  # a rank waits for its turn as long as it takes
        return cls(connection)

    def fileno(self) -> int:
        """For selectors."""
        return self._connection.fileno()

    @property
    def has_message(self) -> bool:
        """Whether one has come along with the one before: no selector tells of it."""
        return b"\n" in self._received

    def say(self, **message: Any) -> None:
        """Sends one message; LineClosedError where nobody is there."""
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise LineClosedError(str(error)) from error

    def hear(self, timeout_s: float | None = None) -> dict[str, Any]:
        """Blocks until a message has come. LineClosedError where none can come, or none in time."""
        self._connection.settimeout(timeout_s)
        while b"\n" not in self._received:
            try:
                part = self._connection.recv(_PART_BYTES)
            except OSError as error:
                raise LineClosedError(str(error)) from error
            if not part or len(self._received) > LONGEST_MESSAGE_BYTES:
                raise LineClosedError("closed" if not part else "a message without an end")
            self._received += part
        first, _, self._received = self._received.partition(b"\n")
        try:
            message = json.loads(first)
        except ValueError as error:
            raise LineClosedError("no JSON") from error
        if not isinstance(message, dict):
            raise LineClosedError("no JSON object")
        return message

    def close(self) -> None:
        """Hangs up."""
        self._connection.close()
