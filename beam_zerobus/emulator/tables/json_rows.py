"""Rows as JSON, in the form in which JSON streams and REST take them."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import math
from typing import Any

import pyarrow as pa

from beam_zerobus.schema import Array, DeltaType, Map, Struct, TableSchema
from beam_zerobus.schema.float_names import float_name

__all__ = ["to_json_rows"]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def to_json_rows(rows: pa.Table, schema: TableSchema) -> list[dict[str, Any]]:
    """Return rows as JSON objects: days, microseconds, text of decimals, Base64 of binary values.

    Example:
        >>> to_json_rows(pa.table({"d": [dt.date(1970, 1, 3)]}), TableSchema.from_ddl("d DATE"))
        [{'d': 2}]
    """
    columns = [(column.name, column.type) for column in schema.columns]
    return [{name: _value(row[name], kind) for name, kind in columns} for row in rows.to_pylist()]


def _value(value: Any, kind: DeltaType) -> Any:
    if value is None:
        return None
    match kind:
        case Array(element, _):
            return [_value(one, element) for one in value]
        case Map(key, inner, _):
            return {_key(_value(name, key)): _value(one, inner) for name, one in value}
        case Struct(fields):
            return {field.name: _value(value[field.name], field.type) for field in fields}
        case _:
            return _scalar(value)


def _scalar(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return float_name(value)
        case dt.datetime():
            return (value.replace(tzinfo=dt.UTC) - _EPOCH) // dt.timedelta(microseconds=1)
        case dt.date():
            return (value - _EPOCH.date()).days
        case decimal.Decimal():
            return format(value, "f")
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            return value


def _key(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
