"""The rescue column: what the other columns of a table cannot hold, as one JSON object a row."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import json
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
import pyarrow as pa

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema.arrow import canonical_type
from beam_zerobus.schema.dataclass_fields import dataclass_fields
from beam_zerobus.schema.float_names import float_name
from beam_zerobus.schema.missing import MISSING_TYPES
from beam_zerobus.schema.table import TableSchema
from beam_zerobus.schema.types import Field, Primitive
from beam_zerobus.schema.unique_keys import unique_keys
from beam_zerobus.variant import encode_json

__all__ = ["UNWRITABLE", "RescueColumn", "Verbatim", "read_rescued", "write_json"]

UNWRITABLE = (TypeError, ValueError, ArithmeticError, RecursionError)
"""What `write_json` raises for a value that has no JSON."""

_MARK = {b"beam_zerobus.rescued": b"1"}
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


class Verbatim:
    """JSON text that is written as it is.

    Attributes:
        text: The text.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


_DECODER = json.JSONDecoder(parse_float=Verbatim, parse_int=Verbatim, object_pairs_hook=unique_keys)


@dataclasses.dataclass(frozen=True, slots=True)
class RescueColumn:
    """The rescue column of a table.

    A batch that this column was added to is marked in the column's metadata, so that its texts are kept if the batch is
    sent again; in any other batch a column of this name is one of the caller's own fields.

    Attributes:
        field: The column.
        position: Its position among the table's columns.
        others: The table's other columns.

    Example:
        >>> RescueColumn.of(TableSchema.from_ddl("id INT, rest STRING"), "rest").position
        1
    """

    field: Field
    position: int
    others: tuple[Field, ...]

    @classmethod
    def of(cls, schema: TableSchema, name: str) -> RescueColumn:
        """Find the rescue column of a table.

        Raises:
            ConfigurationError: The table has no such column, or it cannot hold JSON or null.
        """
        for position, field in enumerate(schema.columns):
            if field.name.lower() == name.lower():
                if field.type not in (Primitive.VARIANT, Primitive.STRING) or not field.nullable:
                    is_now = f"{field.type}{'' if field.nullable else ' NOT NULL'}"
                    raise ConfigurationError(
                        f"rescue_column={name!r} is {is_now} in the table: it must be VARIANT or STRING, and nullable"
                    )
                return cls(field, position, (*schema.columns[:position], *schema.columns[position + 1 :]))
        raise ConfigurationError(
            f'on_unknown_fields="rescue" needs the column {name!r} in the table: add it (ALTER TABLE ... ADD COLUMN '
            f"{name} VARIANT, or STRING), or name another with rescue_column=..."
        )

    def separate(self, batch: pa.RecordBatch) -> tuple[list[int], pa.Array | None]:
        """Return the positions of a batch's own columns, and what was rescued from its rows before, if anything."""
        for position, field in enumerate(batch.schema):
            if field.name.lower() == self.field.name.lower():
                others = [*range(position), *range(position + 1, batch.num_columns)]
                column = batch.column(position)
                if column.null_count == batch.num_rows:
                    return others, None
                if _is_marked(field):
                    return others, column
        return [*range(batch.num_columns)], None

    def join(self, columns: Sequence[pa.Array], rescued: pa.Array) -> pa.RecordBatch:
        """Return a batch of the table's other columns and this one."""
        names = [pa.field(f.name, c.type, f.nullable) for f, c in zip(self.others, columns, strict=True)]
        mine = pa.field(self.field.name, rescued.type, metadata=_MARK)
        at = self.position
        return pa.RecordBatch.from_arrays(
            [*columns[:at], rescued, *columns[at:]], schema=pa.schema([*names[:at], mine, *names[at:]])
        )

    def array(self, texts: Mapping[int, str], length: int) -> pa.Array:
        """Return the column of some rows' JSON objects; other rows are null.

        A VARIANT does not hold every JSON object, such as one with a number of 50 digits: there it is a string of JSON.
        """
        array = pa.array([texts.get(row) for row in range(length)] if texts else [None] * length, self._arrow_type)
        if self.field.type is Primitive.VARIANT and texts:
            _, problems = encode_json(array)
            if problems:
                return self.array({**texts} | {row: json.dumps(texts[row]) for row in problems}, length)
        return array

    @property
    def _arrow_type(self) -> pa.DataType:
        return canonical_type(self.field.type)


def read_rescued(text: str) -> dict[str, Any]:
    """Return the fields in a text of `RescueColumn.array`; numbers are `Verbatim`.

    Raises:
        ValueError: The text is not valid JSON, or has an object with the same key twice.
    """
    found = _DECODER.decode(text)
    return _DECODER.decode(found) if isinstance(found, str) else found


def _is_marked(field: pa.Field) -> bool:
    return field.metadata is not None and field.metadata.items() >= _MARK.items()


def write_json(value: Any) -> str:
    r"""Write a value as JSON that keeps each digit of numbers.

    Times are ISO 8601 text, bytes base64, and what is not finite is "NaN", "Infinity" or "-Infinity". A mapping whose
    keys are not all text becomes an array of pairs.

    Raises:
        TypeError, ValueError, ArithmeticError, RecursionError: The value has no JSON.

    Example:
        >>> write_json({"price": decimal.Decimal("1.50"), "day": dt.date(2024, 1, 2), "raw": b"\x00"})
        '{"price":1.50,"day":"2024-01-02","raw":"AA=="}'
    """
    return _HALF_A_PAIR.sub(lambda half: f"\\u{ord(half[0]):04x}", _written(value))


def _written(value: Any) -> str:  # noqa: PLR0911, PLR0912 - one for each kind of value
    if type(value) is str:  # first what is most frequent
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Verbatim):
        return value.text
    if isinstance(value, dict | list):
        return _nested(value)
    if isinstance(value, Enum):
        return _written(value.value)
    if value is None or type(value).__name__ in MISSING_TYPES:
        return "null"
    if isinstance(value, str):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, np.datetime64 | np.timedelta64):
        return "null" if np.isnat(value) else f'"{value}"'
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return _float(float(value))
    if isinstance(value, decimal.Decimal):
        return str(value) if value.is_finite() else _float(float(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return f'"{base64.b64encode(value).decode()}"'
    if isinstance(value, dt.date | dt.time):
        return f'"{value.isoformat()}"'
    if isinstance(value, dt.timedelta | uuid.UUID):
        return f'"{value}"'
    return _nested(value)


def _float(value: float) -> str:
    return repr(value) if math.isfinite(value) else f'"{float_name(value)}"'


def _moment(value: Any) -> str:
    try:
        return str(value.to_rfc3339())
    except OverflowError:  # beyond the years of Python's datetimes
        return str(pa.scalar(value.micros, pa.timestamp("us", "UTC")).cast(pa.string()))


def _nested(value: Any) -> str:
    if hasattr(value, "to_rfc3339"):  # Beam's Timestamp
        return f'"{_moment(value)}"'
    if hasattr(value, "_asdict"):  # NamedTuples, Beam's Rows
        value = value._asdict()
    elif (fields := dataclass_fields(value)) is not None:
        value = fields
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return "{" + ",".join(f"{_written(key)}:{_written(item)}" for key, item in value.items()) + "}"
        value = list(value.items())
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return "[" + ",".join(map(_written, value)) + "]"
    raise TypeError
