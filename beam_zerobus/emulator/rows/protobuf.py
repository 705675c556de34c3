"""protobuf rows: the stream's descriptor checked against the table, and calls read column by column.

Calls are read in two ways, with the same outcome. By column is the fast one, for calls of many rows that look as those
of every encoder do. By record is the reference, which knows every rule of protobuf and finds the record to reject: the
request is parsed a second time as a message whose records are rows instead of bytes, which is the same on the wire, so
that protobuf's C code parses all rows of a call at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import pyarrow as pa
from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError

from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.rows.by_column import message_of
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
from beam_zerobus.emulator.rows.descriptor import Messages, call_classes, slot
from beam_zerobus.emulator.rows.places import OddRecordsError, Records
from beam_zerobus.emulator.rows.scalars import check_years, decimals, variants
from beam_zerobus.emulator.rows.utf8 import has_only_text
from beam_zerobus.schema import Array, Decimal, DeltaType, Field, Map, Primitive, Struct, TableSchema
from beam_zerobus.schema.arrow import canonical_type

__all__ = ["ProtoReader"]

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
_FEW_ROWS = 256
"""With fewer, reading by record is faster."""
_PART_ROWS = 1 << 16
"""Read at a time, so that the memory needed has a bound however many records a call has."""


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
        if not has_only_text(row):
            raise Rejection.invalid("descriptor_proto has a name that is not UTF-8", number=8001)
        if not row.name:
            raise Rejection.invalid("a protobuf stream needs a descriptor_proto that names its message", number=8001)
        self._schema = schema.to_canonical_arrow()
        messages = Messages(row)
        sources = _match_fields(schema.columns, row, messages, "")
        self._columns = [Column(column, source) for column, source in zip(schema.columns, sources, strict=True)]
        self._message = message_of(schema.columns, row, messages)
        self._call_class, self._row_class = call_classes(row, messages)

    def read(self, call: bytes, records: Sequence[bytes]) -> pa.RecordBatch:
        """Return the rows of a call.

        Args:
            call: The serialized request.
            records: Its records.

        Raises:
            Rejection: A record is not a message of the descriptor, or a value does not fit its column.
        """
        if len(records) >= _FEW_ROWS:
            try:
                return self.read_by_column(records)
            except OddRecordsError:
                pass
        return self.read_by_record(call, records)

    def read_by_column(self, records: Sequence[bytes]) -> pa.RecordBatch:
        """Return the rows of a call of at least one, if they are as encoders write them and fit the table.

        Raises:
            OddRecordsError: They must be read by record.
        """
        parts = []
        for first in range(0, len(records), _PART_ROWS):
            part = Records(records[first : first + _PART_ROWS])
            columns = self._message.columns(part, part.starts, part.ends)
            parts.append(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        return parts[0] if len(parts) == 1 else pa.concat_batches(parts)

    def read_by_record(self, call: bytes, records: Sequence[bytes]) -> pa.RecordBatch:
        """Return the rows of a call; as `read`."""
        try:
            rows = list(self._call_class.FromString(call).batch.records.rows) if len(records) > 1 else []
            if len(rows) != len(records):  # a single record, or a request with parts that others replace
                rows = [self._row_class.FromString(record) for record in records]
        except DecodeError:
            raise self._undecodable(records) from None
        return pa.RecordBatch.from_arrays([column.read(rows) for column in self._columns], schema=self._schema)

    def _undecodable(self, records: Sequence[bytes]) -> Rejection:
        for index, record in enumerate(records):
            try:
                self._row_class.FromString(record)
            except DecodeError:
                return Rejection.invalid(f"record {index} is not a message of the stream's descriptor")
        return Rejection.invalid("the request cannot be parsed")


def _reject(path: str, reason: str) -> Rejection:
    return Rejection.invalid(f"column '{path}' {reason}", number=8001)


def _match_fields(
    fields: Iterable[Field], message: descriptor_pb2.DescriptorProto, messages: Messages, parent: str
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
    messages: Messages,
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
            return ScalarNode(path, str(delta_type), _converter(delta_type, path))


def _converter(delta_type: Primitive | Decimal, path: str) -> Callable[[Values], pa.Array]:
    arrow_type = canonical_type(delta_type)
    if isinstance(delta_type, Decimal):
        return lambda values: decimals(values, arrow_type)
    if delta_type is Primitive.VARIANT:
        return lambda values: variants(values, path)
    return lambda values: check_years(delta_type, pa.array(values, arrow_type), path)


def _getter(carrier: descriptor_pb2.FieldDescriptorProto) -> Getter:
    name = slot(carrier.number)
    get = attrgetter(name)
    if carrier.label == _PROTO.LABEL_REPEATED:
        return lambda rows: list(map(get, rows))
    if carrier.type == _PROTO.TYPE_MESSAGE:
        return lambda rows: [get(row) if row.HasField(name) else None for row in rows]

    # An absent field reads as 0 or "", so only those need a second look.
    def scalars(rows: Values) -> list[Any]:
        return [value if value or row.HasField(name) else None for row, value in zip(rows, map(get, rows), strict=True)]

    return scalars
