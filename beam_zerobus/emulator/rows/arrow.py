"""Arrow Flight rows: the stream's schema checked against the table, and each batch brought to the table's types."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.rows.columns import BadValueError, check_nulls
from beam_zerobus.emulator.rows.protobuf import decimals, variants
from beam_zerobus.schema import Array, Decimal, DeltaType, Field, Map, Primitive, Struct, TableSchema
from beam_zerobus.schema.arrow import canonical_type, flight_type

__all__ = ["ArrowReader"]

_CONTINUATION = b"\xff\xff\xff\xff"
_CONVERSION_ERRORS = (pa.ArrowException, ValueError, TypeError)


def _ipc_message(header: bytes, body: bytes) -> pa.Message:
    """Rebuild the IPC message that Flight carries in two parts; raises `pa.ArrowInvalid` where it is none."""
    padding = b"\0" * (-len(header) % 8)
    length = struct.pack("<i", len(header) + len(padding))
    return pa.ipc.read_message(pa.py_buffer(b"".join((_CONTINUATION, length, header, padding, body))))


class ArrowReader:
    """Reads the batches of one stream.

    Args:
        schema: The table's columns.
        header: The header of the stream's first message, its schema.

    Raises:
        Rejection: The stream's schema does not fit the table; names the column.
    """

    def __init__(self, schema: TableSchema, header: bytes) -> None:
        try:
            self._stream_schema = pa.ipc.read_schema(_ipc_message(header, b""))
        except (pa.ArrowException, OSError):
            raise Rejection.invalid("the first message of an Arrow stream must hold its schema", number=8001) from None
        self._schema = schema.to_canonical_arrow()
        self._fields = schema.columns
        _check_fields(schema.columns, list(self._stream_schema), "")

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
            Rejection: The message is no batch of the stream's schema.
        """
        try:
            batch = pa.ipc.read_record_batch(_ipc_message(header, body), self._stream_schema)
        except (pa.ArrowException, OSError):
            raise Rejection.invalid("the message holds no RecordBatch of the stream's schema") from None
        return batch


def _reject(path: str, reason: str) -> Rejection:
    return Rejection.invalid(f"column '{path}' {reason}", number=8001)


def _check_fields(fields: tuple[Field, ...], carried: list[pa.Field], parent: str) -> None:
    by_name = {field.name: field for field in carried}
    if len(by_name) < len(carried):
        raise _reject(parent.rstrip(".") or carried[0].name, "stands twice in the stream's schema")
    unknown = by_name.keys() - {field.name for field in fields}
    if unknown:
        raise _reject(parent + min(unknown), "is in the stream's schema, but not in the table")
    for field in fields:
        carrier = by_name.get(field.name)
        if carrier is not None:
            _check_type(field.type, carrier.type, parent + field.name)
        elif not field.nullable:
            raise _reject(parent + field.name, "is NOT NULL and missing from the stream's schema")


def _check_type(delta_type: DeltaType, arrow_type: pa.DataType, path: str) -> None:
    """Compare types by their parts, because a stream may call a field nullable that is NOT NULL in the table."""
    match delta_type:
        case Array(element, _) if pa.types.is_list(arrow_type):
            _check_type(element, arrow_type.value_type, f"{path}.element")
        case Map(key, value, _) if pa.types.is_map(arrow_type):
            _check_type(key, arrow_type.key_type, f"{path}.key")
            _check_type(value, arrow_type.item_type, f"{path}.value")
        case Struct(fields) if pa.types.is_struct(arrow_type):
            _check_fields(fields, list(arrow_type), f"{path}.")
        case _ if flight_type(delta_type) != arrow_type:
            raise _reject(
                path,
                f"has the incompatible type {arrow_type} in the stream's schema: "
                f"{delta_type} needs {flight_type(delta_type)}",
            )


def _column(field: Field, array: pa.Array) -> pa.Array:
    try:
        return _convert(field.type, array, field.name)
    except BadValueError as error:
        raise Rejection.invalid(f"column '{error.path}' {error.reason}") from None


def _convert(delta_type: DeltaType, array: pa.Array, path: str) -> pa.Array:
    target = canonical_type(delta_type)
    match delta_type:
        case Decimal() | Primitive.VARIANT:
            try:
                return decimals(array, target) if isinstance(delta_type, Decimal) else variants(array.to_pylist())
            except _CONVERSION_ERRORS:
                raise BadValueError(path, f"is {delta_type} and has a value that does not fit it") from None
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
            return array


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
