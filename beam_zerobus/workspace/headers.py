"""Checks headers before they are sent, so that no library quotes a wrong one in an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.workspace.secret import Secret

__all__ = ["check_headers"]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VALUE = re.compile(r"[\x20-\x7e\t]*")


def check_headers(headers: Any) -> dict[str, Secret]:
    """Return headers with lower-case names, and without line breaks at the end of a value.

    Raises:
        ConfigurationError: They are not a mapping of text to text, a name or a value cannot be sent over HTTP and
            gRPC, or ``authorization`` is missing.

    Example:
        >>> check_headers({"Authorization": Secret("Bearer abc")})
        {'authorization': Secret(***)}
    """
    if not isinstance(headers, Mapping):
        kind = type(headers.reveal() if isinstance(headers, Secret) else headers).__name__
        raise ConfigurationError(f"StaticHeaders.headers is or returns {kind}: give a mapping of names to text")
    checked = {}
    for name, value in headers.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigurationError("StaticHeaders.headers: a name is not an HTTP header's name: correct it")
        if not isinstance(value, Secret) or not isinstance(value.reveal(), str):
            raise ConfigurationError(f'StaticHeaders.headers: the value of "{name}" is not text: give it as str')
        trimmed = Secret(value.reveal().rstrip("\r\n"))
        if not _VALUE.fullmatch(trimmed.reveal()):
            raise ConfigurationError(
                f'StaticHeaders.headers: the value of "{name}" holds characters that no header can carry: '
                "use ASCII without line breaks"
            )
        checked[name.lower()] = trimmed
    if "authorization" not in checked or not checked["authorization"].reveal().strip():
        raise ConfigurationError('StaticHeaders needs an "authorization" header, such as "Bearer <token>"')
    return checked
