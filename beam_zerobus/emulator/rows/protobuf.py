"""protobuf rows: the stream's descriptor checked against the table, and calls read column by column.

A call is not parsed record by record: the request is read once more as a message whose records are rows rather than
bytes, which is the same on the wire, so all rows of a call are parsed in one go in protobuf's C code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import orjson
import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.rows.columns import (
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
from beam_zerobus.emulator.wire import add_field
from beam_zerobus.schema import Array, Decimal, DeltaType, Field, Map, Primitive, Struct, TableSchema
from beam_zerobus.schema.arrow import canonical_type

__all__ = ["ProtoReader", "decimals", "variants"]

_PROTO = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    Primitive.TINYINT: _PROTO.TYPE_INT32,
    Primitive.SMALLINT: _PROTO.TYPE_INT32,
    Primitive.INT: _PROTO.TYPE_INT32,
    Primitive.BIGINT: _PROTO.TYPE_INT64,
    Primitive.FLOAT: _PROTO.TYPE_FLOAT,
    Primitive.DOUBLE: _PROTO.TYPE_DOUBLE,
    Primitive.BOOLEAN: _PROTO.TYPE_BOOL,
    Primitive.STRING: _PROTO.TYPE_STRING,
    Primitive.BINARY: _PROTO.TYPE_BYTES,
    Primitive.DATE: _PROTO.TYPE_INT32,
    Primitive.TIMESTAMP: _PROTO.TYPE_INT64,
    Primitive.TIMESTAMP_NTZ: _PROTO.TYPE_INT64,
    Primitive.VARIANT: _PROTO.TYPE_STRING,
}


class ProtoReader:
    """Reads the calls of one stream.

    Args:
        schema: The table's columns.
        descriptor: The serialized `DescriptorProto` that the stream was created with.

    Raises:
        Rejection: The descriptor does not fit the table; names the column.
    """

    def __init__(self, schema: TableSchema, descriptor: bytes) -> None:
        try:
            row = descriptor_pb2.DescriptorProto.FromString(descriptor)
        except DecodeError:
            raise Rejection.invalid("descriptor_proto is not a serialized DescriptorProto", number=8001) from None
        if not row.name:
            raise Rejection.invalid("a protobuf stream needs a descriptor_proto that names its message", number=8001)
        self._schema = schema.to_canonical_arrow()
        messages = _Messages(row)
        sources = _match_fields(schema.columns, row, messages, "")
        self._columns = [Column(column, source) for column, source in zip(schema.columns, sources, strict=True)]
        self._call_class, self._row_class = _call_classes(row, messages)

    def read(self, call: bytes, records: Sequence[bytes]) -> pa.RecordBatch:
        """Return the rows of a call.

        Args:
            call: The serialized request.
            records: The same records as bytes, to find the bad one.

        Raises:
            Rejection: A record is no message of the descriptor, or a value does not fit its column.
        """
        try:
            request = self._call_class.FromString(call)
        except DecodeError:
            raise self._undecodable(records) from None
        rows = list(request.batch.records.rows) if request.HasField("batch") else [request.single.row]
        return pa.RecordBatch.from_arrays([column.read(rows) for column in self._columns], schema=self._schema)

    def _undecodable(self, records: Sequence[bytes]) -> Rejection:
        for index, record in enumerate(records):
            try:
                self._row_class.FromString(record)
            except DecodeError:
                return Rejection.invalid(f"record {index} is no message of the stream's descriptor")
        return Rejection.invalid("the request cannot be parsed")


class _Messages:
    """The messages declared inside a row, by the type names that fields carry.

    Type names start with a package that the descriptor does not tell, so only what follows the row's own name counts.
    """

    def __init__(self, row: descriptor_pb2.DescriptorProto) -> None:
        self._row_name = row.name
        self._by_path: dict[str, descriptor_pb2.DescriptorProto] = {}
        self._add(row, row.name)

    def _add(self, message: descriptor_pb2.DescriptorProto, path: str) -> None:
        self._by_path[path] = message
        for nested in message.nested_type:
            self._add(nested, f"{path}.{nested.name}")

    def path(self, field: descriptor_pb2.FieldDescriptorProto) -> str | None:
        """Return the path of a field's message, such as ``Row.Point``; None for scalars and for unknown messages."""
        if field.type != _PROTO.TYPE_MESSAGE:
            return None
        parts = field.type_name.lstrip(".").split(".")
        candidates = (".".join(parts[start:]) for start, part in enumerate(parts) if part == self._row_name)
        return next((path for path in candidates if path in self._by_path), None)

    def of(self, field: descriptor_pb2.FieldDescriptorProto) -> descriptor_pb2.DescriptorProto | None:
        """Return a field's message; None for scalars and for messages that are not declared inside the row."""
        path = self.path(field)
        return None if path is None else self._by_path[path]


def _reject(path: str, reason: str) -> Rejection:
    return Rejection.invalid(f"column '{path}' {reason}", number=8001)


def _match_fields(
    fields: Iterable[Field], message: descriptor_pb2.DescriptorProto, messages: _Messages, parent: str
) -> list[Source | None]:
    """Match columns, or the fields of a struct, with a message's fields, by name."""
    carried = {field.name: field for field in message.field}
    unknown = carried.keys() - {field.name for field in fields}
    if unknown:
        raise _reject(parent + min(unknown), "is in the stream's descriptor, but not in the table")
    matched: list[Source | None] = []
    for field in fields:
        carrier = carried.get(field.name)
        if carrier is not None:
            repeated = carrier.label == _PROTO.LABEL_REPEATED
            node = _node(field.type, carrier, messages, parent + field.name, repeated=repeated)
            matched.append(Source(_getter(carrier), node))
        elif field.nullable:
            matched.append(None)
        else:
            raise _reject(parent + field.name, "is NOT NULL and missing from the stream's descriptor")
    return matched


