"""Binds the arrays of a RecordBatch to the fields of the table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
import pyarrow as pa

from beam_zerobus.encoding.proto.columns import Booleans, Column, Decimals, Integers, Strings
from beam_zerobus.encoding.proto.floats import FloatRun, Floats, SparseRun
from beam_zerobus.encoding.proto.nested import Lists, Messages
from beam_zerobus.encoding.proto.validity import Validity
from beam_zerobus.encoding.proto.varint import tag_word
from beam_zerobus.schema.types import Array, Decimal, DeltaType, Field, Map, Primitive, Struct

__all__ = ["bind_fields"]

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_SPARSE_COLUMNS, _MOST_SPARSE = 8, 48
_INTEGERS: dict[Primitive, type[np.signedinteger]] = {
    Primitive.TINYINT: np.int8,
    Primitive.SMALLINT: np.int16,
    Primitive.INT: np.int32,
    Primitive.BIGINT: np.int64,
    Primitive.DATE: np.int32,
    Primitive.TIMESTAMP: np.int64,
    Primitive.TIMESTAMP_NTZ: np.int64,
}


def bind_fields(arrays: Sequence[pa.Array], fields: Sequence[Field]) -> list[Column]:
    """Bind each array to its field, in the order of field numbers, in which protobuf writes them; no data is copied."""
    bound = [
        (field.number, _bind(array, field.type, field.number)) for array, field in zip(arrays, fields, strict=True)
    ]
    return _with_runs([column for _, column in sorted(bound, key=itemgetter(0))])


def _with_runs(columns: list[Column]) -> list[Column]:
    """Join neighbouring floats and doubles, which are faster together."""
    joined: list[Column] = []
    for _, group in groupby(columns, key=_kind_of_run):
        run = list(group)
        floats = [column for column in run if isinstance(column, Floats)]
        if floats and not floats[0].has_nulls:
            joined.append(FloatRun(floats))
        elif len(floats) >= _SPARSE_COLUMNS:
            joined += [SparseRun(floats[i : i + _MOST_SPARSE]) for i in range(0, len(floats), _MOST_SPARSE)]
        else:
            joined += run
    return joined


def _kind_of_run(column: Column) -> tuple[int, int]:
    """Return a key that is equal for columns of one run: with nulls, their widths must be equal."""
    if not isinstance(column, Floats):
        return 0, 0
    return (column.tag.longest, column.width) if column.has_nulls else (1, 0)


def _bind(array: pa.Array, delta_type: DeltaType, number: int) -> Column:
    if isinstance(delta_type, Struct):
        arrays = [array.field(i) for i in range(len(delta_type.fields))]
        return Messages(tag_word(number, _DELIMITED), bind_fields(arrays, delta_type.fields), Validity(array))
    if isinstance(delta_type, Array):
        return Lists(array, _bind(array.values, delta_type.element, number))
    if isinstance(delta_type, Map):
        pair = [_bind(array.keys, delta_type.key, 1), _bind(array.items, delta_type.value, 2)]
        return Lists(array, Messages(tag_word(number, _DELIMITED), pair))
    if isinstance(delta_type, Decimal):
        return Decimals(array, tag_word(number, _DELIMITED))
    return _bind_primitive(array, delta_type, number)


def _bind_primitive(array: pa.Array, delta_type: Primitive, number: int) -> Column:
    if delta_type in _INTEGERS:
        return Integers(array, tag_word(number, _VARINT), _INTEGERS[delta_type])
    if delta_type is Primitive.BOOLEAN:
        return Booleans(array, tag_word(number, _VARINT))
    if delta_type is Primitive.DOUBLE:
        return Floats(array, tag_word(number, _FIXED64), np.uint64)
    if delta_type is Primitive.FLOAT:
        return Floats(array, tag_word(number, _FIXED32), np.uint32)
    return Strings(array, tag_word(number, _DELIMITED))
