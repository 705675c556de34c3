"""The table as a `.proto` file, for people and for `protoc`: the row's descriptor, printed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema.descriptor import message_descriptor
from beam_zerobus.schema.types import Array, Decimal, DeltaType, Field, Map, Primitive, Struct

__all__ = ["proto_text"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_UNITS = {
    Primitive.DATE: "days since 1970-01-01",
    Primitive.TIMESTAMP: "microseconds since 1970-01-01 UTC",
    Primitive.TIMESTAMP_NTZ: "microseconds since 1970-01-01, no time zone",
    Primitive.VARIANT: "JSON",
}


def proto_text(columns: tuple[Field, ...], message_name: str) -> str:
    """Write a proto2 file with one message for a row.

    Args:
        columns: The table's columns; their comments become comments of the fields.
        message_name: The name of the message.

    Raises:
        ConversionError: Protobuf cannot hold a column, such as an array of arrays.
        ConfigurationError: `message_name` is not a protobuf name.

    Example:
        >>> print(proto_text((Field(name="id", type=Primitive.BIGINT, nullable=False, number=1),), "Row"))
        syntax = "proto2";
        <BLANKLINE>
        message Row {
          required int64 id = 1;
        }
        <BLANKLINE>
    """
    if not _NAME.match(message_name):
        raise ConfigurationError(
            f"message_name={message_name!r}: use letters, digits and underscores, and do not start with a digit"
        )
    row = message_descriptor(columns, message_name)
    return "\n".join(['syntax = "proto2";', "", *_message(row, columns), ""])


def _message(message: DescriptorProto, fields: tuple[Field, ...]) -> Iterator[str]:
    nested = {inner.name: inner for inner in message.nested_type}
    yield f"message {message.name} {{"
    for carrier, field in zip(message.field, fields, strict=True):
        entry = nested.get(_type_name(carrier))
        is_map = entry is not None and entry.options.map_entry
        value = entry.field[1] if entry is not None and is_map else carrier
        struct = _struct_inside(field.type)
        if struct is not None:
            for line in _message(nested[_type_name(value)], struct.fields):
                yield f"  {line}"
        for line in (field.comment or "").splitlines():
            yield f"  // {line}"
        if entry is not None and is_map:
            what = f"map<{_type_name(entry.field[0])}, {_type_name(value)}>"
        else:
            what = f"{_lower_name(FieldDescriptorProto.Label.Name(carrier.label))} {_type_name(carrier)}"
        yield f"  {what} {carrier.name} = {carrier.number}{_json_name(carrier)};{_unit(field.type)}"
    yield "}"


def _type_name(carrier: FieldDescriptorProto) -> str:
    if carrier.type_name:
        return carrier.type_name.rpartition(".")[2]
    return _lower_name(FieldDescriptorProto.Type.Name(carrier.type))


def _lower_name(enum_name: str) -> str:
    """Return the keyword of an enum's member: `TYPE_INT32` gives `int32`, `LABEL_OPTIONAL` gives `optional`."""
    return enum_name.partition("_")[2].lower()


def _json_name(carrier: FieldDescriptorProto) -> str:
    """Return the option that protoc needs where it would choose another name for JSON."""
    first, *others = carrier.name.split("_")
    default = first + "".join(part[:1].upper() + part[1:] for part in others)
    return "" if carrier.json_name == default else f' [json_name = "{carrier.json_name}"]'


def _struct_inside(delta_type: DeltaType) -> Struct | None:
    """Return the struct that a field holds: itself, or as the element of an array or the value of a map."""
    if isinstance(delta_type, Array):
        delta_type = delta_type.element
    elif isinstance(delta_type, Map):
        delta_type = delta_type.value
    return delta_type if isinstance(delta_type, Struct) else None


def _unit(delta_type: DeltaType) -> str:
    """Say in a comment what the protobuf type does not."""
    inner = delta_type.element if isinstance(delta_type, Array) else delta_type
    note = str(inner) if isinstance(inner, Decimal) else _UNITS.get(inner) if isinstance(inner, Primitive) else None
    return f"  // {note}" if note else ""
