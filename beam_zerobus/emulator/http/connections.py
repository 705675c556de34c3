"""`HttpConnections`: the open connections of the HTTP port, which end with the emulator."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

__all__ = ["HttpConnections", "await_client"]


class HttpConnections:
    """The open connections of a server; `_open` and `_ended` are used under `_lock`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._ended: int | None = None

    def enter(self, connection: socket.socket) -> None:
        """Add a connection; end it if the others have been ended meanwhile."""
        with self._lock:
            self._open.add(connection)
            if self._ended is not None:
                _shut_down(connection, self._ended)

    def leave(self, connection: socket.socket) -> None:
        """Remove a connection that is about to be closed."""
        with self._lock:
            self._open.discard(connection)

    def end(self, at_once: bool) -> None:
        """End all connections, also those that idle between two requests.

        Args:
            at_once: Break them; otherwise a request that has arrived is still answered.
        """
        how = socket.SHUT_RDWR if at_once else socket.SHUT_RD
        with self._lock:
            self._ended = how
            for connection in self._open:
                _shut_down(connection, how)


def await_client(connection: socket.socket, seconds: float) -> None:
    """End the answers, and read until the client has left; closed with unread bytes, a connection is reset.

    A client that still sends would then see the reset, and not the last answer.
    """
    deadline = time.monotonic() + seconds
    _shut_down(connection, socket.SHUT_WR)
    with suppress(OSError):
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(1 << 16):
                return


def _shut_down(connection: socket.socket, how: int) -> None:
    with suppress(OSError):  # the client left
        # Not `SSLSocket.shutdown`, after which another thread would send the rest of its answer unencrypted.
        socket.socket.shutdown(connection, how)
