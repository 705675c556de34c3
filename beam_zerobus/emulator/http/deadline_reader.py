"""`DeadlineReader`: reads a socket until a moment."""

from __future__ import annotations

import io
import socket
import time
from typing import Any

__all__ = ["DeadlineReader"]


class DeadlineReader(io.RawIOBase):
    """Reads a socket until a moment, however slowly the bytes arrive.

    Attributes:
        deadline: The moment, in seconds of the monotonic clock.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.deadline = 0.0

    def readable(self) -> bool:
        """Return True, as the base class asks for."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what has arrived.

        Raises:
            TimeoutError: Nothing arrives until the deadline.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request did not arrive in time")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)
