"""Connections of clients, as the operating system sees them."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

__all__ = ["address_of", "end_connection"]

_DESCRIPTORS = Path("/dev/fd")  # Linux and macOS


def end_connection(peer: str, port: int) -> bool:
    """End a client's connection to a port of this process as if the client had ended it; all its calls end.

    Arrow's server can end a call only when the client sends or closes (pyarrow 25: `ServerCallContext` has no means),
    so the connection is looked up among the sockets of this process and shut down below Arrow, which sees its end.

    Args:
        peer: The client's address as gRPC writes it, such as ``ipv4:127.0.0.1:50123``.
        port: The port that the client is connected to; from the same address it may be connected to others too.

    Returns:
        Whether there was one; always False where the system does not list the descriptors of a process (Windows), and
        while the process has no descriptor left.
    """
    address = address_of(peer)
    if address is None:
        return False
    try:
        descriptors = [int(entry.name) for entry in _DESCRIPTORS.iterdir()]
    except OSError:
        return False
    return any(_shut_down(descriptor, address, port) for descriptor in descriptors)


def address_of(peer: str) -> tuple[str, int] | None:
    """Return the address and port of a client; None for what is not one.

    >>> address_of("ipv6:%5B::1%5D:50123")
    ('::1', 50123)
    >>> address_of("ipv6:%5Bfe80::1%254%5D:50123")  # link-local: the zone is of this machine only
    ('fe80::1', 50123)
    >>> address_of("unix:/run/gateway") is None
    True
    """
    kind, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdecimal():
        return None
    return _plain(host.strip("[]")), int(port)


def _shut_down(descriptor: int, address: tuple[str, int], port: int) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
        with closing(_duplicate(descriptor)) as connection:
            if connection.family not in (socket.AF_INET, socket.AF_INET6):
                return False
            host, port_of_client = connection.getpeername()[:2]
            if (_plain(host), port_of_client) != address or connection.getsockname()[1] != port:
                return False
            connection.shutdown(socket.SHUT_RDWR)
            return True
    except OSError:  # closed meanwhile, or not connected
        return False


def _duplicate(descriptor: int) -> socket.socket:
    """Return a socket with a descriptor of its own, so that the other one stays its owner's and nobody closes this."""
    duplicate = os.dup(descriptor)
    try:
        blocking = os.get_blocking(duplicate)
        connection = socket.socket(fileno=duplicate)
    except OSError:
        os.close(duplicate)
        raise
    os.set_blocking(duplicate, blocking)  # with `socket.setdefaulttimeout`, Python has changed it for the owner too
    return connection


def _plain(host: str) -> str:
    """Return an address in its shortest form, without a zone; of an IPv4 client of an IPv6 socket, the IPv4 address."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
