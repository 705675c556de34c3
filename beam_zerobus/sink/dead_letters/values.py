"""What the values of a row are to a dead letter: rows and maps, lists, and all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, cast

import numpy as np
import pyarrow as pa
from apache_beam.pvalue import Row
from apache_beam.utils.timestamp import Timestamp

from beam_zerobus.schema.dataclass_fields import dataclass_fields
from beam_zerobus.schema.missing import MISSING_TYPES
from beam_zerobus.sink.dead_letters.arrow_values import row_of, values_of

__all__ = [
    "OtherValue",
    "as_python",
    "fields_of",
    "items_of",
    "key_name",
    "member",
    "other_value",
]


class OtherValue:
    """Stands for a value of a type that no column accepts, so that it is rejected again unless it is corrected.

    Its class has the name of that type, which is what messages call it.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def __reduce__(self) -> tuple[Callable[[str, str], OtherValue], tuple[str, str]]:
        return other_value, (type(self).__name__, self.text)


def other_value(kind: str, text: str) -> OtherValue:
    """Return what stands for a value of the type `kind`, which is `text` for people.

    >>> type(other_value("set", "{1}")).__name__
    'set'
    """
    return _class_of_others(kind)(text)


@lru_cache(maxsize=256)
def _class_of_others(kind: str) -> type[OtherValue]:
    return type(kind, (OtherValue,), {"__slots__": ()})


class Member(Enum):
    """Stands for a member of an Enum that is the key of a map beside an equal key."""

    def __reduce_ex__(self, _: object) -> tuple[Callable[[str, str, Any], Member], tuple[str, str, Any]]:
        return member, (type(self).__name__, self.name, self.value)


def member(kind: str, name: str, value: Any) -> Member:
    """Return what stands for a member of the Enum `kind`.

    >>> str(member("Colour", "RED", "red"))
    'Colour.RED'
    """
    make: Any = Member
    (only,) = make(kind, {name: value})
    return cast(Member, only)


def as_python(value: Any) -> Any:
    """Return a value of Python's own types, where the sink treats both alike."""
    if isinstance(value, Enum):
        value = value.value
    if type(value).__name__ in MISSING_TYPES and not isinstance(value, OtherValue):
        return None
    if isinstance(value, str):  # also numpy's
        return str(value)
    if isinstance(value, bytearray | memoryview | np.bytes_):
        return bytes(value)
    if isinstance(micros := getattr(value, "micros", None), int):  # the sink takes any object that has them
        return Timestamp(micros=micros)
    return int(value) if isinstance(value, int) and type(value) not in (int, bool) else value


def fields_of(value: Any) -> dict[Any, Any] | None:
    """Return the fields of a row, struct or map; None for any other value, and for a row with a name twice."""
    if isinstance(value, pa.RecordBatch | pa.Table):
        names = value.schema.names
        return row_of(value) if len(set(names)) == len(names) else None
    if isinstance(value, Row):
        return vars(value)  # not as_dict(), as a field may have this name
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    return dict(value) if isinstance(value, Mapping) else dataclass_fields(value)


def items_of(value: Any) -> list[Any] | None:
    """Return the values of a list, tuple or array, and of a row of Arrow its pairs; None for any other value."""
    if isinstance(value, pa.RecordBatch | pa.Table):
        return [[name, values_of(column)[0]] for name, column in zip(value.schema.names, value.columns, strict=True)]
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim):
        return list(value)
    return None


def key_name(key: Any) -> str:
    """Return the key of a map as text.

    >>> key_name(5)
    '5'
    """
    return str(as_python(key))
