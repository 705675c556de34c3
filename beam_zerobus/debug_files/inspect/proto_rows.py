"""Protobuf rows read back to Arrow, with protobuf's own classes: simple rather than fast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto
from google.protobuf.message import DecodeError

from beam_zerobus.debug_files.inspect.descriptors import RowDescription
from beam_zerobus.schema.arrow import canonical_type

__all__ = ["RowDecoder"]

_SCALARS = {
    FieldDescriptor.CPPTYPE_INT32: pa.int32(),
    FieldDescriptor.CPPTYPE_INT64: pa.int64(),
    FieldDescriptor.CPPTYPE_UINT32: pa.uint32(),
    FieldDescriptor.CPPTYPE_UINT64: pa.uint64(),
    FieldDescriptor.CPPTYPE_FLOAT: pa.float32(),
    FieldDescriptor.CPPTYPE_DOUBLE: pa.float64(),
    FieldDescriptor.CPPTYPE_BOOL: pa.bool_(),
    FieldDescriptor.CPPTYPE_ENUM: pa.int32(),
}

Getter = Callable[[Any], Any]


class RowDecoder:
    """Makes RecordBatches from messages that hold rows.

    The columns have the table's types if the descriptor set has them, else protobuf's own. Protobuf does not
    distinguish an empty list from a null one; both become empty.

    Raises:
        ValueError: The descriptor set has a type that rows of this package never have.
    """

    def __init__(self, description: RowDescription) -> None:
        self._rows_class = description.rows_class
        row = DescriptorProto()
        description.row_descriptor.CopyToProto(row)
        try:
            self._columns = [_reader(field) for field in description.row_descriptor.fields]
        except RecursionError:
            raise ValueError("its messages are nested too deep") from None
        types = {c.name: canonical_type(c.type) for c in description.schema.columns} if description.schema else {}
        self.schema = pa.schema(
            [
                pa.field(
                    field.name,
                    types.get(field.name, stored),
                    nullable=field.label != FieldDescriptorProto.LABEL_REQUIRED,
                )
                for field, (stored, _) in zip(row.field, self._columns, strict=True)
            ]
        )

    def decode(self, piece: bytes) -> pa.RecordBatch:
        """Turn whole framed records into a batch.

        Raises:
            ValueError: A record is not such a row, or a value does not fit its column.
        """
        try:
            rows = self._rows_class.FromString(piece).rows
            arrays = [
                pa.array(list(map(get, rows)), stored).cast(field.type)
                for field, (stored, get) in zip(self.schema, self._columns, strict=True)
            ]
            return pa.record_batch(arrays, schema=self.schema)
        except (DecodeError, pa.ArrowException, OverflowError, RecursionError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


def _reader(field: Any) -> tuple[pa.DataType, Getter]:
    """Return the Arrow type of a field as protobuf stores it, and a function that gets its value from a message."""
    name = field.name
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key_type, _ = _value(field.message_type.fields_by_name["key"])
        value_type, of_value = _value(field.message_type.fields_by_name["value"])
        return pa.map_(key_type, value_type), lambda row: [(k, of_value(v)) for k, v in getattr(row, name).items()]
    data_type, of = _value(field)
    if not field.has_presence:  # in proto2 only a repeated field has none
        return pa.list_(data_type), lambda row: [of(value) for value in getattr(row, name)]
    return data_type, lambda row: of(getattr(row, name)) if row.HasField(name) else None


def _value(field: Any) -> tuple[pa.DataType, Getter]:
    if field.message_type is not None:
        return _struct(field.message_type.fields)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return pa.large_binary(), _same
    if field.type == FieldDescriptor.TYPE_STRING:
        return pa.large_string(), _same
    return _SCALARS[field.cpp_type], _same


def _struct(fields: Sequence[Any]) -> tuple[pa.DataType, Getter]:
    readers = [(field.name, *_reader(field)) for field in fields]
    struct = pa.struct([pa.field(name, data_type) for name, data_type, _ in readers])
    return struct, lambda message: {name: get(message) for name, _, get in readers}


def _same(value: Any) -> Any:
    return value
