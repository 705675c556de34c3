"""The bytes of a Variant: headers, widths of integers, metadata."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import pyarrow as pa

__all__ = [
    "ARRAY",
    "DECIMAL4",
    "DECIMAL8",
    "DECIMAL16",
    "DOUBLE",
    "FALSE",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "LONG_STRING",
    "MAX_DEPTH",
    "MAX_SHORT",
    "MAX_SMALL_SIZE",
    "NULL",
    "OBJECT",
    "SHORT_STRING",
    "SORTED_KEYS",
    "TRUE",
    "VARIANT_TYPE",
    "VERSION",
    "array_head",
    "metadata_of",
    "numbers_of",
    "object_head",
    "width_of",
]

VARIANT_TYPE: Final = pa.struct(
    [
        pa.field("metadata", pa.large_binary(), nullable=False),
        pa.field("value", pa.large_binary(), nullable=False),
    ]
)
"""The Arrow type of a VARIANT column in an Arrow Flight stream."""

MAX_DEPTH: Final = 128
"""Arrays and objects inside each other. Variant itself has no limit; JSON parsers have one, often this."""

MAX_SHORT: Final = 63
"""The most bytes of a string whose length is in its header."""

MAX_SMALL_SIZE: Final = 255
"""The most elements of an array or object whose count has one byte."""

# The two low bits of a value's first byte are its basic type; for a primitive, the others are its type.
SHORT_STRING: Final = 1
OBJECT: Final = 2
ARRAY: Final = 3

# Whole first bytes of primitives.
NULL: Final = 0 << 2
TRUE: Final = 1 << 2
FALSE: Final = 2 << 2
INT8: Final = 3 << 2
INT16: Final = 4 << 2
INT32: Final = 5 << 2
INT64: Final = 6 << 2
DOUBLE: Final = 7 << 2
DECIMAL4: Final = 8 << 2
DECIMAL8: Final = 9 << 2
DECIMAL16: Final = 10 << 2
LONG_STRING: Final = 16 << 2

# The first byte of metadata.
VERSION: Final = 1
SORTED_KEYS: Final = 1 << 4


def width_of(largest: int) -> int:
    """Return the bytes that offsets or field ids need, from 1 to 4.

    Example:
        >>> width_of(255), width_of(256)
        (1, 2)
    """
    return (largest.bit_length() + 7) // 8 or 1


def numbers_of(numbers: Sequence[int], width: int) -> bytes:
    """Return numbers side by side, each in as many bytes.

    Example:
        >>> numbers_of([1, 2], 2).hex(" ")
        '01 00 02 00'
    """
    return bytes(numbers) if width == 1 else b"".join([number.to_bytes(width, "little") for number in numbers])


def object_head(count: int, id_width: int, offset_width: int) -> bytes:
    """Return the first byte of an object and its number of fields."""
    large = count > MAX_SMALL_SIZE
    header = OBJECT | (offset_width - 1) << 2 | (id_width - 1) << 4 | large << 6
    return bytes([header]) + count.to_bytes(4, "little") if large else bytes([header, count])


def array_head(count: int, offset_width: int) -> bytes:
    """Return the first byte of an array and its number of elements."""
    large = count > MAX_SMALL_SIZE
    header = ARRAY | (offset_width - 1) << 2 | large << 4
    return bytes([header]) + count.to_bytes(4, "little") if large else bytes([header, count])


def metadata_of(keys: Sequence[str]) -> bytes:
    """Return the metadata of a row: the dictionary of its keys.

    Args:
        keys: Sorted and unique; the position of a key is its field id.

    Example:
        >>> metadata_of(["a", "bc"]).hex(" ")
        '11 02 00 01 03 61 62 63'
    """
    encoded = [key.encode() for key in keys]
    ends = list(accumulate(map(len, encoded), initial=0))
    width = width_of(max(ends[-1], len(keys)))
    header = VERSION | SORTED_KEYS | (width - 1) << 6
    return b"".join([bytes([header]), numbers_of([len(keys), *ends], width), *encoded])