def _node(
    delta_type: DeltaType,
    carrier: descriptor_pb2.FieldDescriptorProto,
    messages: _Messages,
    path: str,
    *,
    repeated: bool,
) -> Node:
    """Check a field's type and return what reads its values."""
    message = messages.of(carrier)
    is_map = message is not None and message.options.map_entry

    def mismatch(needed: str) -> Rejection:
        return _reject(path, f"has an incompatible type in the stream's descriptor: {delta_type} needs {needed}")

    match delta_type:
        case Map(key, value, _):
            if not repeated or message is None or not is_map or [entry.number for entry in message.field] != [1, 2]:
                raise mismatch("a map field")
            keys, values = message.field
            return MapNode(
                path,
                canonical_type(delta_type),
                _node(key, keys, messages, f"{path}.key", repeated=False),
                _node(value, values, messages, f"{path}.value", repeated=False),
            )
        case Array(element, _):
            if not repeated or is_map:
                raise mismatch("a repeated field")
            inner = _node(element, carrier, messages, f"{path}.element", repeated=False)
            return ListNode(path, canonical_type(delta_type), inner)
        case Struct(fields):
            if repeated or message is None or is_map:
                raise mismatch("one message, declared inside the row's")
            sources = _match_fields(fields, message, messages, f"{path}.")
            return StructNode(path, canonical_type(delta_type), tuple(sources))
        case _:
            expected = _PROTO.TYPE_STRING if isinstance(delta_type, Decimal) else _TYPES[delta_type]
            if repeated or carrier.type != expected:
                raise mismatch("one field of type " + _PROTO.Type.Name(expected).removeprefix("TYPE_").lower())
            return ScalarNode(path, str(delta_type), _converter(delta_type))


def _converter(delta_type: Primitive | Decimal) -> Callable[[Values], pa.Array]:
    arrow_type = canonical_type(delta_type)
    if isinstance(delta_type, Decimal):
        return lambda values: decimals(values, arrow_type)
    if delta_type is Primitive.VARIANT:
        return variants
    return lambda values: pa.array(values, arrow_type)


def decimals(values: Values, arrow_type: pa.DataType) -> pa.Array:
    """Return decimals of their texts; more digits than the type holds are an error, never rounded."""
    return pa.array(values, pa.string()).cast(arrow_type)


def variants(values: Values) -> pa.Array:
    """Return texts that are JSON."""
    for value in values:
        if value is not None:
            orjson.loads(value)
    return pa.array(values, pa.large_string())


def _slot(number: int) -> str:
    # Fields are renamed by number, so that no column's name meets a method of protobuf's classes.
    return f"c{number}"


def _getter(carrier: descriptor_pb2.FieldDescriptorProto) -> Getter:
    name = _slot(carrier.number)
    get = attrgetter(name)
    if carrier.label == _PROTO.LABEL_REPEATED:
        return lambda rows: list(map(get, rows))
    if carrier.type == _PROTO.TYPE_MESSAGE:
        return lambda rows: [get(row) if row.HasField(name) else None for row in rows]

    # An absent field reads as 0 or "", so only those need a second look.
    def scalars(rows: Values) -> list[Any]:
        return [value if value or row.HasField(name) else None for row, value in zip(rows, map(get, rows), strict=True)]

    return scalars


def _call_classes(row: descriptor_pb2.DescriptorProto, messages: _Messages) -> tuple[Any, Any]:
    """Return the class of a request with rows in place of bytes, and the class of a row."""
    file = descriptor_pb2.FileDescriptorProto(name="call.proto", package="call", syntax="proto2")
    _copy_fields(row, file.message_type.add(name="Row"), ".call.Row", messages)
    for name, field, number, kind, repeated in (
        ("Single", "row", 2, ".call.Row", False),
        ("Records", "rows", 1, ".call.Row", True),
        ("Batch", "records", 2, ".call.Records", False),
    ):
        add_field(file.message_type.add(name=name), field, number, kind, repeated=repeated)
    call = file.message_type.add(name="Call")
    add_field(call, "single", 2, ".call.Single")
    add_field(call, "batch", 3, ".call.Batch")
    pool = descriptor_pool.DescriptorPool()
    try:
        pool.Add(file)
        descriptors = [pool.FindMessageTypeByName(f"call.{name}") for name in ("Call", "Row")]
    except (TypeError, KeyError):
        raise Rejection.invalid("descriptor_proto describes no valid message", number=8001) from None
    return message_factory.GetMessageClass(descriptors[0]), message_factory.GetMessageClass(descriptors[1])


def _copy_fields(
    source: descriptor_pb2.DescriptorProto, target: descriptor_pb2.DescriptorProto, name: str, messages: _Messages
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
            add_field(target, _slot(field.number), field.number, f"{name}.{entry.name}", repeated=True)
        else:
            kind = _copy_message(field, target, field.number, name, messages)
            add_field(target, _slot(field.number), field.number, kind, repeated=repeated)


def _copy_message(
    field: descriptor_pb2.FieldDescriptorProto,
    target: descriptor_pb2.DescriptorProto,
    number: int,
    name: str,
    messages: _Messages,
) -> int | str:
    """Copy a field's message, if it has one, into `target`; return the field's type."""
    message = messages.of(field)
    if message is None:
        return field.type
    nested = target.nested_type.add(name=f"M{number}")
    _copy_fields(message, nested, f"{name}.{nested.name}", messages)
    return f"{name}.{nested.name}"
