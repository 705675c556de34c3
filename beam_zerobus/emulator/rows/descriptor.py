"""The descriptor of a protobuf stream: its messages by name, and classes that parse a whole call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.wire import add_field

__all__ = ["Messages", "call_classes", "slot"]

_PROTO = descriptor_pb2.FieldDescriptorProto


class Messages:
    """The messages declared inside a row, by the type names that fields have.

    A full type name (with a dot in front) begins with a package that the descriptor does not know, so only what follows
    the row's own name counts. A relative one is looked up from the innermost message outwards, as protobuf does.

    Args:
        row: The row's descriptor.
    """

    def __init__(self, row: descriptor_pb2.DescriptorProto) -> None:
        self._row_name = row.name
        self._by_path: dict[str, descriptor_pb2.DescriptorProto] = {}
        self._add(row, row.name)
        # Fields know nothing of the message around them, so type names are resolved once, here.
        for scope, message in self._by_path.items():
            for field in message.field:
                if field.type_name and not field.HasField("type"):
                    field.type = _PROTO.TYPE_MESSAGE
                if field.type == _PROTO.TYPE_MESSAGE:
                    paths = self._candidates(field.type_name, scope)
                    field.type_name = next((path for path in paths if path in self._by_path), "")

    def _add(self, message: descriptor_pb2.DescriptorProto, path: str) -> None:
        self._by_path[path] = message
        for nested in message.nested_type:
            self._add(nested, f"{path}.{nested.name}")

    def _candidates(self, name: str, scope: str) -> Iterator[str]:
        if not name.startswith("."):
            outer = scope.split(".")
            for depth in range(len(outer), -1, -1):
                yield ".".join([*outer[:depth], name])
        parts = name.strip(".").split(".")
        for start, part in enumerate(parts):
            if part == self._row_name:
                yield ".".join(parts[start:])

    def of(self, field: descriptor_pb2.FieldDescriptorProto) -> descriptor_pb2.DescriptorProto | None:
        """Return a field's message; None for scalars and for messages that are not declared inside the row."""
        return self._by_path.get(field.type_name) if field.type == _PROTO.TYPE_MESSAGE else None


def slot(number: int) -> str:
    """Return the name of a field in the classes: by number, so that none is the name of a method of protobuf's."""
    return f"c{number}"


def call_classes(row: descriptor_pb2.DescriptorProto, messages: Messages) -> tuple[Any, Any]:
    """Return the class of a request with a batch, which has rows in place of bytes, and the class of a row."""
    file = descriptor_pb2.FileDescriptorProto(name="call.proto", package="call", syntax="proto2")
    _copy_fields(row, file.message_type.add(name="Row"), ".call.Row", messages)
    for name, field, number, kind, repeated in (
        ("Records", "rows", 1, ".call.Row", True),
        ("Batch", "records", 2, ".call.Records", False),
        ("Call", "batch", 3, ".call.Batch", False),
    ):
        add_field(file.message_type.add(name=name), field, number, kind, repeated=repeated)
    pool = descriptor_pool.DescriptorPool()
    try:
        pool.Add(file)
        descriptors = [pool.FindMessageTypeByName(f"call.{name}") for name in ("Call", "Row")]
    except (TypeError, KeyError):
        raise Rejection.invalid("descriptor_proto describes no valid message", number=8001) from None
    return message_factory.GetMessageClass(descriptors[0]), message_factory.GetMessageClass(descriptors[1])


def _copy_fields(
    source: descriptor_pb2.DescriptorProto, target: descriptor_pb2.DescriptorProto, name: str, messages: Messages
) -> None:
    """Copy what the wire needs: numbers, types and nesting; every single field optional and without a default."""
    for field in source.field:
        repeated = field.label == _PROTO.LABEL_REPEATED
        message = messages.of(field)
        if message is not None and message.options.map_entry:
            entry = target.nested_type.add(name=f"C{field.number}Entry")
            entry.options.map_entry = True
            for part in message.field:
                kind = _copy_message(part, target, field.number, name, messages)
                add_field(entry, "key" if part.number == 1 else "value", part.number, kind)
            add_field(target, slot(field.number), field.number, f"{name}.{entry.name}", repeated=True)
        else:
            kind = _copy_message(field, target, field.number, name, messages)
            add_field(target, slot(field.number), field.number, kind, repeated=repeated)


def _copy_message(
    field: descriptor_pb2.FieldDescriptorProto,
    target: descriptor_pb2.DescriptorProto,
    number: int,
    name: str,
    messages: Messages,
) -> int | str:
    """Copy a field's message, if it has one, into `target`; return the field's type."""
    message = messages.of(field)
    if message is None:
        return field.type
    nested = target.nested_type.add(name=f"M{number}")
    _copy_fields(message, nested, f"{name}.{nested.name}", messages)
    return f"{name}.{nested.name}"
