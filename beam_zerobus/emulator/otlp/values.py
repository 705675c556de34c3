"""Values of OTLP as JSON rows have them: ids in hexadecimal, attributes as JSON, numbers that fit their column."""

from __future__ import annotations

import base64
import math
import os
import time
from collections.abc import Iterable
from typing import Any

import orjson

from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.errors import counted
from beam_zerobus.schema.float_names import float_name

__all__ = ["attributes", "enum_name", "hex_id", "int32", "int64", "number", "record_id", "variant"]

_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8


def variant(value: Any) -> str | None:
    """Return an `AnyValue` as JSON; None if it is not set."""
    return None if value.WhichOneof("value") is None else _dumps(_plain(value))


def attributes(pairs: Iterable[Any]) -> str:
    """Return a list of `KeyValue` as a JSON object; of the same key twice, the last one counts."""
    return _dumps({pair.key: _plain(pair.value) for pair in pairs})


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    match kind:
        case "array_value":
            return [_plain(one) for one in value.array_value.values]
        case "kvlist_value":
            return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case "double_value":
            return value.double_value if math.isfinite(value.double_value) else float_name(value.double_value)
        case None:
            return None
        case _:
            return getattr(value, kind)


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()


def hex_id(value: bytes, name: str, *, required: bool = False) -> str | None:
    """Return a trace's or span's id in hexadecimal; None if it is empty.

    Raises:
        Rejection: It has a wrong length, or is zero or empty and required.

    Example:
        >>> hex_id(bytes(range(8)), "span_id")
        '0001020304050607'
    """
    if not value and not required:
        return None
    length = _TRACE_ID_BYTES if name == "trace_id" else _SPAN_ID_BYTES
    if len(value) != length:
        raise Rejection.invalid(f"{name} has {counted(len(value), 'byte')}; it must have {length}")
    if required and not any(value):
        raise Rejection.invalid(f"{name} is zero")
    return value.hex()


def int32(value: int, name: str) -> int:
    """Return an unsigned number that an INT column holds.

    Raises:
        Rejection: It is too large.
    """
    return _below(1 << 31, value, name)


def int64(value: int, name: str) -> int:
    """Return an unsigned number that a LONG column holds.

    Raises:
        Rejection: It is too large.
    """
    return _below(1 << 63, value, name)


def _below(limit: int, value: int, name: str) -> int:
    if value >= limit:
        raise Rejection.invalid(f"{name} is larger than {limit - 1}")
    return value


def number(value: float) -> float | str:
    """Return a float, or its name if JSON does not have it."""
    return value if math.isfinite(value) else float_name(value)


def enum_name(enum: Any, value: int) -> str:
    """Return the name of an enum's value, or its number if this version of the protocol does not have it."""
    try:
        name: str = enum.Name(value)
    except ValueError:
        return str(value)
    return name


def record_id() -> str:
    """Return a new id, a UUID of version 7: ids sort by time."""
    number_of = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    number_of = number_of & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62
    text = f"{number_of:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
