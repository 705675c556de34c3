"""JSON rows: one object a record, its members matched with the table's columns by name."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.rows.columns import (
    BadValueError,
    Column,
    Getter,
    ListNode,
    MapNode,
    Node,
    ScalarNode,
    Source,
    StructNode,
    Values,
)
from beam_zerobus.emulator.rows.json_text import parse_json
from beam_zerobus.emulator.rows.rescue import rescue
from beam_zerobus.emulator.rows.scalars import check_years, decimals, variants
from beam_zerobus.schema import Array, Decimal, DeltaType, Field, Map, Primitive, Struct, TableSchema
from beam_zerobus.schema.arrow import canonical_type

__all__ = ["JsonReader"]

_WHOLE = {Primitive.TINYINT, Primitive.SMALLINT, Primitive.INT, Primitive.BIGINT}
_DAYS_OR_MICROSECONDS = {Primitive.DATE, Primitive.TIMESTAMP, Primitive.TIMESTAMP_NTZ}
_FLOATS = {Primitive.FLOAT, Primitive.DOUBLE}
_TEXTS = {Primitive.STRING, Primitive.BINARY, Primitive.VARIANT}
_NOT_NUMBERS = {"NaN", "Infinity", "-Infinity"}


class JsonReader:
    """Reads the calls of one stream.

    Args:
        schema: The table's columns.
        rescue_column: The one that receives fields that are not in the table or do not fit their column; or None.
    """

    def __init__(self, schema: TableSchema, rescue_column: str | None = None) -> None:
        self._rescue_column = rescue_column
        self._schema = schema.to_canonical_arrow()
        self._names = {column.name for column in schema.columns}
        self._columns = [
            Column(column, Source(_getter(column.name), _node(column.type, column.name))) for column in schema.columns
        ]

    def read(self, records: Sequence[str]) -> pa.RecordBatch:
        """Return the rows of a call.

        Raises:
            Rejection: A record is not a JSON object, has a member that is not a column, or a value that does not fit.
        """
        return self.read_rows([_parse(record, index) for index, record in enumerate(records)])

    def read_rows(self, rows: Sequence[Any]) -> pa.RecordBatch:
        """Return rows that are parsed already.

        Raises:
            Rejection: As `read`.
        """
        for index, row in enumerate(rows):
            if type(row) is not dict:
                raise Rejection.invalid(f"record {index} is not a JSON object")
        if self._rescue_column is not None:
            rescue(rows, self._columns, self._rescue_column)
        unknown = set(chain.from_iterable(rows)) - self._names
        if unknown:
            name = min(unknown)
            record = next(index for index, row in enumerate(rows) if name in row)
            raise Rejection.invalid(f"column '{name}' is not in the table (record {record})", number=8001)
        return pa.RecordBatch.from_arrays([column.read(rows) for column in self._columns], schema=self._schema)


def _parse(record: str, index: int) -> Any:
    try:
        return parse_json(record)
    except ValueError:
        raise Rejection.invalid(f"record {index} is not JSON") from None


def _getter(name: str) -> Getter:
    return lambda rows: [row.get(name) for row in rows]


def _node(delta_type: DeltaType, path: str) -> Node:
    arrow_type = canonical_type(delta_type)
    match delta_type:
        case Array(element, _):
            return ListNode(path, arrow_type, _node(element, f"{path}.element"))
        case Map(key, value, _):
            keys = ScalarNode(f"{path}.key", str(key), _key_converter(key, f"{path}.key"))
            return MapNode(path, arrow_type, keys, _node(value, f"{path}.value"))
        case Struct(fields):
            sources = tuple(Source(_getter(field.name), _node(field.type, f"{path}.{field.name}")) for field in fields)
            return StructNode(path, arrow_type, sources, _object_check(path, fields))
        case _:
            return ScalarNode(path, str(delta_type), _converter(delta_type, path))


def _object_check(path: str, fields: tuple[Field, ...]) -> Callable[[Values], None]:
    names = {field.name for field in fields}

    def check(values: Values) -> None:
        if not all(type(value) is dict for value in values):
            raise BadValueError(path, "is a STRUCT and has a value that is not an object")
        unknown = set(chain.from_iterable(values)) - names
        if unknown:
            raise BadValueError(f"{path}.{min(unknown)}", "is not in the table", 8001)

    return check


def _only(kinds: tuple[type, ...], values: Values) -> None:
    # bool is an int in Python, not in JSON.
    if not all(value is None or type(value) in kinds for value in values):
        raise TypeError("a value of another JSON type")


def _converter(delta_type: Primitive | Decimal, path: str) -> Callable[[Values], pa.Array]:
    arrow_type = canonical_type(delta_type)

    def numbers(values: Values) -> pa.Array:
        if delta_type in _DAYS_OR_MICROSECONDS and any(isinstance(value, str) for value in values):
            unit, number = ("days", 4044) if delta_type is Primitive.DATE else ("microseconds", None)
            reason = f"is {delta_type} and was sent as a string; send {unit} since 1970-01-01"
            raise BadValueError(path, reason, number)
        _only((int,), values)
        return check_years(delta_type, pa.array(values, arrow_type), path)

    def floats(values: Values) -> pa.Array:
        _only((int, float, str), values)
        if any(type(value) is str and value not in _NOT_NUMBERS for value in values):
            raise TypeError("a string that is not a number")
        doubles = pa.array([value if value is None else float(value) for value in values], pa.float64())
        found = doubles.cast(arrow_type)
        if not pc.is_inf(found).equals(pc.is_inf(doubles)):
            raise OverflowError("a number beyond the range of the type")
        return found

    def binaries(values: Values) -> pa.Array:
        _only((str,), values)
        return pa.array(
            [value if value is None else base64.b64decode(value, validate=True) for value in values], arrow_type
        )

    def texts(values: Values) -> pa.Array:
        _only((str,), values)
        if isinstance(delta_type, Decimal):
            return decimals(values, arrow_type)
        return variants(values, path) if delta_type is Primitive.VARIANT else pa.array(values, arrow_type)

    def booleans(values: Values) -> pa.Array:
        _only((bool,), values)
        return pa.array(values, arrow_type)

    if delta_type in _WHOLE or delta_type in _DAYS_OR_MICROSECONDS:
        return numbers
    if delta_type in _FLOATS:
        return floats
    if delta_type is Primitive.BINARY:
        return binaries
    return booleans if delta_type is Primitive.BOOLEAN else texts


def _key_converter(delta_type: DeltaType, path: str) -> Callable[[Values], pa.Array]:
    """Return what reads the names of JSON members as keys of a map: the text of a value, strings without quotes."""
    if isinstance(delta_type, Array | Map | Struct):
        raise Rejection.invalid(f"column '{path}' is {delta_type}, which JSON cannot have as the key of a map")
    convert = _converter(delta_type, path)
    if isinstance(delta_type, Decimal) or delta_type in _TEXTS:
        return convert
    return lambda values: convert([key if key in _NOT_NUMBERS else orjson.loads(key) for key in values])
