"""Why a server cannot listen on a port, in words that gRPC's errors lack."""

from __future__ import annotations

import os
import socket

__all__ = ["why_not_free"]


def why_not_free(host: str, port: int) -> str | None:
    """Return why nobody else can listen on a port now, such as "Address already in use"; None where it is free.

    Args:
        host: A name or an address of this machine; one that is not known is left to the server.
        port: The port; 0 is always free.

    Example:
        >>> why_not_free("127.0.0.1", 0)
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        return None
    with socket.socket(family, kind, protocol) as trial:
        if os.name == "posix":  # elsewhere it would take the port away from its owner
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(address)
        except OSError as error:
            return error.strerror or type(error).__name__
    return None
