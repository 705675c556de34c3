"""Avro rows: the writer's schema checked against the table, and records read one by one.

Only what a column can hold is decoded. So a schema that refers to itself, or items that need no bytes, of which a few
bytes could stand for any number, are rejected before anything is read.
"""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Mapping, Sequence
from decimal import Context
from decimal import Decimal as Number
from typing import Any

import orjson
import pyarrow as pa

from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.rows.json import JsonReader
from beam_zerobus.schema import Array, Decimal, DeltaType, Field, Map, Primitive, Struct, TableSchema

__all__ = ["AvroReader"]

_TYPES: dict[DeltaType, tuple[str, ...]] = {
    Primitive.TINYINT: ("int",),
    Primitive.SMALLINT: ("int",),
    Primitive.INT: ("int",),
    Primitive.BIGINT: ("int", "long"),
    Primitive.FLOAT: ("float",),
    Primitive.DOUBLE: ("float", "double"),
    Primitive.BOOLEAN: ("boolean",),
    Primitive.STRING: ("string", "enum"),
    Primitive.BINARY: ("bytes", "fixed"),
    Primitive.DATE: ("int",),
    Primitive.TIMESTAMP: ("long",),
    Primitive.TIMESTAMP_NTZ: ("long",),
    Primitive.VARIANT: ("string",),
}
_MAX_DIGITS = 38
_DECIMAL = "zerobus-decimal"
_CONTEXT = Context(prec=_MAX_DIGITS)
_UNITS = {"timestamp-millis", "local-timestamp-millis", "timestamp-nanos", "local-timestamp-nanos"}


class AvroReader:
    """Reads the calls of one stream.

    Args:
        schema: The table's columns.
        text: The writer's schema, as JSON.

    Raises:
        Rejection: It is not the schema of a record, or does not fit the table; names the column.
    """

    def __init__(self, schema: TableSchema, text: str) -> None:
        # Imported for Avro only; Beam needs it too, so it is installed.
        import fastavro  # noqa: PLC0415
        from fastavro.read import LOGICAL_READERS  # noqa: PLC0415
        from fastavro.schema import SchemaParseException, UnknownType  # noqa: PLC0415

        try:
            parsed: Any = fastavro.parse_schema(orjson.loads(text))
            if not isinstance(parsed, dict) or parsed.get("type") != "record":
                raise _unfit("avro_schema_json must be the schema of a record")
            self._schema = _Matcher(_named(parsed)).record(parsed, schema.columns, "")
            self._parsed: Any = fastavro.parse_schema(self._schema)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, SchemaParseException, UnknownType):
            raise _unfit("avro_schema_json is not an Avro schema") from None
        for kind in ("bytes", "fixed"):
            LOGICAL_READERS[f"{kind}-{_DECIMAL}"] = _decimal
        self._decode = fastavro.schemaless_reader
        self._rows = JsonReader(schema)

    def read(self, records: Sequence[bytes]) -> pa.RecordBatch:
        """Return the rows of a call.

        Raises:
            Rejection: A record is not what the schema says, or has a value that does not fit its column.
        """
        return self._rows.read_rows([self._row(record, index) for index, record in enumerate(records)])

    def _row(self, record: bytes, index: int) -> Any:
        source = io.BytesIO(record)
        try:
            row = self._decode(source, self._parsed, None)
            if source.tell() != len(record):
                raise ValueError("bytes are left")
        except (ValueError, EOFError, IndexError, TypeError, MemoryError, ArithmeticError, struct.error):
            raise Rejection.invalid(f"record {index} is not Avro of the stream's schema") from None
        return _plain(row)


