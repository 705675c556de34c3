"""`Secret`: text that no repr, log line or traceback shows."""

from __future__ import annotations

import hmac
from contextlib import suppress
from typing import Any

from beam_zerobus.errors import AuthenticationError

__all__ = ["Secret", "clean_secret"]


class Secret:
    """Text that does not print; it travels in a pickle.

    Pass the object itself, and call `reveal` only inside the expression that needs the text: a local variable that
    holds the text would be shown by a traceback with locals.

    Example:
        >>> secret = Secret("s3cret")
        >>> print(secret, [secret], f"{secret}")
        *** [Secret(***)] ***
        >>> secret.reveal() == "s3cret"
        True
    """

    __slots__ = ("_text",)

    def __init__(self, text: str | bytes | Secret) -> None:
        # What is not text is wrapped too, so that an error about it need not show it.
        self._text: Any = text._text if isinstance(text, Secret) else text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, _: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_comparable(self), _comparable(other))

    def __hash__(self) -> int:
        return hash(_comparable(self))

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return Secret, (self._text,)


def clean_secret(secret: Secret, name: str) -> Secret:
    r"""Return a secret without the line breaks at its end, which files and ``echo`` add.

    Raises:
        AuthenticationError: It is not text, is empty, or holds another control character.

    Example:
        >>> clean_secret(Secret("s3cret\r\n"), "client_secret") == Secret("s3cret")
        True
    """
    secret = _decoded(secret)
    if not isinstance(secret.reveal(), str):
        raise AuthenticationError(
            f"{name} is of type {type(secret.reveal()).__name__}, or not UTF-8: give it as text (str)"
        )
    cleaned = Secret(secret.reveal().rstrip("\r\n"))
    if not cleaned.reveal():
        raise AuthenticationError(f"{name} is empty: check where it is read from")
    if any(ord(c) < 0x20 or ord(c) == 0x7F or 0xD800 <= ord(c) < 0xE000 for c in cleaned.reveal()):
        raise AuthenticationError(
            f"{name} holds a line break, another control character or half a character: copy it again, as one line"
        )
    return cleaned


def _decoded(secret: Secret) -> Secret:
    """Return a secret in bytes, as Beam's are, as text; unchanged if it is not UTF-8."""
    if isinstance(secret.reveal(), bytes):
        with suppress(UnicodeDecodeError):
            return Secret(secret.reveal().decode())  # type: ignore[attr-defined]
    return secret


def _comparable(secret: Secret) -> bytes:
    text = secret.reveal()
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else repr(text).encode()
