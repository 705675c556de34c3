"""Values of a column as JSON text, all at once: several times as fast as one after another."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterable, Sequence
from json.encoder import encode_basestring as quoted
from typing import Any

import orjson

from beam_zerobus.sink.dead_letters.json_text import dumps
from beam_zerobus.sink.dead_letters.readable import plain
from beam_zerobus.sink.dead_letters.values import RawText

__all__ = ["between", "each_as_json", "floats_are_alike", "objects", "quoted"]

_NONE = type(None)
_TEXTS: frozenset[type] = frozenset({str, _NONE})
# The JSON of their forms for people has no comma.
_WITHOUT_COMMA: frozenset[type] = frozenset({int, float, bool, bytes, decimal.Decimal, dt.date, dt.datetime, _NONE})


def each_as_json(values: Sequence[Any]) -> list[str]:
    """Return the form for people of each value as JSON text.

    Args:
        values: Of a column; text among them can be encoded as UTF-8.

    Example:
        >>> each_as_json([1, None]), each_as_json(["a", None]), each_as_json([b"ab"])
        (['1', 'null'], ['"a"', 'null'], ['"YWI="'])
    """
    kinds = set(map(type, values))
    if RawText in kinds:
        values = [str(value) if type(value) is RawText else value for value in values]
        kinds = set(map(type, values))
    if kinds <= _TEXTS:
        return ["null" if value is None else quoted(value) for value in values]
    if kinds <= _WITHOUT_COMMA and (float not in kinds or floats_are_alike(values)):
        try:
            return orjson.dumps(values, default=plain)[1:-1].decode().split(",")
        except TypeError:  # an integer of more than 64 bits
            pass
    return [dumps(plain(value)) for value in values]


def floats_are_alike(values: Iterable[Any]) -> bool:
    """Return whether orjson writes the floats among values as Python does, which is without an exponent.

    Replays look for the text that people have changed, and so each float has one text.
    """
    return all(1e-4 <= abs(value) < 1e16 or value == 0 for value in values if type(value) is float)


def objects(names: Sequence[str], columns: Sequence[Sequence[str]], count: int) -> list[str]:
    """Return JSON objects of fields that are columns of JSON text.

    Example:
        >>> objects(["id", "name"], [["1", "2"], ['"a"', "null"]], 2)
        ['{"id":1,"name":"a"}', '{"id":2,"name":null}']
    """
    heads = [f"{',' if number else '{'}{quoted(name)}:" for number, name in enumerate(names)]
    return between([*heads, "}"], columns, count) if heads else ["{}"] * count


def between(parts: Sequence[str], columns: Sequence[Sequence[str]], count: int) -> list[str]:
    """Return for each row its values with the same parts before, between and after them."""
    if not columns:
        return ["".join(parts)] * count
    template = "%s".join(part.replace("%", "%%") for part in parts)
    return list(map(template.__mod__, zip(*columns, strict=True)))
