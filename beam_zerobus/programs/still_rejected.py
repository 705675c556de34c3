"""Dead letters of text files that no replay can write: they keep the reason that the file's reader gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beam_zerobus.errors import RowError
from beam_zerobus.schema import DeltaType, Primitive, TableSchema
from beam_zerobus.schema.texts import FLOATS, INTEGERS
from beam_zerobus.sink.dead_letters import loads
from beam_zerobus.sink.raw_text import RawText

__all__ = ["READING", "still_rejected"]

READING = "reading"
"""The stage of rows that the reader of a file rejected."""

_NOT_TEXT = (*INTEGERS, *FLOATS, Primitive.BOOLEAN, Primitive.BINARY)


def _not_utf8(name: str, kind: DeltaType) -> RowError:
    """Return the reason of a value that the file's reader would find next; the sink would write BINARY as the text."""
    if kind is Primitive.BINARY:
        return RowError(0, "invalid_text", f"column {name!r} is {kind}: a value is not base64; correct it", READING)
    return RowError(0, "invalid_utf8", f"column {name!r} is {kind}: a value is not UTF-8; correct it", READING)


def still_rejected(letter: Mapping[str, Any], element: Any, schema: TableSchema | None) -> RowError | None:
    """Return the first reason of a row that the reader of a file rejected, if it still holds; else None.

    The sink would judge such a row by what it is in the letter: a line of CSV as JSON, the text of a number as a str.

    Args:
        letter: The dead letter.
        element: The row as it would be sent.
        schema: The table's schema; None if it is not known.

    Example:
        >>> letter = {"stage": "reading", "error_type": "invalid_text", "message": "it has 1 value, the header 2"}
        >>> still_rejected(letter, '{"id": 7}', None) is None, still_rejected(letter, "7", None).error_type
        (True, 'invalid_text')
    """
    error_type, message = letter.get("error_type"), letter.get("message")
    if letter.get("stage") != READING or not isinstance(error_type, str) or not isinstance(message, str):
        return None
    reason = RowError(0, error_type, message, READING)
    if isinstance(element, str | bytes):
        return None if _is_json_object(element) else reason
    if isinstance(element, Mapping) and schema is not None:
        types = {column.name.lower(): column.type for column in schema.columns}
        raw: RowError | None = None
        for name, value in element.items():
            kind = types.get(str(name).lower())
            if type(value) is RawText or (type(value) is str and kind in _NOT_TEXT):
                if f"column {name!r} is {kind}: a value" in message:
                    return reason
                if type(value) is RawText and kind is not None:
                    raw = raw or _not_utf8(name, kind)
        return raw
    return None


def _is_json_object(text: str | bytes) -> bool:
    try:
        return isinstance(loads(text), dict)
    except (ValueError, RecursionError):
        return False
