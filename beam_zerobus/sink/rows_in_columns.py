"""Rows that are dicts, as columns: made, pickled and written together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from apache_beam.utils.timestamp import Timestamp

from beam_zerobus.sink.raw_text import as_text

__all__ = ["Column", "FirstOf", "RowsInColumns", "is_raw_text", "python_values"]


@dataclass(frozen=True, slots=True, eq=False)
class FirstOf:
    """For each row the first value that is not null, of columns with different types.

    Attributes:
        columns: The columns, of one length.

    Example:
        >>> list(FirstOf((pa.array([1, None, None]), pa.array([None, "one", None]))))
        [1, 'one', None]
    """

    columns: tuple[pa.Array, ...]

    def __len__(self) -> int:
        return len(self.columns[0])

    def __iter__(self) -> Iterator[Any]:
        rows = zip(*map(python_values, self.columns), strict=True)
        return (next((value for value in values if value is not None), None) for values in rows)


Column: TypeAlias = "Sequence[Any] | pa.Array | FirstOf"
"""The values of a field. An Arrow array is pickled faster. A binary one is text, a large binary one bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class RowsInColumns:
    """Rows with the same fields, each of which would be a dict.

    Attributes:
        names: The names of the fields.
        columns: The values of each.

    Example:
        >>> list(RowsInColumns(["id", "name"], [[1, 2], pa.array(["a", None])]))
        [{'id': 1, 'name': 'a'}, {'id': 2, 'name': None}]
    """

    names: Sequence[str]
    columns: Sequence[Column]

    def __len__(self) -> int:
        return len(self.columns[0])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        columns = [python_values(column) if isinstance(column, pa.Array) else column for column in self.columns]
        return (dict(zip(self.names, values, strict=True)) for values in zip(*columns, strict=True))


def python_values(column: pa.Array) -> list[Any]:
    r"""Return the values of an Arrow array in a `Column`.

    >>> python_values(pa.array([b"a", b"\xe9", None], pa.binary()))
    ['a', b'\xe9', None]
    """
    values = _times(column) if pa.types.is_timestamp(column.type) else column.to_pylist()
    return [value if value is None else as_text(value) for value in values] if is_raw_text(column.type) else values


def _times(column: pa.Array) -> list[Any]:
    """Return timestamps; where one is outside of Python's years, as values that stand for microseconds in any unit."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        count = column.cast(pa.int64()).to_pylist()
    return [None if micros is None else _time(micros, column.type) for micros in count]


def _time(micros: int, kind: pa.TimestampType) -> Any:
    try:
        return pa.scalar(micros, kind).as_py()
    except (ValueError, OverflowError):
        return np.datetime64(micros, "us") if kind.tz is None else Timestamp(micros=micros)


def is_raw_text(kind: pa.DataType) -> bool:
    """Return whether an Arrow array in a `Column` is text that may not be UTF-8."""
    return bool(pa.types.is_binary(kind))
