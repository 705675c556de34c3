"""Rows of plain Arrow columns as JSON that keeps each value and its type: name, type and value of each field.

``[["id", "int32", 7], ["at", "timestamp[us, tz=UTC]", 1767225600000000]]``. It is written a column at a time. Rows with
any other column are Arrow IPC streams.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.sink.dead_letters.json_columns import (
    Pieces,
    array_as_json,
    between,
    is_text,
    is_valid_text,
    quoted,
)

__all__ = ["each_as_fields", "from_fields"]

_UNITS = ("s", "ms", "us", "ns")
_INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
_TIMES = (
    *(pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")),
    *map(pa.timestamp, _UNITS),
    *map(pa.duration, _UNITS),
)
_OTHERS = (pa.bool_(), pa.float32(), pa.float64(), pa.string(), pa.large_string(), pa.binary(), pa.large_binary())
_BY_NAME: dict[str, pa.DataType] = {str(kind): kind for kind in (*_INTEGERS, *_TIMES, *_OTHERS, pa.null())}
_WITH_ZONE = re.compile(r"timestamp\[(s|ms|us|ns), tz=(.+)\]", re.DOTALL)
_DECIMAL = re.compile(r"decimal128\((\d+), (-?\d+)\)")
_NOT_NULL = " not null"


def each_as_fields(rows: pa.RecordBatch, readable: Sequence[pa.Array]) -> Pieces | None:
    """Return the form of each row as JSON text; None where a column or a value has none.

    Args:
        rows: The rows.
        readable: Their columns as `array_as_json` returns them; the values of most types have no other form.

    Example:
        >>> from beam_zerobus.sink.dead_letters.json_columns import joined
        >>> rows = pa.record_batch({"id": [1, None], "on": pa.array([0, 1], pa.date32())})
        >>> joined(*each_as_fields(rows, list(map(array_as_json, rows.columns)))).to_pylist()
        ['[["id","int64",1],["on","date32[day]",0]]', '[["id","int64",null],["on","date32[day]",1]]']
    """
    if any(field.metadata or _kind(str(field.type)) is None for field in rows.schema):
        return None
    if not all(map(_has_form, rows.columns)):
        return None
    columns = [_exact(column, texts) for column, texts in zip(rows.columns, readable, strict=True)]
    heads = [
        f"{'],' if number else '['}[{quoted(field.name)},{quoted(_name(field))},"
        for number, field in enumerate(rows.schema)
    ]
    return between([*heads, "]]"], columns) if heads else None


def from_fields(fields: list[list[Any]]) -> pa.RecordBatch:
    """Return the row of a form.

    Raises:
        ValueError: A type has no form.
    """
    arrays, schema = [], []
    for name, type_name, value in fields:
        kind = _kind(type_name.removesuffix(_NOT_NULL))
        if kind is None:
            raise ValueError(f"{type_name!r} is not an Arrow type of a dead letter")
        arrays.append(pa.nulls(1, kind) if value is None else _array(value, kind))
        schema.append(pa.field(name, kind, nullable=not type_name.endswith(_NOT_NULL)))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(schema))


def _name(field: pa.Field) -> str:
    return str(field.type) + ("" if field.nullable else _NOT_NULL)


@cache
def _kind(name: str) -> pa.DataType | None:
    """Return the type of a name, if its values have a form."""
    if (with_zone := _WITH_ZONE.fullmatch(name)) is not None:
        return pa.timestamp(*with_zone.groups())
    if (of_decimals := _DECIMAL.fullmatch(name)) is not None:
        return pa.decimal128(*map(int, of_decimals.groups()))
    return _BY_NAME.get(name)


def _has_form(column: pa.Array) -> bool:
    if is_text(column.type):
        return is_valid_text(column)
    return not pa.types.is_floating(column.type) or bool(pc.all(pc.is_finite(column), min_count=0).as_py())


def _exact(column: pa.Array, readable: pa.Array) -> pa.Array:
    return array_as_json(column.view(_numbers(column.type))) if pa.types.is_temporal(column.type) else readable


def _array(value: Any, kind: pa.DataType) -> pa.Array:
    if pa.types.is_decimal(kind):
        return pa.array([value], pa.string()).cast(kind)
    if pa.types.is_temporal(kind):
        return pa.array([value], _numbers(kind)).view(kind)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        value = base64.b64decode(value, validate=True)
    return pa.array([float(value) if pa.types.is_floating(kind) else value], kind)


def _numbers(kind: pa.DataType) -> pa.DataType:
    return pa.int32() if kind.bit_width == 32 else pa.int64()
