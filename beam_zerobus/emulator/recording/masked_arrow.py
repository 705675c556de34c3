"""Arrow batches with other content of the same shape."""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from beam_zerobus.emulator.recording.masked_text import masked_text
from beam_zerobus.variant import MalformedVariantError, decode_variants, encode_json

__all__ = ["masked_array", "split"]


def split(batch: pa.RecordBatch) -> tuple[bytes, bytes]:
    """Return header and body of a batch, as Flight carries them."""
    message = batch.serialize().to_pybytes()
    (length,) = struct.unpack_from("<i", message, 4)
    return message[8 : 8 + length], message[8 + length :]


def masked_array(array: pa.Array) -> pa.Array:  # noqa: PLR0911 - one for each type
    """Return an array of the same type, with the same nulls and lengths.

    Example:
        >>> masked_array(pa.array(["ab", None])).to_pylist(), masked_array(pa.array([[5, 6], []])).to_pylist()
        (['xx', None], [[1, 1], []])
    """
    kind = array.type
    if _is_variant(kind):
        return _masked_variants(array)
    if pt.is_map(kind):
        # Keys become 0, 1, 2 ...: they must differ, and what they hide does not matter.
        rows = [
            None if row is None else [(_key(kind.key_type, index), value) for index, (_, value) in enumerate(row)]
            for row in array.to_pylist()
        ]
        entries = pa.array(rows, kind)
        items = masked_array(entries.items)
        return _with_nulls(pa.MapArray.from_arrays(entries.offsets, entries.keys, items, type=kind), array)
    if pt.is_list(kind) or pt.is_large_list(kind):
        values = masked_array(array.flatten())
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        ends = pa.array(
            [0, *pc.cumulative_sum(lengths).to_pylist()], pa.int64() if pt.is_large_list(kind) else pa.int32()
        )
        made = pa.LargeListArray if pt.is_large_list(kind) else pa.ListArray
        return _with_nulls(made.from_arrays(ends, values, type=kind), array)
    if pt.is_struct(kind):
        children = [masked_array(pc.struct_field(array, [index])) for index in range(kind.num_fields)]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=array.is_null())
    if pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind):
        return pa.array([None if one is None else masked_text(one) for one in array.to_pylist()], kind)
    if pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_binary_view(kind) or pt.is_fixed_size_binary(kind):
        return pa.array([None if one is None else b"x" * len(one) for one in array.to_pylist()], kind)
    return _masked_scalars(array)


def _masked_scalars(array: pa.Array) -> pa.Array:
    kind = array.type
    if pt.is_null(kind):
        return array
    one: Any = True if pt.is_boolean(kind) else Decimal(1).scaleb(-kind.scale) if pt.is_decimal(kind) else 1
    try:
        constant = pa.scalar(one, kind)
    except (pa.ArrowException, TypeError, ValueError):
        return pa.nulls(len(array), kind)  # no column of a table has such a type
    return _with_nulls(pa.repeat(constant, len(array)), array)


def _with_nulls(values: pa.Array, like: pa.Array) -> pa.Array:
    return pc.if_else(like.is_valid(), values, pa.scalar(None, values.type)) if like.null_count else values


def _key(kind: pa.DataType, index: int) -> Any:
    if pt.is_string(kind) or pt.is_large_string(kind):
        return str(index)
    if pt.is_binary(kind) or pt.is_large_binary(kind):
        return str(index).encode()
    return bool(index) if pt.is_boolean(kind) else Decimal(index).scaleb(-kind.scale) if pt.is_decimal(kind) else index


def _is_variant(kind: pa.DataType) -> bool:
    return (
        pt.is_struct(kind)
        and {field.name for field in kind} == {"metadata", "value"}
        and all(pt.is_large_binary(field.type) or pt.is_binary(field.type) for field in kind)
    )


def _masked_variants(array: pa.Array) -> pa.Array:
    try:
        texts = decode_variants(array).to_pylist()
    except MalformedVariantError:
        return pa.nulls(len(array), array.type)
    masked = pa.array([None if text is None else masked_text(text) for text in texts], pa.string())
    return encode_json(masked)[0].cast(array.type)
