"""Rows encoded with protobuf's own classes: faster for a few rows.

The classes are built from a variant of the row's descriptor with the same bytes on the wire, and get their values from
a view of the whole batch: text is bytes there (no decoding and encoding of UTF-8), dates and timestamps are integers,
maps are lists of entries (which keep their order), and fields are named `f0`, `f1`, ... (so that any column name works
as a keyword). It is one view, because creating a pyarrow object for each column takes as long as encoding a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import EncodeError

from beam_zerobus.schema.table import TableSchema
from beam_zerobus.schema.types import Array, Decimal, DeltaType, Field, Map, Struct

__all__ = ["RowClass"]


class RowClass:
    """The protobuf class of a table's rows; thread-safe.

    Args:
        schema: The table's columns.
        descriptor: Their message, from `TableSchema.to_descriptor`.
    """

    def __init__(self, schema: TableSchema, descriptor: DescriptorProto) -> None:
        file = FileDescriptorProto(name="row.proto", syntax="proto2", message_type=[_variant(descriptor)])
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        self._message = message_factory.GetMessageClass(pool.FindMessageTypeByName(descriptor.name))
        self._change = _change_of_fields(schema.columns)
        self._view: tuple[pa.Schema, pa.DataType] | None = None  # of the last batch: the next is often alike

    def serialize(self, batch: pa.RecordBatch) -> list[bytes] | None:
        """Return each row as its message's bytes; None if a row has a null that protobuf cannot hold."""
        view = self._view
        if view is None or view[0] != batch.schema:
            view = self._view = batch.schema, pa.struct(_view_of_fields(batch.schema))
        rows = batch.to_struct_array().view(view[1]).to_pylist()
        message = self._message
        try:
            if self._change is not None:
                rows = list(map(self._change, rows))
            return [message(**row).SerializeToString() for row in rows]
        except (EncodeError, TypeError):  # a required field is missing, or an element is None
            return None


def _variant(descriptor: DescriptorProto) -> DescriptorProto:
    variant = DescriptorProto()
    variant.CopyFrom(descriptor)
    _make_variant(variant)
    return variant


def _make_variant(message: DescriptorProto) -> None:
    is_entry = message.options.map_entry
    message.ClearField("options")
    for position, field in enumerate(message.field):
        field.name = f"f{position}"
        field.ClearField("json_name")
        if field.type == FieldDescriptorProto.TYPE_STRING:
            field.type = FieldDescriptorProto.TYPE_BYTES
        if is_entry:
            field.label = FieldDescriptorProto.LABEL_REQUIRED
    for nested in message.nested_type:
        _make_variant(nested)


_VIEWED_AS = {
    pa.string().id: pa.binary(),
    pa.large_string().id: pa.large_binary(),
    pa.date32().id: pa.int32(),
    pa.timestamp("us").id: pa.int64(),
}


def _view_of_fields(fields: Sequence[pa.Field]) -> list[pa.Field]:
    return [pa.field(f"f{i}", _view_of_type(field.type)) for i, field in enumerate(fields)]


def _view_of_type(data_type: pa.DataType) -> pa.DataType:
    """Return the type with the same buffers whose values protobuf's classes accept."""
    if pa.types.is_struct(data_type):
        return pa.struct(_view_of_fields(data_type.fields))
    if pa.types.is_map(data_type):
        return pa.list_(pa.struct(_view_of_fields([data_type.key_field, data_type.item_field])))
    if pa.types.is_list(data_type):
        return pa.list_(_view_of_type(data_type.value_type))
    if pa.types.is_large_list(data_type):
        return pa.large_list(_view_of_type(data_type.value_type))
    return _VIEWED_AS.get(data_type.id, data_type)


_Change: TypeAlias = Callable[[Any], Any]
"""Converts a value for protobuf's classes; raises TypeError for a null that they would treat as an empty list."""


def _change_of_fields(fields: Sequence[Field]) -> _Change | None:
    """Return a function that converts a dict of these fields in place; None if nothing needs to be converted."""
    changes = [
        (f"f{i}", change)
        for i, field in enumerate(fields)
        if (change := _change_of_type(field.type, nullable=field.nullable)) is not None
    ]

    def change_dict(values: dict[str, Any]) -> dict[str, Any]:
        for name, change in changes:
            values[name] = change(values[name])
        return values

    return change_dict if changes else None


def _change_of_type(delta_type: DeltaType, *, nullable: bool = True) -> _Change | None:
    if isinstance(delta_type, Decimal):
        return _or_none(lambda value: format(value, "f").encode())
    if isinstance(delta_type, Struct):
        change = _change_of_fields(delta_type.fields)
        return None if change is None else _or_none(change)
    if isinstance(delta_type, Array):
        return _change_of_list(_change_of_type(delta_type.element), nullable=nullable)
    if isinstance(delta_type, Map):
        entry = (Field(name="key", type=delta_type.key, number=1), Field(name="value", type=delta_type.value, number=2))
        return _change_of_list(_change_of_fields(entry), nullable=nullable)
    return None


def _or_none(change: _Change) -> _Change:
    return lambda value: None if value is None else change(value)


def _change_of_list(change: _Change | None, *, nullable: bool) -> _Change | None:
    if nullable:
        return None if change is None else _or_none(lambda values: list(map(change, values)))

    def change_list(values: list[Any] | None) -> list[Any]:
        if values is None:
            raise TypeError
        return values if change is None else list(map(change, values))

    return change_list
