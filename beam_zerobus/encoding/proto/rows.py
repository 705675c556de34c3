"""Rows in a buffer to a list of `bytes`, or to contiguous memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from beam_zerobus.encoding.proto.assembly import Rows
from beam_zerobus.encoding.proto.pieces import as_array

__all__ = ["joined", "to_bytes"]

_EVERY_OTHER = bytes([0b01010101]) * 16_384


def to_bytes(rows: Rows) -> list[bytes]:
    """Return a `bytes` object for each row.

    Rows of equal length are items of raw bytes in numpy. Other rows become Arrow's binary values, rows and gaps in
    turn, the gaps null: every other item of numpy's object array of them is the fastest list of bytes (measured).
    """
    count = len(rows.starts)
    if isinstance(rows.lengths, int):
        return _equally_long(rows, rows.lengths, count)
    records: list[bytes] = _rows_and_gaps(rows, rows.lengths, count).to_numpy(zero_copy_only=False)[::2].tolist()
    return records


def joined(rows: Rows) -> memoryview:
    """Return a copy of the rows without gaps."""
    count = len(rows.starts)
    if count == 1 or isinstance(rows.lengths, int):
        return memoryview(b"".join(to_bytes(rows)))
    kept = _rows_and_gaps(rows, rows.lengths, count).drop_null()
    return memoryview(kept.buffers()[2])[: int(rows.lengths.sum())]


def _rows_and_gaps(rows: Rows, lengths: np.ndarray, count: int) -> pa.Array:
    starts = as_array(rows.starts)
    offsets = np.empty(2 * count, np.int32)
    offsets[::2] = starts
    np.add(starts, lengths, out=offsets[1::2], casting="same_kind")
    values = 2 * count - 1
    buffers = [_every_other(values), pa.py_buffer(offsets), pa.py_buffer(rows.buffer)]
    return pa.Array.from_buffers(pa.binary(), values, buffers, null_count=count - 1)


def _every_other(values: int) -> pa.Buffer:
    size = (values + 7) // 8
    return pa.py_buffer(_EVERY_OTHER if size <= len(_EVERY_OTHER) else _EVERY_OTHER[:1] * size)


def _equally_long(rows: Rows, length: int, count: int) -> list[bytes]:
    if length == 0:
        return [b""] * count
    first, step = int(rows.starts[0]), int(rows.starts[1] - rows.starts[0]) if count > 1 else 1
    records: list[bytes] = np.ndarray((count,), f"V{length}", rows.buffer, first, (step,)).tolist()
    return records
