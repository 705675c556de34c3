"""Unity Catalog's columns: their `type_json` read into fields, and fields written as such columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from beam_zerobus.errors import ConfigurationError, ConversionError
from beam_zerobus.schema.ddl import parse_type
from beam_zerobus.schema.types import MAX_NESTING, Array, Decimal, DeltaType, Field, Map, Primitive, Struct

if TYPE_CHECKING:
    from beam_zerobus.schema.table import TableSchema

__all__ = ["fields_from_columns", "to_columns"]

_SPARK_NAMES = {
    Primitive.TINYINT: "byte",
    Primitive.SMALLINT: "short",
    Primitive.INT: "integer",
    Primitive.BIGINT: "long",
}


def fields_from_columns(columns: object) -> tuple[Field, ...]:
    """Read the `columns` of a table as Unity Catalog describes it.

    The protobuf field number is `position` + 1: Zerobus counts so, and keeps the gaps that dropped columns leave.

    Args:
        columns: The list under ``columns`` in the answer of ``GET /api/2.1/unity-catalog/tables/...``.

    Returns:
        The columns in the order of their positions.

    Raises:
        ConversionError: The list is not of that form, or a column has a type that Zerobus cannot write.

    Example:
        >>> fields_from_columns([{"name": "id", "type_json": '"long"', "position": 0}])[0].to_ddl()
        'id BIGINT'
    """
    if not isinstance(columns, list) or not all(isinstance(column, Mapping) for column in columns):
        raise ConversionError("Unity Catalog's answer holds no list of columns; pass schema= yourself")
    return tuple(sorted((_column(column, index) for index, column in enumerate(columns)), key=lambda f: f.number))


def _column(column: Mapping[str, Any], index: int) -> Field:
    name = column.get("name")
    if not isinstance(name, str):
        raise ConversionError(f"column {index} of Unity Catalog's answer has no name; pass schema= yourself")
    position = column.get("position", index)
    if not isinstance(position, int) or isinstance(position, bool):
        raise _malformed(name, "its position is not a number")
    node = _type_node(column, name)
    nullable = column.get("nullable")
    if nullable is None:
        nullable = _nullable(node)
    return Field(
        name=name,
        type=_type(node, name, 0),
        nullable=bool(nullable),
        number=position + 1,
        comment=column.get("comment") or None,
    )


def _type_node(column: Mapping[str, Any], name: str) -> object:
    type_json = column.get("type_json")
    if not type_json:
        return column.get("type_text")
    try:
        return json.loads(type_json)
    except (ValueError, TypeError, RecursionError):
        raise _malformed(name, "its type_json is not JSON of a sensible depth") from None


def _nullable(node: object) -> bool:
    return not isinstance(node, Mapping) or node.get("nullable") is not False


def _type(node: object, path: str, depth: int) -> DeltaType:
    # One level more than a type may nest: the wrapper {"name": ..., "type": ...} around the whole.
    if depth > MAX_NESTING + 1:
        raise ConversionError(f"column {path!r}: types nest deeper than {MAX_NESTING} levels; flatten the column")
    if isinstance(node, str):
        try:
            return parse_type(node)
        except ConfigurationError as error:
            raise ConversionError(f"column {path!r}: {error}") from None
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
                nullable=_nullable(node),
                number=number,
                comment=metadata.get("comment") if isinstance(metadata, Mapping) else None,
            )
        )
    return tuple(fields)


def _malformed(path: str, reason: str) -> ConversionError:
    return ConversionError(f"column {path!r} of Unity Catalog's answer: {reason}; pass schema= yourself")


def to_columns(schema: TableSchema) -> list[dict[str, Any]]:
    """Describe the columns as Unity Catalog's table endpoint does.

    Returns:
        For each column name, type_text, type_json, type_name, position, nullable and, where there is one, comment.

    Example:
        >>> from beam_zerobus.schema import TableSchema
        >>> columns = to_columns(TableSchema.from_ddl("id BIGINT NOT NULL"))
        >>> columns[0]["type_name"], columns[0]["type_text"], columns[0]["nullable"]
        ('LONG', 'bigint', False)
    """
    return [
        {
            "name": column.name,
            "type_text": _type_text(column.type),
            "type_json": json.dumps(_field_node(column), separators=(",", ":")),
            "type_name": _type_name(column.type),
            "position": column.number - 1,
            "nullable": column.nullable,
            **({} if column.comment is None else {"comment": column.comment}),
        }
        for column in schema.columns
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
