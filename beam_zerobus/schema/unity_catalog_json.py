"""Unity Catalog's JSON of columns, read into fields and written from fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from beam_zerobus.errors import ConversionError
from beam_zerobus.logs import get_logger
from beam_zerobus.schema.ddl import DdlError, parse_type
from beam_zerobus.schema.types import MAX_NESTING, Array, Decimal, DeltaType, Field, Map, Primitive, Struct

__all__ = ["fields_from_json", "fields_to_json"]

_log = get_logger(__name__)

_SPARK_NAMES = {
    Primitive.TINYINT: "byte",
    Primitive.SMALLINT: "short",
    Primitive.INT: "integer",
    Primitive.BIGINT: "long",
}


class _UnsupportedTypeError(Exception):
    """Zerobus cannot write a column's type; the text says which part of it, and why."""


def fields_from_json(columns: object, table: str = "") -> tuple[Field, ...]:
    """Read the `columns` of a table from Unity Catalog's description.

    The protobuf field number is `position` + 1: Zerobus counts so, and keeps the gaps that dropped columns leave. A
    column with a negative position is not part of the table's rows and is left out.

    A nullable column of a type that Zerobus cannot write is left out with a warning, so that the other columns can be
    written. The warning appears once in a process for the same columns.

    Args:
        columns: The list under ``columns`` in the answer of ``GET /api/2.1/unity-catalog/tables/...``.
        table: The table's name, for messages.

    Returns:
        The columns in the order of their positions.

    Raises:
        ConversionError: The JSON has another form, or Zerobus cannot write a NOT NULL column, or any column, of the
            table.

    Example:
        >>> fields_from_json([{"name": "id", "type_json": '"long"', "position": 0}])[0].to_ddl()
        'id BIGINT'
    """
    if not isinstance(columns, list) or not all(isinstance(column, Mapping) for column in columns):
        raise ConversionError("Unity Catalog's answer has no list of columns; pass schema=... instead")
    fields, left_out = [], []
    for index, column in enumerate(columns):
        name, position = _name_and_position(column, index)
        if position < 0:
            continue
        try:
            fields.append(_field(column, name, position))
        except _UnsupportedTypeError as error:
            if not _is_nullable(column):
                raise ConversionError(
                    f"column {name!r} is NOT NULL and Zerobus cannot write its type: {error}; "
                    "drop NOT NULL, or write to another table"
                ) from None
            left_out.append(str(error))
    if left_out and not fields:
        raise ConversionError(f"Zerobus cannot write any column of the table: {'; '.join(left_out)}")
    if left_out:
        _warn_once(table, "; ".join(left_out))
    return tuple(sorted(fields, key=lambda field: field.number))


@lru_cache(maxsize=256)
def _warn_once(table: str, columns: str) -> None:
    """Warn of columns that are left out; a schema is read again whenever a stream is opened."""
    of_table = f"table {table}: " if table else ""
    _log.warning("%scolumns that Zerobus cannot write are left out, new rows get null there: %s", of_table, columns)


def _name_and_position(column: Mapping[str, Any], index: int) -> tuple[str, int]:
    name = column.get("name")
    if not isinstance(name, str):
        raise ConversionError(f"column {index} of Unity Catalog's answer has no name; pass schema=... instead")
    position = column.get("position")
    if position is None:
        return name, index
    if not isinstance(position, int) or isinstance(position, bool):
        raise _malformed(name, "its position is not a number")
    return name, position


def _field(column: Mapping[str, Any], name: str, position: int) -> Field:
    return Field(
        name=name,
        type=_type(_type_node(column, name), name, 0),
        nullable=_is_nullable(column),
        number=position + 1,
        comment=column.get("comment") or None,
    )


def _is_nullable(column: Mapping[str, Any]) -> bool:
    nullable = column.get("nullable")
    if nullable is None:
        return _allows_null(_type_node(column, str(column.get("name"))))
    return bool(nullable)


def _type_node(column: Mapping[str, Any], name: str) -> object:
    """Return the type: type_json where there is one, else the less exact type_text, else type_name."""
    type_json = column.get("type_json")
    if type_json and type_json != "{}":
        try:
            return json.loads(type_json)
        except (ValueError, TypeError, RecursionError):
            raise _malformed(name, "its type_json is not valid JSON, or nests too deep") from None
    if type_text := column.get("type_text"):
        return type_text
    type_name = column.get("type_name")
    if type_name in ("ARRAY", "MAP", "STRUCT"):
        raise _malformed(name, f"it is of type {type_name} and has neither type_json nor type_text")
    if type_name == "DECIMAL" and column.get("type_precision"):
        return f"DECIMAL({column['type_precision']},{column.get('type_scale') or 0})"
    return type_name


