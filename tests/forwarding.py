"""Addresses in front of a server, which a test can take away."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

Address = tuple[str, int]


@contextmanager
def forwarded(address: Address, target: Address, *, cut_off: int = 0) -> Iterator[Address]:
    """Forward connections to a server; afterwards, new ones are refused.

    Args:
        address: Where to listen; port 0 lets the system choose.
        target: The server.
        cut_off: How many of the first connections are reset, once their client has sent something, instead.

    Yields:
        The address with its port.
    """
    remaining = iter(range(cut_off))

    class Forward(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if next(remaining, None) is not None:
                self.request.recv(1)
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.request.close()  # with this option, closing resets
                return
            with socket.create_connection(target) as far:
                back = threading.Thread(target=_copy, args=(far, self.request), daemon=True)
                back.start()
                _copy(self.request, far)
                back.join()

    with _serving(address, Forward) as served:
        yield served


@contextmanager
def _serving(address: Address, handler: type[socketserver.BaseRequestHandler]) -> Iterator[Address]:
    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(address, handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield address[0], server.server_address[1]
        finally:
            server.shutdown()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # one side closed the connection
