"""Values of a column as JSON text, all at once: many times as fast as one after another."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterable, Sequence
from itertools import groupby
from json.encoder import encode_basestring as quoted
from typing import Any, TypeAlias

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.sink.dead_letters.arrow_values import values_of
from beam_zerobus.sink.dead_letters.json_text import dumps
from beam_zerobus.sink.dead_letters.readable import plain
from beam_zerobus.sink.raw_text import RawText

__all__ = [
    "TEXT",
    "Pieces",
    "array_as_json",
    "between",
    "each_as_json",
    "floats_are_alike",
    "is_text",
    "is_valid_text",
    "joined",
    "objects",
    "quoted",
    "quoted_texts",
]

TEXT = pa.large_string()
"""The type of columns of JSON text: rows may be large."""

Pieces: TypeAlias = "Sequence[pa.Array | str]"
"""Text of each row in pieces: columns, and what is the same in each row. `joined` copies them once."""

_NONE = type(None)
_TEXTS: frozenset[type] = frozenset({str, _NONE})
# The JSON of their forms for people has no comma.
_WITHOUT_COMMA: frozenset[type] = frozenset({int, float, bool, bytes, decimal.Decimal, dt.date, dt.datetime, _NONE})
_SPACE, _QUOTE, _BACKSLASH = b' "\\'


def each_as_json(values: Sequence[Any]) -> pa.Array:
    """Return the form for people of each value as JSON text.

    Args:
        values: Of a column; text among them can be encoded as UTF-8.

    Example:
        >>> [each_as_json(values).to_pylist() for values in ([1, None], ["a", None], [b"ab"])]
        [['1', 'null'], ['"a"', 'null'], ['"YWI="']]
    """
    kinds = set(map(type, values))
    if RawText in kinds:
        values = [str(value) if type(value) is RawText else value for value in values]
        kinds = set(map(type, values))
    if kinds <= _TEXTS:
        return quoted_texts(pa.array(values, TEXT))
    if kinds <= _WITHOUT_COMMA and (float not in kinds or floats_are_alike(values)):
        try:
            return pa.array(orjson.dumps(values, default=plain)[1:-1].decode().split(","), TEXT)
        except TypeError:  # an integer of more than 64 bits
            pass
    return pa.array([dumps(plain(value)) for value in values], TEXT)


def array_as_json(column: pa.Array) -> pa.Array:
    """Return what `each_as_json` returns for the values of an Arrow column.

    Example:
        >>> array_as_json(pa.array([1, None])).to_pylist()
        ['1', 'null']
    """
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return pc.fill_null(column.cast(TEXT), "null")
    if pa.types.is_decimal(kind) or (is_text(kind) and is_valid_text(column)):
        return quoted_texts(column.cast(TEXT))
    return each_as_json(values_of(column))


def is_text(kind: pa.DataType) -> bool:
    """Return whether a type is that of text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_valid_text(column: pa.Array) -> bool:
    """Return whether a column of text is UTF-8."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def quoted_texts(texts: pa.Array) -> pa.Array:
    """Return text as JSON.

    Example:
        >>> quoted_texts(pa.array(["a", None], TEXT)).to_pylist()
        ['"a"', 'null']
    """
    if _has_escapes(texts):
        return pa.array(["null" if text is None else quoted(text) for text in texts.to_pylist()], TEXT)
    return pc.fill_null(joined('"', texts, '"'), "null")


def _has_escapes(texts: pa.Array) -> bool:
    """Return whether a text may have characters that JSON escapes."""
    _, offset_buffer, data = texts.buffers()
    if data is None or not len(texts):
        return False
    offsets = np.frombuffer(offset_buffer, np.int64)[texts.offset :][: len(texts) + 1]
    shown = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
    return bool(((shown < _SPACE) | (shown == _QUOTE) | (shown == _BACKSLASH)).any())


def floats_are_alike(values: Iterable[Any]) -> bool:
    """Return whether orjson writes the floats among values as Python does, which is without an exponent.

    Replays look for the text that people have changed, and so each float has one text.
    """
    return all(1e-4 <= abs(value) < 1e16 or value == 0 for value in values if type(value) is float)


def objects(names: Sequence[str], columns: Sequence[pa.Array], count: int) -> Pieces:
    """Return JSON objects of fields that are columns of JSON text.

    Example:
        >>> columns = [pa.array(["1", "2"], TEXT), pa.array(['"a"', "null"], TEXT)]
        >>> joined(*objects(["id", "name"], columns, 2)).to_pylist()
        ['{"id":1,"name":"a"}', '{"id":2,"name":null}']
    """
    heads = [f"{',' if number else '{'}{quoted(name)}:" for number, name in enumerate(names)]
    return between([*heads, "}"], columns) if heads else [pa.array(["{}"] * count, TEXT)]


def between(parts: Sequence[str], columns: Sequence[pa.Array]) -> Pieces:
    """Return for each row its values with the same parts before, between and after them."""
    first, *others = parts
    return [first, *(text for pair in zip(columns, others, strict=True) for text in pair)]


def joined(*pieces: pa.Array | str) -> pa.Array:
    """Return for each row its pieces one after another; null where one is null."""
    texts: list[pa.Array | pa.Scalar] = []
    for is_same, group in groupby(pieces, lambda piece: isinstance(piece, str)):
        run = list(group)
        texts += [pa.scalar("".join(run), TEXT)] if is_same else run
    return pc.binary_join_element_wise(*texts, pa.scalar("", TEXT))
