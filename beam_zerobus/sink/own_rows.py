"""Copies of slices of RecordBatches and Tables, without the memory of the rows around them."""

from __future__ import annotations

from typing import TypeVar

import pyarrow as pa
from pyarrow import types

__all__ = ["own_rows"]

_Rows = TypeVar("_Rows", pa.RecordBatch, pa.Table)


def own_rows(rows: _Rows) -> _Rows:
    """Return rows with memory for them only: a copy, where they may be a part of others.

    Dictionaries stay whole, and so does the text of string views inside nested columns.

    Example:
        >>> part = pa.record_batch({"id": range(1_000)}).slice(500, 10)
        >>> part.get_total_buffer_size(), own_rows(part).get_total_buffer_size()
        (8000, 80)
    """
    is_table = isinstance(rows, pa.Table)
    batches = rows.to_batches() if is_table else [rows]
    if not any(map(_is_part, batches)):
        return rows
    copied = pa.BufferOutputStream()
    try:
        with pa.ipc.new_stream(copied, rows.schema) as stream:
            for batch in batches:
                stream.write_batch(_with_own_text(batch))
    except pa.ArrowException:  # such as for more than 2^31 rows, which are possible in run ends
        return rows
    with pa.ipc.open_stream(copied.getvalue()) as stream:
        # An extension type that is not registered is read as what it is stored as.
        if not stream.schema.equals(rows.schema, check_metadata=True):
            return rows
        return stream.read_all() if is_table else stream.read_next_batch()


def _is_part(batch: pa.RecordBatch) -> bool:
    """Return whether a batch may be a slice; with text or lists each may, as `nbytes` leaves their last offset out."""
    try:
        return bool(batch.get_total_buffer_size() > batch.nbytes)
    except pa.ArrowTypeError:  # pyarrow before 23 does not measure views
        return True


def _with_own_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Copy the text of views, all of which IPC would write, whichever of it their rows use."""
    if not any(map(_is_view, batch.schema.types)):
        return batch
    columns = [
        column.cast(pa.large_binary()).cast(pa.binary_view()).view(column.type) if _is_view(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _is_view(kind: pa.DataType) -> bool:
    return types.is_string_view(kind) or types.is_binary_view(kind)
