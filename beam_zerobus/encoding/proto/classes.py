"""Rows through protobuf's own classes: the quicker way for a handful of rows, and the oracle of the tests.

The classes are built from a twin of the row's descriptor with the same bytes on the wire: strings are bytes there
(no decoding and encoding of UTF-8), maps are plain repeated messages (entries keep their order), and fields are
named `f0`, `f1`, ... (any column name works as a keyword).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pyarrow as pa
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from beam_zerobus.schema.table import TableSchema
from beam_zerobus.schema.types import Array, Decimal, DeltaType, Map, Primitive, Struct

__all__ = ["RowClass"]

_INTEGERS = {Primitive.DATE: pa.int32(), Primitive.TIMESTAMP: pa.int64(), Primitive.TIMESTAMP_NTZ: pa.int64()}


class RowClass:
    """The protobuf class of a table's rows; thread-safe.

    Args:
        schema: The table's columns.
        descriptor: Their message, as `message_descriptor` describes it.
    """

    def __init__(self, schema: TableSchema, descriptor: DescriptorProto) -> None:
        self._types = tuple(field.type for field in schema.columns)
        self._names = tuple(f"f{i}" for i in range(len(self._types)))
        file = FileDescriptorProto(name="row.proto", syntax="proto2", message_type=[_twin(descriptor)])
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        self._message = message_factory.GetMessageClass(pool.FindMessageTypeByName(descriptor.name))

    def serialize(self, batch: pa.RecordBatch) -> list[bytes]:
        """Return each row of the batch as its message's bytes."""
        if not self._types:
            return [b""] * batch.num_rows
        columns = [python_values(array, kind) for array, kind in zip(batch.columns, self._types, strict=True)]
        message, names = self._message, self._names
        return [
            message(**dict(zip(names, values, strict=True))).SerializeToString(deterministic=True)
            for values in zip(*columns, strict=True)
        ]


def _twin(descriptor: DescriptorProto) -> DescriptorProto:
    twin = DescriptorProto()
    twin.CopyFrom(descriptor)
    _make_twin(twin)
    return twin


def _make_twin(message: DescriptorProto) -> None:
    message.ClearField("options")
    for position, field in enumerate(message.field):
        field.name = f"f{position}"
        if field.type == FieldDescriptorProto.TYPE_STRING:
            field.type = FieldDescriptorProto.TYPE_BYTES
    for nested in message.nested_type:
        _make_twin(nested)


def python_values(array: pa.Array, delta_type: DeltaType) -> list[Any]:
    """Return the array's values as protobuf's classes take them; None for null."""
    if isinstance(delta_type, Struct):
        children = [python_values(array.field(i), field.type) for i, field in enumerate(delta_type.fields)]
        return _dicts(children, len(array), _validity(array))
    if isinstance(delta_type, Array):
        return _lists(array, python_values(array.values, delta_type.element))
    if isinstance(delta_type, Map):
        pairs = [python_values(array.keys, delta_type.key), python_values(array.items, delta_type.value)]
        return _lists(array, _dicts(pairs, len(array.keys), None))
    if isinstance(delta_type, Decimal):
        return [None if value is None else format(value, "f").encode() for value in array.to_pylist()]
    return _plain(array, delta_type).to_pylist()


def _plain(array: pa.Array, delta_type: Primitive) -> pa.Array:
    if delta_type in _INTEGERS:
        return array.view(_INTEGERS[delta_type])
    if pa.types.is_string(array.type):
        return array.view(pa.binary())
    if pa.types.is_large_string(array.type):
        return array.view(pa.large_binary())
    return array


def _validity(array: pa.Array) -> list[bool] | None:
    return array.is_valid().to_pylist() if array.null_count else None


def _dicts(children: list[list[Any]], length: int, valid: list[bool] | None) -> list[Any]:
    names = [f"f{i}" for i in range(len(children))]
    rows: Iterable[tuple[Any, ...]] = zip(*children, strict=True) if children else iter([()] * length)
    dicts = [dict(zip(names, values, strict=True)) for values in rows]
    if valid is None:
        return dicts
    return [value if is_valid else None for value, is_valid in zip(dicts, valid, strict=True)]


def _lists(array: pa.Array, elements: list[Any]) -> list[Any]:
    offsets = array.offsets.to_pylist()
    lists: list[Any] = [elements[start:end] for start, end in pairwise(offsets)]
    valid = _validity(array)
    if valid is None:
        return lists
    return [value if is_valid else None for value, is_valid in zip(lists, valid, strict=True)]
