"""The primitive types of Variant, as JSON text; also those that JSON text never becomes, such as dates."""

from __future__ import annotations

import base64
import math
import struct
import uuid
from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
import orjson

from beam_zerobus.variant.layout import (
    DECIMAL4,
    DECIMAL8,
    DECIMAL16,
    DOUBLE,
    FALSE,
    INT8,
    INT16,
    INT32,
    INT64,
    NULL,
    TRUE,
)

__all__ = ["PRIMITIVES"]

ToText: TypeAlias = Callable[[bytes], str | None]
"""Returns the JSON text of a value's bytes; None if they are out of range."""

_MAX_SCALE = 38
_NOT_NUMBERS = {math.inf: '"Infinity"', -math.inf: '"-Infinity"'}


def _integer(data: bytes) -> str:
    return str(int.from_bytes(data, "little", signed=True))


def _decimal(max_digits: int) -> ToText:
    def to_text(data: bytes) -> str | None:
        scale, unscaled = data[0], int.from_bytes(data[1:], "little", signed=True)
        if scale > _MAX_SCALE or abs(unscaled) >= 10**max_digits:
            return None
        digits = str(abs(unscaled)).rjust(scale + 1, "0")
        sign = "-" if unscaled < 0 else ""
        return f"{sign}{digits[:-scale]}.{digits[-scale:]}" if scale else sign + digits

    return to_text


def _double(data: bytes) -> str:
    (value,) = struct.unpack("<d", data)
    return orjson.dumps(value).decode() if math.isfinite(value) else _NOT_NUMBERS.get(value, '"NaN"')


def _float(data: bytes) -> str:
    value = np.frombuffer(data, "<f4")[0]
    return str(value) if np.isfinite(value) else _NOT_NUMBERS.get(float(value), '"NaN"')


def _moment(unit: str, zone: str = "") -> ToText:
    def to_text(data: bytes) -> str | None:
        moment = np.array(int.from_bytes(data, "little", signed=True), np.int64).view(f"M8[{unit}]")[()]
        return None if np.isnat(moment) else f'"{moment}{zone}"'

    return to_text


def _time_of_day(data: bytes) -> str | None:
    microseconds = int.from_bytes(data, "little", signed=True)
    if not 0 <= microseconds < 86_400_000_000:
        return None
    return f'"{str(np.datetime64(microseconds, "us"))[11:]}"'


def _binary(data: bytes) -> str:
    return f'"{base64.b64encode(data).decode()}"'


# The numbers below have no name elsewhere: JSON text never becomes such a value.
PRIMITIVES: Final[dict[int, tuple[int | None, ToText]]] = {
    NULL: (0, lambda _: "null"),
    TRUE: (0, lambda _: "true"),
    FALSE: (0, lambda _: "false"),
    INT8: (1, _integer),
    INT16: (2, _integer),
    INT32: (4, _integer),
    INT64: (8, _integer),
    DOUBLE: (8, _double),
    DECIMAL4: (5, _decimal(9)),
    DECIMAL8: (9, _decimal(18)),
    DECIMAL16: (17, _decimal(38)),
    11 << 2: (4, _moment("D")),
    12 << 2: (8, _moment("us", "Z")),
    13 << 2: (8, _moment("us")),
    14 << 2: (4, _float),
    15 << 2: (None, _binary),
    17 << 2: (8, _time_of_day),
    18 << 2: (8, _moment("ns", "Z")),
    19 << 2: (8, _moment("ns")),
    20 << 2: (16, lambda data: f'"{uuid.UUID(bytes=data)}"'),
}
"""For the first byte of a value the bytes that follow, and their text; None: the first four bytes are their number."""
