"""The check of a URL that a user gives. A URL may hold a password or a token, so no message repeats one."""

from __future__ import annotations

from urllib.parse import urlsplit

from beam_zerobus.errors import ConfigurationError

__all__ = ["check_url"]


def check_url(value: object, *, name: str, example: str, credentials: str) -> str:
    """Return `value` if it is a plain http(s) URL: a host, perhaps a port and a path, nothing else.

    Args:
        value: What the user gave.
        name: The option or environment variable, for the message.
        example: How such a URL is written, for the message.
        credentials: Where credentials belong instead, for the message.

    Raises:
        ConfigurationError: It is not; the message names what is wrong, and never repeats the URL.

    Example:
        >>> check_url("ftp://me:s3cret@host", name="endpoint", example="https://host", credentials="credentials")
        Traceback (most recent call last):
        beam_zerobus.errors.ConfigurationError: endpoint is not an http(s) URL: write it as https://host
    """
    problem = _problem(value, credentials)
    if problem is None and ("<" in str(value) or ">" in str(value)):
        found = f"{name} still has placeholders in angle brackets"
        del value
        raise ConfigurationError(f"{found}, as {example} has: put your own values in their place")
    if problem is None:
        return str(value)
    del value  # a traceback with locals would show it
    raise ConfigurationError(f"{name} {problem}: write it as {example}")


def _problem(value: object, credentials: str) -> str | None:
    if not isinstance(value, str):
        return f"has the type {type(value).__name__} and is not an http(s) URL"
    if any(character.isspace() or not character.isprintable() for character in value):
        return "holds white space or a control character"
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port  # the port is parsed, and may be invalid, only here
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return "is not an http(s) URL" + ("" if "://" in value else ", as it does not begin with https:// or http://")
    if parts.username is not None or parts.password is not None:
        return f"holds a user name or password; pass them as {credentials} instead"
    return "has a query or fragment" if "?" in value or "#" in value else None
