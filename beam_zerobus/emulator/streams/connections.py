"""Cuts a client's connection from the server's side, as a broken network does."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from beam_zerobus.emulator.recording.interceptor import RecordedContext

__all__ = ["cut", "cut_call"]


def cut(peer: str, port: int) -> bool:
    """Shut down the socket to a peer, without a status.

    gRPC does not expose its sockets, so the process's descriptors are searched for the one connected to the peer.

    Args:
        peer: What gRPC calls the client: ``ipv4:127.0.0.1:50001`` or ``ipv6:[::1]:50001``.
        port: The server's own port.

    Returns:
        False if the socket was not found, as on Windows, which has no such descriptors.
    """
    family, _, address = unquote(peer).partition(":")
    host, _, peer_port = address.rpartition(":")
    wanted = (host.strip("[]"), int(peer_port)) if peer_port.isdigit() else None
    if wanted is None or family not in ("ipv4", "ipv6"):
        return False
    for descriptor in _descriptors():
        with suppress(OSError), _duplicate(descriptor) as candidate:
            if candidate.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            far, far_port = candidate.getpeername()[:2]
            # gRPC listens on IPv6 sockets that also serve IPv4.
            if (far.removeprefix("::ffff:"), far_port) == wanted and candidate.getsockname()[1] == port:
                candidate.shutdown(socket.SHUT_RDWR)
                return True
    return False


def cut_call(context: Any, port: int) -> bool:
    """Shut down the connection of a gRPC call, as `cut` does; a recording of the call says so.

    Args:
        context: gRPC's context of the call.
        port: The server's own port.
    """
    if isinstance(context, RecordedContext):
        context.note_cut()
    return cut(context.peer(), port)


def _duplicate(descriptor: int) -> socket.socket:
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        raise OSError("not a socket")
    return socket.socket(fileno=os.dup(descriptor))


def _descriptors() -> list[int]:
    for directory in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return [int(entry.name) for entry in Path(directory).iterdir()]
    return []
