"""What to check where the endpoint does not answer as Zerobus does."""

from __future__ import annotations

__all__ = ["advice"]

# Words of the HTTP libraries inside the SDK. They choose between remedies only; the status decides what is done.
_SIGNS = {
    "InvalidContentType": "what answers at the endpoint does not speak TLS, so that its address begins with http://",
    "http2 error": "check that Zerobus answers at the endpoint, not the workspace",
    "operation was canceled": "check that Zerobus answers at the endpoint, not the workspace",
    "dns error": "the endpoint names a host that does not exist",
}


def advice(message: str) -> str:
    """Return what to check after a message of the SDK.

    Example:
        >>> advice("dns error"), advice("connection refused")
        ('the endpoint names a host that does not exist', 'check that the endpoint is reachable')
    """
    return next((words for sign, words in _SIGNS.items() if sign in message), "check that the endpoint is reachable")
