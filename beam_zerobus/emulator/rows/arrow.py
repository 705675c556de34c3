"""Arrow Flight rows: the stream's schema checked against the table, and each batch converted to the table's types."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.rows.arrow_schema import check_schema
from beam_zerobus.emulator.rows.columns import BadValueError, check_nulls
from beam_zerobus.emulator.rows.ipc import read_batch, read_schema
from beam_zerobus.emulator.rows.scalars import check_years, decimals
from beam_zerobus.schema import Array, Decimal, DeltaType, Field, Map, Primitive, Struct, TableSchema
from beam_zerobus.schema.arrow import canonical_type
from beam_zerobus.variant import MalformedVariantError, decode_variants

__all__ = ["ArrowReader"]

_CONVERSION_ERRORS = (pa.ArrowException, ValueError, TypeError)


class ArrowReader:
    """Reads the batches of one stream.

    Args:
        schema: The table's columns.
        header: The header of the stream's first message, its schema.

    Raises:
        Rejection: The stream's schema does not fit the table; names the column.
    """

    def __init__(self, schema: TableSchema, header: bytes) -> None:
        self._stream_schema = read_schema(header)
        self._schema = schema.to_canonical_arrow()
        self._fields = schema.columns
        check_schema(schema.columns, self._stream_schema)

    def convert(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return a batch in the table's types.

        Raises:
            Rejection: A value does not fit its column, or is missing in a NOT NULL column.
        """
        try:
            batch.validate(full=True)
        except pa.ArrowException:
            raise Rejection.invalid("the RecordBatch breaks the rules of its own types, such as UTF-8") from None
        columns = []
        for field, target in zip(self._fields, self._schema, strict=True):
            index = self._stream_schema.get_field_index(field.name)
            array = pa.nulls(batch.num_rows, target.type) if index < 0 else _column(field, batch.column(index))
            check_nulls(field, array)
            columns.append(array)
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def batch(self, header: bytes, body: bytes) -> pa.RecordBatch:
        """Return a batch as the client sent it.

        Raises:
            Rejection: The message is not a batch of the stream's schema, or is too large.
        """
        return read_batch(header, body, self._stream_schema)


def _column(field: Field, array: pa.Array) -> pa.Array:
    try:
        return _convert(field.type, array, field.name)
    except BadValueError as error:
        record, error = _first_problem(field, array, error)
        raise Rejection.invalid(f"column '{error.path}' {error.reason} (record {record})") from None


def _first_problem(field: Field, array: pa.Array, error: BadValueError) -> tuple[int, BadValueError]:
    """Halve the rows until the first bad one is found; return it with its error."""
    first, last = 0, len(array)
    while last - first > 1:
        middle = (first + last) // 2
        try:
            _convert(field.type, array.take(pa.array(range(first, middle))), field.name)
            first = middle
        except BadValueError as problem:
            error, last = problem, middle
    return first, error


def _convert(delta_type: DeltaType, array: pa.Array, path: str) -> pa.Array:
    target = canonical_type(delta_type)
    match delta_type:
        case Decimal():
            try:
                return decimals(array, target)
            except _CONVERSION_ERRORS:
                raise BadValueError(path, f"is {delta_type} and has a value that does not fit it") from None
        case Primitive.VARIANT:
            try:
                return decode_variants(array)
            except MalformedVariantError as error:
                raise BadValueError(path, f"is {delta_type} and has a value that {error}") from None
        case Array(element, contains_null):
            elements = _convert(element, array.flatten(), f"{path}.element")
            if elements.null_count and not contains_null:
                raise BadValueError(path, "has a null element, which its type does not allow")
            return pa.ListArray.from_arrays(_offsets(array, pc.list_value_length(array)), elements, type=target)
        case Map(key, value, value_contains_null):
            # A map is a list of entries; flattening that drops what null maps hide.
            as_list = pa.ListArray.from_arrays(
                array.offsets, pa.StructArray.from_arrays([array.keys, array.items], names=["k", "v"])
            )
            if array.null_count:
                as_list = pc.if_else(array.is_valid(), as_list, pa.scalar(None, as_list.type))
            entries = as_list.flatten()
            values = _convert(value, entries.field(1), f"{path}.value")
            if values.null_count and not value_contains_null:
                raise BadValueError(path, "has a null value in the map, which its type does not allow")
            offsets = _offsets(array, pc.list_value_length(as_list))
            return pa.MapArray.from_arrays(offsets, _convert(key, entries.field(0), f"{path}.key"), values, type=target)
        case Struct(fields):
            return _convert_struct(fields, array, target, path)
        case _:
            return check_years(delta_type, array, path)


def _convert_struct(fields: tuple[Field, ...], array: pa.StructArray, target: pa.DataType, path: str) -> pa.Array:
    valid = array.is_valid()
    children = []
    for field in fields:
        index = array.type.get_field_index(field.name)
        if index < 0:
            child = pa.nulls(len(array), canonical_type(field.type))
        else:
            child = _convert(field.type, array.field(index), f"{path}.{field.name}")
        if not field.nullable and child.null_count and pc.any(pc.and_(child.is_null(), valid)).as_py():
            raise BadValueError(f"{path}.{field.name}", "is NOT NULL and has no value")
        children.append(child)
    return pa.StructArray.from_arrays(
        children, fields=list(target), mask=pc.invert(valid) if array.null_count else None
    )


def _offsets(array: pa.Array, lengths: pa.Array) -> pa.Array:
    ends = np.zeros(len(array) + 1, np.int32)
    np.cumsum(lengths.fill_null(0).to_numpy(zero_copy_only=False), out=ends[1:])
    if not array.null_count:
        return pa.array(ends)
    return pa.array(ends, mask=np.append(array.is_null().to_numpy(zero_copy_only=False), False))
