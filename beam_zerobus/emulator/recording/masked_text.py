"""Values with other content of the same shape: texts of the same length, numbers that are 1, nulls that stay null."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeAlias

import orjson

from beam_zerobus.schema import Array, DeltaType, Field, Map, Struct

__all__ = ["Columns", "distinct", "masked_json", "masked_row", "masked_text", "masked_value"]

Columns: TypeAlias = tuple[Field, ...]
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?|[+-]?\.\d+")
_DIGIT = re.compile(r"\d")
_NOT_NUMBERS = {"NaN", "Infinity", "-Infinity"}


def masked_text(text: str) -> str:
    """Return a text of the same number of bytes; a number stays one, and JSON stays JSON of the same shape.

    Example:
        >>> masked_text("secret"), masked_text("-12.50"), masked_text('{"a": [7, null]}')
        ('xxxxxx', '-11.11', '{"x":[1,null]}')
    """
    if text in _NOT_NUMBERS:
        return text
    if _NUMBER.fullmatch(text):
        mantissa, mark, exponent = text.partition("e" if "e" in text else "E")
        return _DIGIT.sub("1", mantissa) + mark + _DIGIT.sub("0", exponent)
    if text[:1] in ('"', "{", "[", "t", "f", "n"):
        masked = masked_json(text.encode("utf-8", "surrogatepass"))
        if masked is not None:
            return masked.decode()
    return "x" * len(text.encode("utf-8", "surrogatepass"))


def masked_json(text: bytes) -> bytes | None:
    """Return JSON with every value and every name of a member replaced; None if it is not JSON."""
    try:
        return orjson.dumps(masked_value(orjson.loads(text)))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None


def masked_value(value: Any) -> Any:  # noqa: PLR0911 - one for each type
    """Return a parsed JSON value with other content of the same shape.

    Example:
        >>> masked_value({"a": [True, 2.5, None], "b": "text"})
        {'x': [True, 1.0, None], 'x1': 'xxxx'}
    """
    match value:
        case None:
            return None
        case bool():
            return True
        case int():
            return 1
        case float():
            return 1.0
        case str():
            return masked_text(value)
        case list():
            return [masked_value(one) for one in value]
        case _:
            return _with_masked_names(value, map(masked_value, value.values()))


def masked_row(row: Any, columns: Columns) -> Any:
    """Return a JSON row with masked values; names of columns and of fields stay, keys of maps are values.

    Example:
        >>> from beam_zerobus.schema import TableSchema
        >>> columns = TableSchema.from_ddl("id INT, place STRUCT<zip: STRING>, tags MAP<STRING, INT>").columns
        >>> masked_row({"id": 7, "place": {"zip": "8000"}, "tags": {"key": 9}}, columns)
        {'id': 1, 'place': {'zip': '1111'}, 'tags': {'xxx': 1}}
    """
    if not isinstance(row, dict):
        return masked_value(row)
    types = {column.name: column.type for column in columns}
    return {name: _typed(value, types.get(name)) for name, value in row.items()}


def _typed(value: Any, kind: DeltaType | None) -> Any:
    match kind, value:
        case Struct(fields), dict():
            return masked_row(value, tuple(fields))
        case Array(element, _), list():
            return [_typed(one, element) for one in value]
        case Map(_, inner, _), dict():
            return _with_masked_names(value, (_typed(one, inner) for one in value.values()))
        case _:
            return masked_value(value)


def _with_masked_names(value: dict[str, Any], masked: Iterable[Any]) -> dict[str, Any]:
    return dict(zip(distinct([masked_text(name) for name in value]), masked, strict=True))


def distinct(keys: list[str]) -> list[str]:
    """Return keys that differ: those that are masked to the same text get a number behind it.

    Example:
        >>> distinct(["x", "x", "11"])
        ['x', 'x1', '11']
    """
    seen: set[str] = set()
    numbers: Counter[str] = Counter()
    found = []
    for key in keys:
        candidate = key
        while candidate in seen:
            numbers[key] += 1
            candidate = f"{key}{numbers[key]}"
        seen.add(candidate)
        found.append(candidate)
    return found
