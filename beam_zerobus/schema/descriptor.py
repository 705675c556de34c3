"""The protobuf message of a table's rows: the one place that maps Delta types to protobuf types.

Proto2 with explicit presence: a NOT NULL column is `required`, a nullable one `optional`, an array or map `repeated`. A
struct is a message nested inside the message that uses it; a map is the usual nested entry message, with the message
of its values beside it, as protoc writes it.

Numbers, labels, types and names follow the official client (see `docs/types.md`), with two exceptions:

- `proto3_optional` is not set. It belongs to proto3, where it marks a synthetic oneof; in a proto2 file protoc and
  Python's protobuf reject it. In proto2 the label alone says that a field has presence.
- The name of a message inside a struct does not repeat the struct's name, because protobuf requires that the entry
  message of a map field `tags` is named `TagsEntry`, whichever message the field is in.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from beam_zerobus.schema.types import Array, Decimal, DeltaType, Field, Map, Primitive, Struct
from beam_zerobus.schema.validation import check_wire_types

__all__ = ["message_descriptor"]

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


def message_descriptor(columns: tuple[Field, ...], name: str = "Row") -> DescriptorProto:
    """Describe the message that holds one row.

    Args:
        columns: The table's columns.
        name: The message's name; the service ignores it.

    Raises:
        ConversionError: Protobuf cannot hold a column, such as an array of arrays.

    Example:
        >>> descriptor = message_descriptor((Field(name="id", type=Primitive.BIGINT, nullable=False, number=1),))
        >>> descriptor.field[0].label == FieldDescriptorProto.LABEL_REQUIRED
        True
    """
    check_wire_types(columns)
    row = DescriptorProto(name=name)
    _add_fields(row, columns, path=f".{name}")
    return row


@dataclass(frozen=True, slots=True)
class _Scope:
    """A message in which nested messages are declared.

    Attributes:
        message: The message.
        path: Its full name.
        taken: Names in use: fields and nested messages share one namespace.
    """

    message: DescriptorProto
    path: str
    taken: set[str]

    def declare(self, name: str) -> tuple[DescriptorProto, str]:
        """Add a nested message, under the first free name of `name`, `name2`, `name3`; return it with its full name."""
        unique, count = name, 1
        while unique in self.taken:
            count += 1
            unique = f"{name}{count}"
        self.taken.add(unique)
        return self.message.nested_type.add(name=unique), f"{self.path}.{unique}"


def _add_fields(message: DescriptorProto, fields: tuple[Field, ...], *, path: str) -> None:
    scope = _Scope(message, path, {field.name for field in fields})
    for field in fields:
        # Without json_name, protobuf's pools reject `user_id` beside `userId`: both would be `userId` in JSON.
        carrier = message.field.add(name=field.name, number=field.number, json_name=field.name)
        name = _message_name(field.name)
        match field.type:
            case Array(element):
                carrier.label = FieldDescriptorProto.LABEL_REPEATED
                _set_type(carrier, element, scope, f"{name}Element")
            case Map():
                carrier.label = FieldDescriptorProto.LABEL_REPEATED
                _set_map(carrier, field.type, scope, name)
            case other:
                optional, required = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REQUIRED
                carrier.label = optional if field.nullable else required
                _set_type(carrier, other, scope, name)


def _set_type(carrier: FieldDescriptorProto, delta_type: DeltaType, scope: _Scope, message_name: str) -> None:
    if isinstance(delta_type, Struct):
        nested, path = scope.declare(message_name)
        carrier.type, carrier.type_name = FieldDescriptorProto.TYPE_MESSAGE, path
        _add_fields(nested, delta_type.fields, path=path)
    elif isinstance(delta_type, Decimal):
        carrier.type = FieldDescriptorProto.TYPE_STRING
    elif isinstance(delta_type, Primitive):
        carrier.type = _SCALAR_TYPES[delta_type]


def _set_map(carrier: FieldDescriptorProto, map_type: Map, scope: _Scope, name: str) -> None:
    key, value = (
        FieldDescriptorProto(name=part, number=number, json_name=part, label=FieldDescriptorProto.LABEL_OPTIONAL)
        for number, part in enumerate(("key", "value"), start=1)
    )
    _set_type(key, map_type.key, scope, "")
    _set_type(value, map_type.value, scope, f"{name}Value")
    entry, path = scope.declare(f"{name}Entry")
    entry.options.map_entry = True
    entry.field.extend((key, value))
    carrier.type, carrier.type_name = FieldDescriptorProto.TYPE_MESSAGE, path


def _message_name(field_name: str) -> str:
    """Name a message after its field: `air_quality` gives `AirQuality`, and `_1` gives `M1`.

    Protobuf's names do not start with a digit, and Spark names the fields of tuples `_1`, `_2`.
    """
    name = "".join(part[:1].upper() + part[1:] for part in field_name.split("_"))
    return name if name[:1].isalpha() else f"M{name}"
