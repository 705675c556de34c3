"""What the values of a row are to a dead letter: rows and maps, lists, text that is not UTF-8, and all others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
import pyarrow as pa
from apache_beam.pvalue import Row
from apache_beam.utils.timestamp import Timestamp

from beam_zerobus.sink.dead_letters.arrow_values import row_of

__all__ = ["OtherValue", "RawText", "as_python", "fields_of", "items_of", "key_name"]

_MISSING = ("NaTType", "NAType")


class RawText(bytes):
    """Text that is not UTF-8, as in the file; people read it with escapes."""

    def __str__(self) -> str:
        return self.decode(errors="backslashreplace")


class OtherValue:
    """Stands for a value of a type that no column accepts, so that it is rejected again unless it is corrected."""

    __slots__ = ("kind", "text")

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        self.text = text

    def __str__(self) -> str:
        return self.text


def as_python(value: Any) -> Any:
    """Return a value of Python's own types, where the sink treats both alike."""
    if isinstance(value, Enum):
        value = value.value
    if type(value).__name__ in _MISSING:
        return None
    if isinstance(value, str):  # also numpy's
        return str(value)
    if isinstance(value, bytearray | memoryview | np.bytes_):
        return bytes(value)
    if isinstance(micros := getattr(value, "micros", None), int):  # the sink takes any object that has them
        return Timestamp(micros=micros)
    return int(value) if isinstance(value, int) and type(value) not in (int, bool) else value


def fields_of(value: Any) -> dict[Any, Any] | None:
    """Return the fields of a row, struct or map; None for any other value."""
    if isinstance(value, pa.RecordBatch | pa.Table):
        return row_of(value)
    if isinstance(value, Row):
        return vars(value)  # not as_dict(), as a field may have this name
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return dict(value) if isinstance(value, Mapping) else None


def items_of(value: Any) -> list[Any] | None:
    """Return the values of a list, tuple or array; None for any other value."""
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim):
        return list(value)
    return None


def key_name(key: Any) -> str:
    """Return the key of a map as text.

    >>> key_name(5)
    '5'
    """
    return str(as_python(key))
