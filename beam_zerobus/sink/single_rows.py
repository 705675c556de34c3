"""One row of a RecordBatch or Table as a RecordBatch or Table of its own, with memory for that row only.

A slice would keep, pickle and write all the rows that it is a part of, and not every Arrow type can be taken by index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import numpy as np
import pyarrow as pa

from beam_zerobus.schema.casts.base import from_views

__all__ = ["SingleRows", "single_row"]

_FIRST = pa.array([0])


@dataclass(frozen=True, slots=True, eq=False)
class SingleRows:
    """Some rows of a RecordBatch or Table, each of which would be an element: pickled and written together.

    Attributes:
        batch: The rows. A slice of one row, written as an Arrow IPC stream, has the memory for that row only.

    Example:
        >>> rows = SingleRows.of(pa.table({"id": [1, 2, 3]}), [0, 2])
        >>> len(rows), [row.to_pylist() for row in rows]
        (2, [[{'id': 1}], [{'id': 3}]])
    """

    batch: pa.RecordBatch

    @classmethod
    def of(cls, rows: pa.RecordBatch | pa.Table, indices: Sequence[int] | np.ndarray) -> SingleRows | None:
        """Return rows by index; None for types of which Arrow cannot take rows."""
        if not all(_can_be_taken(kind) for kind in rows.schema.types):
            return None
        taken = rows.take(pa.array(indices, pa.int64()))
        batches = taken.combine_chunks().to_batches() if isinstance(taken, pa.Table) else [taken]
        return cls(batches[0]) if len(batches) == 1 else None

    def __len__(self) -> int:
        return self.batch.num_rows

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return (single_row(self.batch, index) for index in range(len(self)))


def single_row(rows: pa.RecordBatch | pa.Table, index: int) -> pa.RecordBatch | pa.Table:
    """Return a copy of one row, in the same schema.

    Example:
        >>> single_row(pa.table({"id": [1, 2]}), 1).to_pylist()
        [{'id': 2}]
    """
    if isinstance(rows, pa.Table):
        columns = [_chunk_with(column, index) for column in rows.columns]
        return pa.Table.from_arrays(columns, schema=rows.schema)
    if all(_can_be_taken(kind) for kind in rows.schema.types):
        return rows.take(pa.array([index], pa.int64()))
    return pa.RecordBatch.from_arrays([_copy(column.slice(index, 1)) for column in rows.columns], schema=rows.schema)


def _chunk_with(column: pa.ChunkedArray, index: int) -> pa.Array:
    # Taking from a Table by index first joins all its chunks.
    (value,) = (chunk for chunk in column.slice(index, 1).chunks if len(chunk))
    return _copy(value)


def _copy(values: pa.Array) -> pa.Array:
    """Return a copy of an array that has nothing but its values."""
    if _can_be_taken(values.type):
        return values.take(_FIRST if len(values) == 1 else pa.array(range(len(values)), pa.int64()))
    return _copier(values.type)(values)


@cache
def _can_be_taken(kind: pa.DataType) -> bool:
    """Return whether `take` works for a type, and copies the values only."""
    if isinstance(kind, pa.BaseExtensionType):
        return _can_be_taken(kind.storage_type)
    if _is_list_view(kind) or _copier(kind) in (_dictionary, _run_ends, _view):
        return False
    return all(_can_be_taken(kind.field(number).type) for number in range(kind.num_fields))


def _copier(kind: pa.DataType) -> Callable[[pa.Array], pa.Array]:  # noqa: PLR0911 - one for each kind of type
    if isinstance(kind, pa.BaseExtensionType):
        return _extension
    if pa.types.is_dictionary(kind):
        return _dictionary
    if pa.types.is_run_end_encoded(kind):
        return _run_ends
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _view
    if pa.types.is_struct(kind):
        return _struct
    if pa.types.is_map(kind):
        return _map
    if _is_list_view(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _list
    return _fixed_size_list if pa.types.is_fixed_size_list(kind) else _joined


def _is_list_view(kind: pa.DataType) -> bool:
    return pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)


def _joined(values: pa.Array) -> pa.Array:
    return pa.concat_arrays([values, values.slice(0, 0)])


def _extension(values: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(values.type, _copy(values.storage))


def _dictionary(values: pa.Array) -> pa.Array:
    used: dict[int, int] = {}  # for each old index the new one
    indices = [None if index is None else used.setdefault(index, len(used)) for index in values.indices.to_pylist()]
    words = [_copy(values.dictionary.slice(index, 1)) for index in used] or [_copy(values.dictionary.slice(0, 0))]
    kind = values.type
    return pa.DictionaryArray.from_arrays(
        pa.array(indices, kind.index_type), pa.concat_arrays(words), ordered=kind.ordered
    )


def _run_ends(values: pa.Array) -> pa.Array:
    start, count = values.find_physical_offset(), values.find_physical_length()
    ends = values.run_ends.slice(start, count).to_pylist()
    ends = [min(end - values.offset, len(values)) for end in ends]
    runs = _copy(values.values.slice(start, count))
    return pa.RunEndEncodedArray.from_arrays(pa.array(ends, values.type.run_end_type), runs, values.type)


def _view(values: pa.Array) -> pa.Array:
    copied = _copy(from_views(values).cast(pa.large_binary())).cast(pa.binary_view())
    return copied if pa.types.is_binary_view(values.type) else copied.view(values.type)


def _struct(values: pa.Array) -> pa.Array:
    children = [_copy(values.field(number)) for number in range(values.type.num_fields)]
    return pa.StructArray.from_arrays(children, fields=list(values.type), mask=_nulls(values))


def _map(values: pa.Array) -> pa.Array:
    start, stop = values.offsets[0].as_py(), values.offsets[-1].as_py()
    offsets = pa.array([offset - start for offset in values.offsets.to_pylist()], pa.int32())
    keys, items = (_copy(part.slice(start, stop - start)) for part in (values.keys, values.items))
    return pa.MapArray.from_arrays(offsets, keys, items, type=values.type, mask=_nulls(values))


def _list(values: pa.Array) -> pa.Array:
    lists = [value.values if value.is_valid else None for value in values]
    lengths = [0 if inner is None else len(inner) for inner in lists]
    parts = [_copy(inner) for inner in lists if inner is not None] or [_copy(values.values.slice(0, 0))]
    inner = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
    kind = values.type
    large = pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind)
    offsets = pa.array([0, *accumulate(lengths)], pa.int64() if large else pa.int32())
    if _is_list_view(kind):
        sizes = pa.array(lengths, offsets.type)
        return type(values).from_arrays(offsets.slice(0, len(values)), sizes, inner, type=kind, mask=_nulls(values))
    return type(values).from_arrays(offsets, inner, type=kind, mask=_nulls(values))


def _fixed_size_list(values: pa.Array) -> pa.Array:
    size = values.type.list_size
    inner = _copy(values.values.slice(values.offset * size, len(values) * size))
    return pa.FixedSizeListArray.from_arrays(inner, type=values.type, mask=_nulls(values))


def _nulls(values: pa.Array) -> pa.Array | None:
    return values.is_null() if values.null_count else None
