"""Parsed values to Variant one at a time, for those whose shape is rare; any value can be encoded so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

import orjson

from beam_zerobus.variant.layout import (
    FALSE,
    LONG_STRING,
    MAX_DEPTH,
    MAX_SHORT,
    NULL,
    SHORT_STRING,
    TRUE,
    array_head,
    numbers_of,
    object_head,
    width_of,
)
from beam_zerobus.variant.numbers import Number, encode_integer, encode_number
from beam_zerobus.variant.problems import Problem, VariantError

__all__ = ["encode_value", "keys_of"]


def keys_of(value: Any, depth: int = 0) -> set[str]:
    """Return the keys of all objects in a parsed value.

    Raises:
        VariantError: It nests too deep.
    """
    if type(value) is not dict and type(value) is not list:
        return set()
    if depth == MAX_DEPTH:
        raise VariantError(Problem.TOO_DEEP)
    inner = value.values() if type(value) is dict else value
    found = set(value) if type(value) is dict else set()
    for item in inner:
        if type(item) is dict or type(item) is list:
            found |= keys_of(item, depth + 1)
    return found


def encode_value(value: Any, ids: Mapping[str, int]) -> bytes:
    """Return the Variant of a parsed value.

    Args:
        value: From `beam_zerobus.variant.parse`.
        ids: The field ids of its keys, in the row's dictionary.

    Raises:
        VariantError: A number is not exact.

    Example:
        >>> encode_value({"b": True, "a": None}, {"a": 0, "b": 1}).hex(" ")
        '02 02 00 01 00 01 02 00 04'
    """
    if type(value) is dict:
        return _object(value, ids)
    if type(value) is list:
        items = [encode_value(item, ids) for item in value]
        return _with_offsets(b"", items, lambda width: array_head(len(items), width))
    return _SCALARS[type(value)](value)


def _object(value: Mapping[str, Any], ids: Mapping[str, int]) -> bytes:
    keys = sorted(value)
    numbers = [ids[key] for key in keys]
    id_width = width_of(max(numbers, default=0))
    items = [encode_value(value[key], ids) for key in keys]
    return _with_offsets(numbers_of(numbers, id_width), items, lambda width: object_head(len(keys), id_width, width))


def _with_offsets(fields: bytes, items: list[bytes], head: Callable[[int], bytes]) -> bytes:
    ends = list(accumulate(map(len, items), initial=0))
    width = width_of(ends[-1])
    return b"".join([head(width), fields, numbers_of(ends, width), *items])


def _string(value: str) -> bytes:
    text = value.encode()
    if len(text) <= MAX_SHORT:
        return bytes([len(text) << 2 | SHORT_STRING]) + text
    return bytes([LONG_STRING]) + len(text).to_bytes(4, "little") + text


_SCALARS: dict[type, Callable[[Any], bytes]] = {
    str: _string,
    Number: encode_number,
    int: encode_integer,
    float: lambda value: encode_number(orjson.dumps(value).decode()),
    bool: lambda value: bytes([TRUE if value else FALSE]),
    type(None): lambda _: bytes([NULL]),
}
