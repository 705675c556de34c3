"""Text from files on a terminal: characters that would control the terminal become visible escapes."""

from __future__ import annotations

import unicodedata

__all__ = ["visible", "visible_in_json"]

# Control characters, lone surrogates, line and paragraph separators.
_HIDDEN_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
# Left-to-right and right-to-left marks, embeddings, overrides and isolates: they reorder what surrounds them.
_BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def visible(text: str) -> str:
    r"""Return a text with an escape for each character that would move, colour or reorder what a terminal shows.

    Example:
        >>> print(visible("red: \x1b[31m, bell: \x07, Zürich\n"))
        red: \x1b[31m, bell: \x07, Zürich\n
    """
    if text.isprintable():
        return text
    return "".join(_escape(character) if _is_hidden(character) else character for character in text)


def visible_in_json(document: str) -> str:
    r"""Return a JSON document with those characters, inside its texts, as JSON escapes; line breaks stay.

    Example:
        >>> print(visible_in_json('["\x9b31m"]'))
        ["\u009b31m"]
    """
    return "".join(
        f"\\u{ord(character):04x}" if character != "\n" and _is_hidden(character) else character
        for character in document
    )


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN_CATEGORIES or character in _BIDIRECTIONAL


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
