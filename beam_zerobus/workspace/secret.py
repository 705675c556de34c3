"""`Secret`: text that no repr, log line or traceback shows."""

from __future__ import annotations

import hmac

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

    def __init__(self, text: str | Secret) -> None:
        self._text: str = text._text if isinstance(text, Secret) else text

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
    if not isinstance(secret.reveal(), str):
        raise AuthenticationError(f"{name} is a {type(secret.reveal()).__name__}: give it as text (str)")
    cleaned = Secret(secret.reveal().rstrip("\r\n"))
    if not cleaned.reveal():
        raise AuthenticationError(f"{name} is empty: check where it is read from")
    if not _is_utf8(cleaned) or any(ord(c) < 0x20 or ord(c) == 0x7F for c in cleaned.reveal()):
        raise AuthenticationError(
            f"{name} holds a line break, another control character or half a character: copy it again, as one line"
        )
    return cleaned


def _is_utf8(secret: Secret) -> bool:
    try:
        secret.reveal().encode()
    except UnicodeEncodeError:
        return False
    return True


def _comparable(secret: Secret) -> bytes:
    text = secret.reveal()
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else repr(text).encode()
