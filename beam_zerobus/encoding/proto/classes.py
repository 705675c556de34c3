"""Rows through protobuf's own classes: the quicker way for a handful of rows, and the oracle of the tests.

The classes are built from a twin of the row's descriptor with the same bytes on the wire: strings are bytes there
(no decoding and encoding of UTF-8), maps are plain repeated messages (entries keep their order), and fields are
named `f0`, `f1`, ... (any column name works as a keyword).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import pyarrow as pa
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from beam_zerobus.schema.table import TableSchema
from beam_zerobus.schema.types import Array, Decimal, DeltaType, Map, Primitive, Struct

__all__ = ["RowClass"]

_Reader: TypeAlias = Callable[[pa.Array], list[Any]]

_BYTES = {pa.string().id: pa.binary(), pa.large_string().id: pa.large_binary()}

_INTEGERS = {Primitive.DATE: pa.int32(), Primitive.TIMESTAMP: pa.int64(), Primitive.TIMESTAMP_NTZ: pa.int64()}


class RowClass:
    """The protobuf class of a table's rows; thread-safe.

    Args:
        schema: The table's columns.
        descriptor: Their message, as `message_descriptor` describes it.
    """

    def __init__(self, schema: TableSchema, descriptor: DescriptorProto) -> None:
        self._readers = tuple(_reader(field.type) for field in schema.columns)
        self._names = tuple(f"f{i}" for i in range(len(self._readers)))
        file = FileDescriptorProto(name="row.proto", syntax="proto2", message_type=[_twin(descriptor)])
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        self._message = message_factory.GetMessageClass(pool.FindMessageTypeByName(descriptor.name))

    def serialize(self, arrays: Sequence[pa.Array]) -> list[bytes]:
        """Return each row of the columns as its message's bytes."""
        columns = [read(array) for read, array in zip(self._readers, arrays, strict=True)]
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


def _reader(delta_type: DeltaType) -> _Reader:
    """Return what turns an array into values as protobuf's classes take them; None for null."""
    if isinstance(delta_type, Struct):
        return _struct_reader([_reader(field.type) for field in delta_type.fields])
    if isinstance(delta_type, Array):
        element = _reader(delta_type.element)
        return lambda array: _lists(array, element(array.values))
    if isinstance(delta_type, Map):
        key, value = _reader(delta_type.key), _reader(delta_type.value)
        return lambda array: _lists(array, _dicts([key(array.keys), value(array.items)], None))
    if isinstance(delta_type, Decimal):
        return _decimals
    return _scalar_reader(delta_type)


def _scalar_reader(delta_type: Primitive) -> _Reader:
    if delta_type in _INTEGERS:
        integer = _INTEGERS[delta_type]
        return lambda array: array.view(integer).to_pylist()
    if delta_type in (Primitive.STRING, Primitive.VARIANT):
        return lambda array: array.view(_BYTES[array.type.id]).to_pylist()
    return lambda array: array.to_pylist()


def _decimals(array: pa.Array) -> list[Any]:
    return [None if value is None else format(value, "f").encode() for value in array.to_pylist()]


def _struct_reader(readers: list[_Reader]) -> _Reader:
    def read(array: pa.Array) -> list[Any]:
        children = [reader(array.field(i)) for i, reader in enumerate(readers)]
        return _dicts(children, _validity(array))

    return read


def _validity(array: pa.Array) -> list[bool] | None:
    return array.is_valid().to_pylist() if array.null_count else None


def _dicts(children: list[list[Any]], valid: list[bool] | None) -> list[Any]:
    names = [f"f{i}" for i in range(len(children))]
    dicts = [dict(zip(names, values, strict=True)) for values in zip(*children, strict=True)]
    if valid is None:
        return dicts
    return [value if is_valid else None for value, is_valid in zip(dicts, valid, strict=True)]


def _lists(array: pa.Array, elements: list[Any]) -> list[Any]:
    lists: list[Any] = [elements[start:end] for start, end in pairwise(array.offsets.to_pylist())]
    valid = _validity(array)
    if valid is None:
        return lists
    return [value if is_valid else None for value, is_valid in zip(lists, valid, strict=True)]
