"""Arrays of a table's canonical types as those of its Arrow Flight stream."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.encoding.decimals import plain_text
from beam_zerobus.schema.lists import inside_lists, shown_children
from beam_zerobus.schema.reasons import Place, Reason, RowErrorType
from beam_zerobus.variant import MAX_DEPTH, VARIANT_TYPE, Problem, encode_json

__all__ = ["must_be_rebuilt", "to_stream_type"]

_PROBLEMS = {
    Problem.NOT_JSON: (RowErrorType.INVALID_JSON, "correct the row"),
    Problem.DUPLICATE_KEY: (RowErrorType.INVALID_JSON, "drop one of them"),
    Problem.TOO_DEEP: (RowErrorType.INVALID_JSON, f"use at most {MAX_DEPTH} arrays and objects inside each other"),
    Problem.INEXACT: (RowErrorType.INEXACT, "send the number as text"),
    Problem.LONE_SURROGATE: (RowErrorType.INVALID_UTF8, "correct the row"),
}


def to_stream_type(array: pa.Array, target: pa.DataType, path: str, place: Place) -> pa.Array:
    """Convert an array.

    Args:
        array: Values of a canonical type, which `beam_zerobus.schema.canonical_type` gives.
        target: The type in the stream.
        path: The path of the column, for messages.
        place: Gets the rows whose JSON has no Variant; their values become null.
    """
    if array.type == target and not must_be_rebuilt(array, target):
        return array
    if target == VARIANT_TYPE:
        return _to_variant(array, path, place)
    if pa.types.is_decimal(array.type):
        return plain_text(array)
    if pa.types.is_nested(target):
        return _to_nested(array, target, path, place)
    return array.cast(target) if len(array) else pa.array([], target)


def must_be_rebuilt(array: pa.Array, target: pa.DataType) -> bool:
    """Return whether Arrow's library for Rust, and so the SDK, fails on an array that is valid for pyarrow."""
    return _has_odd_offsets(array) or _hides_nulls(array, target)


def _has_odd_offsets(array: pa.Array) -> bool:
    """Return whether an array holds no text, but some bytes of an offset.

    `pyarrow.nulls` makes such children of lists and maps; the SDK panics on them (measured, pyarrow 25 and SDK 1.10.0).
    """
    kind = array.type
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        offsets = array.buffers()[1]
        return not len(array) and offsets is not None and offsets.size % 8 != 0
    if pa.types.is_struct(kind):
        return any(_has_odd_offsets(array.field(i)) for i in range(kind.num_fields))
    if pa.types.is_map(kind):
        return _has_odd_offsets(array.keys) or _has_odd_offsets(array.items)
    return pa.types.is_list(kind) and _has_odd_offsets(array.values)


def _hides_nulls(array: pa.Array, target: pa.DataType) -> bool:
    """Return whether a NOT NULL field of a valid struct is null; something null around the struct must hide it.

    The SDK looks at such a struct by itself, and rejects the whole batch (measured, SDK 1.10.0).
    """
    if target == VARIANT_TYPE or not pa.types.is_nested(target):
        return False
    if pa.types.is_struct(target):
        children = [(array.field(i), field) for i, field in enumerate(target)]
        return any(
            not field.nullable and child.null_count and pc.any(pc.and_(array.is_valid(), child.is_null())).as_py()
            for child, field in children
        ) or any(_hides_nulls(child, field.type) for child, field in children)
    _, start, length = shown_children(array)
    if pa.types.is_map(target):
        return _hides_nulls(array.items.slice(start, length), target.item_type)
    return _hides_nulls(array.values.slice(start, length), target.value_type)


def _without_hidden(array: pa.Array) -> pa.Array:
    """Return an array whose nulls hide nothing but nulls."""
    return array.take(pa.array(np.arange(len(array)), mask=np.asarray(array.is_null())))


def _to_variant(array: pa.Array, path: str, place: Place) -> pa.Array:
    variants, problems = encode_json(array)
    for problem in set(problems.values()):
        error_type, remedy = _PROBLEMS[problem]
        message = f"column {path!r} is VARIANT: the JSON text in the row {problem.value}; {remedy}"
        positions = [position for position, found in problems.items() if found is problem]
        place.reject_at(np.array(positions), Reason(error_type, message))
    return variants


def _to_nested(array: pa.Array, target: pa.DataType, path: str, place: Place) -> pa.Array:
    """Rebuild the array from cast children: Arrow's own nested casts reject a change of nullability."""
    if array.null_count and _hides_nulls(array, target):
        array = _without_hidden(array)
    mask = array.is_null() if array.null_count else None
    if pa.types.is_struct(target):
        inside = place.inside(lambda positions: positions[np.asarray(array.is_valid())[positions]])
        children = [
            to_stream_type(array.field(i), field.type, f"{path}.{field.name}", inside) for i, field in enumerate(target)
        ]
        return pa.StructArray.from_arrays(children, fields=list(target), mask=mask)
    shown, start, length = shown_children(array)
    offsets = pa.array(shown, pa.int32())
    inside = inside_lists(place, array, shown)
    if pa.types.is_map(target):
        keys = to_stream_type(array.keys.slice(start, length), target.key_type, f"{path}.key", inside)
        items = to_stream_type(array.items.slice(start, length), target.item_type, f"{path}.value", inside)
        return pa.MapArray.from_arrays(offsets, keys, items, type=target, mask=mask)
    values = to_stream_type(array.values.slice(start, length), target.value_type, f"{path}.element", inside)
    return pa.ListArray.from_arrays(offsets, values, type=target, mask=mask)
