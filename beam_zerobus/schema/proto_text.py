"""The table as a `.proto` file, for people and for `protoc`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema.types import Array, Decimal, DeltaType, Field, Map, Primitive, Struct

__all__ = ["proto_text"]

_SCALARS = {
    Primitive.TINYINT: "int32",
    Primitive.SMALLINT: "int32",
    Primitive.INT: "int32",
    Primitive.BIGINT: "int64",
    Primitive.FLOAT: "float",
    Primitive.DOUBLE: "double",
    Primitive.BOOLEAN: "bool",
    Primitive.STRING: "string",
    Primitive.BINARY: "bytes",
    Primitive.DATE: "int32",
    Primitive.TIMESTAMP: "int64",
    Primitive.TIMESTAMP_NTZ: "int64",
    Primitive.VARIANT: "string",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def proto_text(columns: tuple[Field, ...], message_name: str) -> str:
    """Write a proto2 file with one message for a row.

    Args:
        columns: Columns that protobuf can hold (see `check_protobuf`).
        message_name: The name of the message.

    Raises:
        ConfigurationError: `message_name` is no protobuf name.

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
            f"message_name={message_name!r}: use letters, digits and underscores, and start with no digit"
        )
    return "\n".join(['syntax = "proto2";', "", *_message(message_name, columns), ""])


def _message(name: str, fields: tuple[Field, ...]) -> Iterator[str]:
    taken = {field.name for field in fields}
    yield f"message {name} {{"
    for field in fields:
        struct = _struct_inside(field.type)
        inner_name = ""
        if struct is not None:
            inner_name = _free_name(field.name, taken)
            for line in _message(inner_name, struct.fields):
                yield f"  {line}"
        for line in (field.comment or "").splitlines():
            yield f"  // {line}"
        yield f"  {_declaration(field, inner_name)} {field.name} = {field.number};{_unit(field.type)}"
    yield "}"


def _declaration(field: Field, inner_name: str) -> str:
    match field.type:
        case Array(element):
            return f"repeated {_type_name(element, inner_name)}"
        case Map(key, value):
            return f"map<{_type_name(key, inner_name)}, {_type_name(value, inner_name)}>"
        case other:
            return f"{'optional' if field.nullable else 'required'} {_type_name(other, inner_name)}"


def _type_name(delta_type: DeltaType, inner_name: str) -> str:
    if isinstance(delta_type, Decimal):
        return "string"
    return _SCALARS[delta_type] if isinstance(delta_type, Primitive) else inner_name


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
    notes = {
        Primitive.DATE: "days since 1970-01-01",
        Primitive.TIMESTAMP: "microseconds since 1970-01-01 UTC",
        Primitive.TIMESTAMP_NTZ: "microseconds since 1970-01-01, no time zone",
        Primitive.VARIANT: "JSON",
    }
    note = str(inner) if isinstance(inner, Decimal) else notes.get(inner) if isinstance(inner, Primitive) else None
    return f"  // {note}" if note else ""


def _free_name(field_name: str, taken: set[str]) -> str:
    """Name a nested message after its field; fields and messages share one namespace."""
    name = "".join(part[:1].upper() + part[1:] for part in field_name.split("_")) or "Field"
    name = f"_{name}" if name[0].isdigit() else name
    unique, count = name, 1
    while unique in taken:
        count += 1
        unique = f"{name}{count}"
    taken.add(unique)
    return unique
