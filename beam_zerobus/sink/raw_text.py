"""Text of files that is not UTF-8."""

from __future__ import annotations

from collections.abc import Sequence

from beam_zerobus.schema.casts.text import is_utf8

__all__ = ["RawText", "as_text", "with_escapes"]


class RawText(bytes):
    """Text that is not UTF-8, as in the file; people read it with escapes."""

    def __str__(self) -> str:
        return self.decode(errors="backslashreplace")


def as_text(value: bytes) -> str | RawText:
    """Return text, as bytes where it is not UTF-8.

    >>> as_text("é".encode())
    'é'
    """
    return value.decode() if is_utf8(value) else RawText(value)


def with_escapes(values: Sequence[bytes]) -> list[str]:
    r"""Return texts as people read them: decoded together, as an error for each costs several times as much.

    >>> with_escapes([b"\xe9a", b"\xff"])
    ['\\xe9a', '\\xff']
    """
    texts = b"\n".join(values).decode(errors="backslashreplace").split("\n")
    return texts if len(texts) == len(values) else [str(RawText(value)) for value in values]  # where one has a line end