def _allows_null(node: object) -> bool:
    return not isinstance(node, Mapping) or node.get("nullable") is not False


def _type(node: object, path: str, depth: int) -> DeltaType:
    # One level more than a type may nest: the wrapper {"name": ..., "type": ...} around the whole.
    if depth > MAX_NESTING + 1:
        raise ConversionError(f"column {path!r}: types nest deeper than {MAX_NESTING} levels; flatten the column")
    if isinstance(node, str):
        try:
            return parse_type(node)
        except DdlError as error:
            raise _UnsupportedTypeError(f"{path!r} is {node.upper()} ({error.reason})") from None
    if not isinstance(node, Mapping):
        raise _malformed(path, "its type is neither a name nor an object")
    kind = node.get("type")
    if kind == "array":
        element = _type(node.get("elementType"), f"{path}.element", depth + 1)
        return Array(element, node.get("containsNull") is not False)
    if kind == "map":
        return Map(
            _type(node.get("keyType"), f"{path}.key", depth + 1),
            _type(node.get("valueType"), f"{path}.value", depth + 1),
            node.get("valueContainsNull") is not False,
        )
    if kind == "struct":
        return Struct(_struct_fields(node.get("fields"), path, depth + 1))
    return _type(kind, path, depth + 1)


def _struct_fields(nodes: object, path: str, depth: int) -> tuple[Field, ...]:
    if not isinstance(nodes, list):
        raise _malformed(path, "its struct has no list of fields")
    fields = []
    for number, node in enumerate(nodes, start=1):
        if not isinstance(node, Mapping) or not isinstance(node.get("name"), str):
            raise _malformed(path, f"field {number} of its struct has no name")
        metadata = node.get("metadata")
        fields.append(
            Field(
                name=node["name"],
                type=_type(node.get("type"), f"{path}.{node['name']}", depth),
                nullable=_allows_null(node),
                number=number,
                comment=metadata.get("comment") if isinstance(metadata, Mapping) else None,
            )
        )
    return tuple(fields)


def _malformed(path: str, reason: str) -> ConversionError:
    return ConversionError(f"column {path!r} of Unity Catalog's answer: {reason}; pass schema=... instead")


def fields_to_json(fields: tuple[Field, ...]) -> list[dict[str, Any]]:
    """Describe columns as Unity Catalog's table endpoint does.

    Returns:
        For each column name, type_text, type_json, type_name, position, nullable and, if there is one, comment.

    Example:
        >>> columns = fields_to_json((Field(name="id", type=Primitive.BIGINT, nullable=False, number=1),))
        >>> columns[0]["type_name"], columns[0]["type_text"], columns[0]["nullable"]
        ('LONG', 'bigint', False)
    """
    return [
        {
            "name": field.name,
            "type_text": _type_text(field.type),
            "type_json": json.dumps(_field_node(field), separators=(",", ":")),
            "type_name": _type_name(field.type),
            "position": field.number - 1,
            "nullable": field.nullable,
            **({} if field.comment is None else {"comment": field.comment}),
        }
        for field in fields
    ]


def _type_text(delta_type: DeltaType) -> str:
    match delta_type:
        case Array(element):
            return f"array<{_type_text(element)}>"
        case Map(key, value):
            return f"map<{_type_text(key)},{_type_text(value)}>"
        case Struct(fields):
            return "struct<" + ",".join(f"{field.name}:{_type_text(field.type)}" for field in fields) + ">"
        case _:
            return str(delta_type).lower()


def _type_name(delta_type: DeltaType) -> str:
    if isinstance(delta_type, Primitive):
        name = _SPARK_NAMES.get(delta_type, delta_type.value).upper()
        return "INT" if name == "INTEGER" else name
    return type(delta_type).__name__.upper()


def _field_node(field: Field) -> dict[str, Any]:
    return {
        "name": field.name,
        "type": _node(field.type),
        "nullable": field.nullable,
        "metadata": {} if field.comment is None else {"comment": field.comment},
    }


def _node(delta_type: DeltaType) -> str | dict[str, Any]:
    match delta_type:
        case Primitive():
            return _SPARK_NAMES.get(delta_type, delta_type.value.lower())
        case Decimal():
            return str(delta_type).lower()
        case Array(element, contains_null):
            return {"type": "array", "elementType": _node(element), "containsNull": contains_null}
        case Map(key, value, value_contains_null):
            return {
                "type": "map",
                "keyType": _node(key),
                "valueType": _node(value),
                "valueContainsNull": value_contains_null,
            }
        case Struct(fields):
            return {"type": "struct", "fields": [_field_node(field) for field in fields]}
