"""How large a RecordBatch is once it is decoded: a message of a few bytes may hold billions of values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.schema.soundness import children

__all__ = ["decoded_bytes"]

_NUMBERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
_TIMES = (pa.date32(), pa.date64(), pa.timestamp("us"))
_OTHERS = (pa.bool_(), pa.float32(), pa.float64(), pa.decimal128(38), pa.string(), pa.large_string(), pa.binary())
_ONLY_BUFFERS = frozenset(kind.id for kind in (*_NUMBERS, *_TIMES, *_OTHERS))  # the usual types, found at once
_MANY = 1 << 26  # an array of as many numbers needs 512 MiB


def decoded_bytes(batch: pa.RecordBatch) -> int:
    """Return the bytes of a sound batch whose dictionaries, runs and views are decoded, at least one a value.

    Nulls, runs, and structs without fields have a length and no buffers; values of a dictionary, or of views, are there
    once and used many times. A writer needs memory for each of them.

    Example:
        >>> decoded_bytes(pa.record_batch({"id": [1, 2, 3], "none": pa.nulls(3)}))  # 24 bytes, and 6 values
        30
        >>> decoded_bytes(pa.record_batch({"text": pa.array(["long " * 100] * 50).dictionary_encode()})) > 25_000
        True
    """
    kinds = enumerate(batch.schema.types)
    decoded = [_decoded(batch.column(index)) for index, kind in kinds if kind.id not in _ONLY_BUFFERS]
    return int(batch.get_total_buffer_size()) + batch.num_rows * max(batch.num_columns, 1) + int(sum(decoded))


def _decoded(array: pa.Array) -> float:
    """Return the bytes that an array has beyond those of its buffers."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        indices = _indices(array)
        return _used(array.dictionary, len(indices), lambda: np.bincount(indices, minlength=len(array.dictionary)))
    if pa.types.is_run_end_encoded(kind):
        return _used(array.values, len(array), lambda: np.diff(_ends(array), prepend=0))
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        starts, sizes = _bounds(array)
        once = np.ones(len(array))
        return _used(array.values, float(sizes.sum()), lambda: _covered(starts, sizes, once, len(array.values)))
    inside = sum(len(child) + _decoded(child) for child in children(array))
    return inside + (int(_lengths(array).sum()) if _is_view(kind) else 0)


def _used(values: pa.Array, count: float, times: Callable[[], np.ndarray]) -> float:
    """Return the bytes of values, each as many times as it is used, and at least one for each use.

    Args:
        values: The values.
        count: How many values are used; one that is used twice counts twice.
        times: Returns how many times each one is used, as an array as long as `values`.
    """
    kind, types = values.type, pa.types
    if _has_lengths(kind):
        return count + float(_lengths(values) @ times())
    is_encoded = types.is_dictionary(kind) or types.is_run_end_encoded(kind) or isinstance(kind, pa.BaseExtensionType)
    if not (types.is_nested(kind) or is_encoded):
        return count * (1 if types.is_null(kind) else 1 + kind.bit_width // 8)
    if types.is_union(kind) or not 0 < len(values) <= _MANY:  # no column of a table takes unions
        return count * (1 + (values.get_total_buffer_size() + _decoded(values)) // (len(values) or 1))
    inside = _inside(values, times().astype(np.float64))  # which has room for any product
    return count + sum(_used(child, float(each.sum()), partial(np.asarray, each)) for child, each in inside)


def _inside(values: pa.Array, times: np.ndarray) -> Iterator[tuple[pa.Array, np.ndarray]]:
    """Yield the arrays inside of one, and how many times each of their values is used."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        present = np.asarray(values.indices.is_valid())
        yield values.dictionary, np.bincount(_indices(values), times[present], len(values.dictionary))
    elif pa.types.is_run_end_encoded(kind):
        yield values.values, np.diff(np.append(0, times.cumsum())[_ends(values)], prepend=0)
    elif pa.types.is_struct(kind) or isinstance(kind, pa.BaseExtensionType):
        yield from ((child, times) for child in children(values))
    else:
        yield values.values, _covered(*_bounds(values), times, len(values.values))


def _indices(array: pa.Array) -> np.ndarray:
    """Return the indices of a sound dictionary without nulls, as int64: older versions of NumPy do not count uint64."""
    return array.indices.drop_null().to_numpy().astype(np.int64, copy=False)


def _ends(array: pa.Array) -> np.ndarray:
    """Return where the runs of an array end, within its length."""
    return np.clip(array.run_ends.to_numpy().astype(np.int64) - array.offset, 0, len(array))


def _bounds(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the first element of each list, and how many it has."""
    kind = array.type
    if pa.types.is_fixed_size_list(kind):
        size = kind.list_size
        return (array.offset + np.arange(len(array))) * size, np.full(len(array), size)
    offsets = np.asarray(array.offsets).astype(np.int64)
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return offsets, np.where(np.asarray(array.is_valid()), np.asarray(array.sizes).astype(np.int64), 0)
    return offsets[:-1], np.diff(offsets)


def _covered(starts: np.ndarray, sizes: np.ndarray, times: np.ndarray, length: int) -> np.ndarray:
    """Return how many times each element is in a list, if each list is used a number of times."""
    filled = sizes > 0
    starts, ends, times = starts[filled], (starts + sizes)[filled], times[filled]
    return (np.bincount(starts, times, length + 1) - np.bincount(ends, times, length + 1)).cumsum()[:length]


def _lengths(values: pa.Array) -> np.ndarray:
    """Return the bytes of each value of text or bytes."""
    if not len(values):
        return np.zeros(0, np.int64)
    if not _is_view(values.type):
        return pc.binary_length(values).fill_null(0).to_numpy().astype(np.int64)
    # Arrow has no such kernel for views; the length is the first of the four numbers of each.
    numbers = np.frombuffer(values.buffers()[1], np.int32, 4 * (values.offset + len(values)))
    lengths = numbers[4 * values.offset :: 4].astype(np.int64)
    return np.where(np.asarray(values.is_valid()), lengths, 0)


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


def _has_lengths(kind: pa.DataType) -> bool:
    types = pa.types
    is_text = types.is_string(kind) or types.is_large_string(kind)
    return bool(is_text or types.is_binary(kind) or types.is_large_binary(kind) or _is_view(kind))
