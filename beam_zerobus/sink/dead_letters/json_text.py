"""JSON text that keeps the digits of numbers, and text that UTF-8 cannot hold."""

from __future__ import annotations

import json
from typing import Any, Self

from beam_zerobus.schema.unique_keys import unique_keys

__all__ = ["Number", "dumps", "is_utf8", "loads"]


_WITHOUT_SPACES = (",", ":")
_UNICODE = json.JSONEncoder(ensure_ascii=False, separators=_WITHOUT_SPACES)
_ASCII = json.JSONEncoder(separators=_WITHOUT_SPACES)


class Number(float):
    """A number of a JSON text, with all its digits."""

    text: str

    def __new__(cls, text: str) -> Self:
        """Read a number and remember its text."""
        number = super().__new__(cls, text)
        number.text = text
        return number


def loads(text: str | bytes) -> Any:
    """Parse JSON; numbers with a fraction or an exponent keep their digits for `dumps`.

    Raises:
        ValueError: The text is not valid JSON, or has an object with the same key twice.

    >>> loads('{"v": 12345678901234567.89}')["v"].text
    '12345678901234567.89'
    """
    return json.loads(text, parse_float=Number, object_pairs_hook=unique_keys)


def dumps(value: Any) -> str:
    r"""Write JSON in one line; text that UTF-8 cannot hold is escaped.

    >>> dumps(loads('{"v": 12345678901234567.89}'))
    '{"v":12345678901234567.89}'
    """
    if not _has_numbers(value):
        text = _UNICODE.encode(value)
        return text if is_utf8(text) else _ASCII.encode(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{dumps(key)}:{dumps(inner)}" for key, inner in value.items()) + "}"
    return "[" + ",".join(map(dumps, value)) + "]" if isinstance(value, list) else value.text


def is_utf8(text: str) -> bool:
    """Return whether text can be encoded; half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _has_numbers(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_numbers, value.values()))
    return any(map(_has_numbers, value)) if isinstance(value, list) else isinstance(value, Number)
