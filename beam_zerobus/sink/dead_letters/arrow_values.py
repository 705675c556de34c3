"""The rows of a RecordBatch or Table, one by one: as Python values, and as text that holds each exactly."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pyarrow as pa

from beam_zerobus.schema.arrow_values import python_value

__all__ = ["each_to_base64", "from_base64", "row_of", "to_base64", "values_of"]

_EPOCH = dt.datetime(1970, 1, 1)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_NANOS = 10**9
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def to_base64(rows: pa.RecordBatch | pa.Table) -> str:
    """Return an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write(rows)
    return base64.b64encode(sink.getvalue()).decode()


def each_to_base64(rows: pa.RecordBatch) -> Iterator[str]:
    """Yield what `to_base64` returns for each row, for types without dictionaries, several times as fast."""
    schema = rows.schema.serialize().to_pybytes()
    for index in range(rows.num_rows):
        stream = schema + rows.slice(index, 1).serialize().to_pybytes() + _END_OF_STREAM
        yield base64.b64encode(stream).decode()


def from_base64(text: str) -> pa.RecordBatch:
    """Return the row of an Arrow IPC stream."""
    with pa.ipc.open_stream(base64.b64decode(text)) as reader:
        (batch,) = reader
    return batch


def row_of(rows: pa.RecordBatch | pa.Table) -> dict[str, Any]:
    """Return the first row as Python values.

    Times that Python's types cannot hold become microseconds since 1970, dates days, and nanoseconds text; the sink
    takes all of them. Text that is not UTF-8 becomes bytes.

    >>> row_of(pa.table({"id": [1], "at": pa.array([253402300800], pa.timestamp("s"))}))
    {'id': 1, 'at': 253402300800000000}
    """
    return dict(zip(rows.schema.names, (values_of(column)[0] for column in rows.slice(0, 1).columns), strict=True))


def values_of(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return the values of a column as Python values, as `row_of` returns them."""
    with suppress(ValueError, OverflowError):
        if _is_plain(column.type):
            return column.to_pylist()
        if pa.types.is_timestamp(column.type) and column.type.unit != "ns":
            return _timestamps(column)
    return [python_value(scalar, _leaf, _map) for scalar in column]


def _timestamps(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return timestamps; raises an error of Python or Arrow where one is outside of Python's years."""
    naive = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64()).cast(pa.timestamp("us")).to_pylist()
    if column.type.tz is None:
        return naive
    return [None if moment is None else moment.replace(tzinfo=dt.UTC) for moment in naive]


def _is_plain(kind: pa.DataType) -> bool:
    """Return whether Python has all values of a type, but text that is not UTF-8."""
    types = pa.types
    return (
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_boolean(kind)
        or types.is_decimal(kind)
        or types.is_date32(kind)
        or kind in (pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
    )


def _leaf(scalar: pa.Scalar) -> Any:
    if isinstance(scalar, pa.TimestampScalar):
        return _timestamp(scalar.value, scalar.type)
    if isinstance(scalar, pa.Date32Scalar):
        return _date(scalar.value)
    if isinstance(scalar, pa.Date64Scalar):
        days, rest = divmod(scalar.value, 86_400_000)
        return _timestamp(scalar.value, pa.timestamp("ms")) if rest else _date(days)
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes()
    except (ValueError, OverflowError):  # such as a duration of more than Python's 2.7 million years
        return str(scalar.value)


def _map(pairs: list[tuple[Any, Any]]) -> Any:
    """Return a dict, or the pairs if it cannot hold them: keys are structs or lists, or appear twice."""
    try:
        fields = dict(pairs)
    except TypeError:
        return pairs
    return fields if len(fields) == len(pairs) else pairs


def _timestamp(value: int, kind: pa.TimestampType) -> Any:
    micros, nanos = divmod(value * (_NANOS // _PER_SECOND[kind.unit]), 1_000)
    try:
        moment = _EPOCH + dt.timedelta(microseconds=micros)
    except OverflowError:
        return micros
    if nanos:
        return f"{moment.isoformat(timespec='microseconds')}{nanos:03}{'Z' if kind.tz else ''}"
    return moment.replace(tzinfo=dt.UTC) if kind.tz else moment


def _date(days: int) -> Any:
    try:
        return dt.date.fromordinal(days + 719_163)
    except (ValueError, OverflowError):
        return days
