"""From a table's schema to the `DescriptorProto` that tells the service how its rows are written.

Proto2 with explicit presence: NOT NULL is `required`, nullable `optional`, an array `repeated`. A struct is a
message nested inside the message that uses it, a map the usual nested entry message.
"""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from beam_zerobus.schema.table import TableSchema
from beam_zerobus.schema.types import Array, Decimal, DeltaType, Field, Map, Primitive, Struct
from beam_zerobus.schema.validation import check_protobuf

__all__ = ["message_descriptor", "scalar_type"]

_SCALAR_TYPES = {
    Primitive.TINYINT: FieldDescriptorProto.TYPE_INT32,
    Primitive.SMALLINT: FieldDescriptorProto.TYPE_INT32,
    Primitive.INT: FieldDescriptorProto.TYPE_INT32,
    Primitive.BIGINT: FieldDescriptorProto.TYPE_INT64,
    Primitive.FLOAT: FieldDescriptorProto.TYPE_FLOAT,
    Primitive.DOUBLE: FieldDescriptorProto.TYPE_DOUBLE,
    Primitive.BOOLEAN: FieldDescriptorProto.TYPE_BOOL,
    Primitive.STRING: FieldDescriptorProto.TYPE_STRING,
    Primitive.BINARY: FieldDescriptorProto.TYPE_BYTES,
    Primitive.DATE: FieldDescriptorProto.TYPE_INT32,
    Primitive.TIMESTAMP: FieldDescriptorProto.TYPE_INT64,
    Primitive.TIMESTAMP_NTZ: FieldDescriptorProto.TYPE_INT64,
    Primitive.VARIANT: FieldDescriptorProto.TYPE_STRING,
}


def message_descriptor(schema: TableSchema, name: str = "Row") -> DescriptorProto:
    """Describe the message that holds one row.

    Args:
        schema: The table's columns.
        name: The message's name; the service does not look at it.

    Raises:
        ConversionError: A column has no protobuf form, such as an array of arrays.

    Example:
        >>> from beam_zerobus.schema.types import Field, Primitive
        >>> schema = TableSchema((Field(name="id", type=Primitive.BIGINT, nullable=False, number=1),))
        >>> message_descriptor(schema).field[0].name
        'id'
    """
    check_protobuf(schema)
    message = DescriptorProto(name=name)
    _add_fields(message, schema.columns, scope=f".{name}")
    return message


def scalar_type(delta_type: Primitive | Decimal) -> int:
    """Return the protobuf type (`FieldDescriptorProto.Type`) of a type without children.

    Dates are days, timestamps microseconds since 1970; decimals and VARIANT are text.
    """
    if isinstance(delta_type, Decimal):
        return FieldDescriptorProto.TYPE_STRING
    return _SCALAR_TYPES[delta_type]


def _add_fields(message: DescriptorProto, fields: tuple[Field, ...], *, scope: str) -> None:
    taken = {field.name for field in fields}
    for field in fields:
        entry = message.field.add(name=field.name, number=field.number)
        entry.label = FieldDescriptorProto.LABEL_OPTIONAL if field.nullable else FieldDescriptorProto.LABEL_REQUIRED
        value_type = field.type
        if isinstance(value_type, Array):
            entry.label = FieldDescriptorProto.LABEL_REPEATED
            value_type = value_type.element
        if isinstance(value_type, Map):
            entry.label = FieldDescriptorProto.LABEL_REPEATED
            _add_map_entry(message, entry, value_type, scope=scope, taken=taken)
        else:
            _set_type(message, entry, value_type, scope=scope, taken=taken)


def _set_type(
    message: DescriptorProto, entry: FieldDescriptorProto, value_type: DeltaType, *, scope: str, taken: set[str]
) -> None:
    if isinstance(value_type, Struct):
        nested = message.nested_type.add(name=_unique(_camel_case(entry.name), taken))
        entry.type = FieldDescriptorProto.TYPE_MESSAGE
        entry.type_name = f"{scope}.{nested.name}"
        _add_fields(nested, value_type.fields, scope=entry.type_name)
    elif isinstance(value_type, Primitive | Decimal):
        entry.type = scalar_type(value_type)


def _add_map_entry(
    message: DescriptorProto, entry: FieldDescriptorProto, map_type: Map, *, scope: str, taken: set[str]
) -> None:
    pair = message.nested_type.add(name=_unique(_camel_case(entry.name) + "Entry", taken))
    pair.options.map_entry = True
    entry.type = FieldDescriptorProto.TYPE_MESSAGE
    entry.type_name = f"{scope}.{pair.name}"
    inside = {"key", "value"}
    for number, (name, part) in enumerate((("key", map_type.key), ("value", map_type.value)), start=1):
        member = pair.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
        _set_type(pair, member, part, scope=entry.type_name, taken=inside)


def _camel_case(name: str) -> str:
    """Return the name that protoc expects of a map entry: `air_quality` gives `AirQuality`.

    Only the letter after an underscore and the first one are raised; the others stay as they are.
    """
    return "".join(part[:1].upper() + part[1:] for part in name.split("_")) or "Field"


def _unique(name: str, taken: set[str]) -> str:
    """Fields and messages share one namespace: count up until the name is free, and take it."""
    unique, count = name, 1
    while unique in taken:
        count += 1
        unique = f"{name}{count}"
    taken.add(unique)
    return unique
