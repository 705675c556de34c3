"""What kind of address a server listens on."""

from __future__ import annotations

import ipaddress
import socket

__all__ = ["is_loopback"]


def is_loopback(address: str) -> bool:
    """Return whether only programs on this machine can reach an address.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
        (True, False)
    """
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(address or "0.0.0.0", None)}  # noqa: S104 - what "" means
    except (OSError, UnicodeError):  # UnicodeError: it cannot be a name
        return False
    return all(ipaddress.ip_address(one.partition("%")[0]).is_loopback for one in found)