def _plain(value: Any) -> Any:
    """Return a value as JSON rows have it."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case Number():
            return format(value, "f")
        case list():
            return [_plain(one) for one in value]
        case dict():
            return {name: _plain(one) for name, one in value.items()}
        case _:
            return value


def _named(schema: Any) -> dict[str, Any]:
    """Return the named types of a schema."""
    found: dict[str, Any] = {}
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            if "name" in one and one.get("type") in ("record", "enum", "fixed"):
                found[one["name"]] = one
            waiting += [one[key] for key in ("type", "items", "values") if isinstance(one.get(key), dict | list)]
            waiting += [field["type"] for field in one.get("fields", ())]
    return found


class _Matcher:
    """Matches a schema with the table's columns; returns it with only those logical types that are decoded here.

    Args:
        named: The named types of the schema.
    """

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._count = 0

    def record(self, schema: Any, columns: Sequence[Field], path: str) -> dict[str, Any]:
        known = {column.name: column for column in columns}
        fields = []
        for field in schema["fields"]:
            name = f"{path}{field['name']}"
            if field["name"] not in known:
                raise _unfit(f"column '{name}' is not in the table")
            column = known.pop(field["name"])
            fields.append({"name": field["name"], "type": self.type(field["type"], column.type, name)})
        for column in known.values():
            if not column.nullable:
                raise _unfit(f"column '{path}{column.name}' is NOT NULL and is missing from the schema")
        if not fields:
            raise _unfit(f"the record {path.rstrip('.') or 'of the rows'} has no fields")
        return {"type": "record", "name": self._name(), "fields": fields}

    def type(self, schema: Any, kind: DeltaType, path: str) -> Any:
        """Return the type of a column's values, perhaps in a union with null."""
        if isinstance(schema, list):
            others = [one for one in schema if one != "null"]
            if len(others) != 1 or len(schema) > 2:
                raise _unfit(f"column '{path}' is a union of other than null and one type")
            return [one if one == "null" else self.value(one, kind, path) for one in schema]
        return self.value(schema, kind, path)

    def value(self, schema: Any, kind: DeltaType, path: str) -> Any:
        if isinstance(schema, str):
            schema = self._named.get(schema, {"type": schema})
        name, logical = schema.get("type"), schema.get("logicalType")
        if isinstance(name, dict | list):
            return self.type(name, kind, path)
        nested = self.nested(schema, kind, path)
        if nested is not None:
            return nested
        if name not in _TYPES.get(kind, ()) or (name == "fixed" and not schema["size"]):
            raise _unfit(f"column '{path}' is {kind} and has Avro's type {name}")
        if logical in _UNITS:
            raise _unfit(f"column '{path}' is {kind} and has the logical type {logical}; send microseconds")
        if name in ("enum", "fixed"):
            return {key: schema[key] for key in ("type", "symbols", "size") if key in schema} | {"name": self._name()}
        return name

    def nested(self, schema: Any, kind: DeltaType, path: str) -> Any:
        """Return what is not one of `_TYPES`; None if the type does not fit."""
        name = schema.get("type")
        match kind:
            case Array(element, _) if name == "array":
                return {"type": name, "items": self.type(schema["items"], element, f"{path}.element")}
            case Map(_, value, _) if name == "map":
                return {"type": name, "values": self.type(schema["values"], value, f"{path}.value")}
            case Struct(fields) if name == "record":
                return self.record(schema, fields, f"{path}.")
            case Decimal() if name == "string":
                return name
            case Decimal() if name in ("bytes", "fixed") and schema.get("logicalType") == "decimal":
                _check_digits(schema, path)
                kept = {key: schema[key] for key in ("type", "size", "precision", "scale") if key in schema}
                return kept | {"logicalType": _DECIMAL} | ({"name": self._name()} if name == "fixed" else {})
        return None

    def _name(self) -> str:
        self._count += 1
        return f"t{self._count}"


def _decimal(data: bytes, schema: Any, _: object = None) -> Number:
    """Return a decimal from its bytes; fastavro's own rounds what has more digits than the precision."""
    number = int.from_bytes(data, signed=True)
    if abs(number) >= 10 ** schema["precision"]:
        raise ValueError("more digits than the precision")
    return Number(number).scaleb(-schema.get("scale", 0), _CONTEXT)


def _check_digits(schema: Mapping[str, Any], path: str) -> None:
    """Reject a decimal of more digits than a column has."""
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if not (type(precision) is type(scale) is int and 0 <= scale <= precision and 0 < precision <= _MAX_DIGITS):
        raise _unfit(f"column '{path}' has a decimal whose precision is not from 1 to {_MAX_DIGITS}")


def _unfit(message: str) -> Rejection:
    return Rejection.invalid(message, number=8001)
