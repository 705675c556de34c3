"""Rows of a buffer to a list of `bytes`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from beam_zerobus.encoding.proto.assembly import Rows
from beam_zerobus.encoding.proto.pieces import as_array
from beam_zerobus.encoding.proto.strings import wide_items

__all__ = ["to_bytes"]

_INLINE = 12
"""Up to so many bytes Arrow holds in the view itself, instead of where they stand."""


def to_bytes(rows: Rows) -> list[bytes]:
    """Return each row as an object of its own.

    Rows of one length go through numpy's items of raw bytes. Others become Arrow's binary views (length, first four
    bytes, buffer, place in it), which may leave gaps; the object array from that is the quickest list of bytes.
    """
    if isinstance(rows.lengths, int):
        return _equally_long(rows, rows.lengths)
    views = np.empty((len(rows.lengths), 4), np.int32)
    views[:, 0] = rows.lengths
    views[:, 2] = 0
    views[:, 3] = as_array(rows.starts)
    if int(rows.lengths.min()) <= _INLINE:
        short = np.flatnonzero(rows.lengths <= _INLINE)
        inline = wide_items(rows.buffer, as_array(rows.starts)[short], _INLINE)
        views[short, 1:] = inline.view(np.int32).reshape(-1, 3)
    buffers = [None, pa.py_buffer(views), pa.py_buffer(rows.buffer)]
    array = pa.Array.from_buffers(pa.binary_view(), len(views), buffers)
    records: list[bytes] = array.to_numpy(zero_copy_only=False).tolist()
    return records


def _equally_long(rows: Rows, length: int) -> list[bytes]:
    count = len(rows.starts)
    if length == 0:
        return [b""] * count
    first, step = int(rows.starts[0]), int(rows.starts[1] - rows.starts[0]) if count > 1 else 1
    records: list[bytes] = np.ndarray((count,), f"V{length}", rows.buffer, first, (step,)).tolist()
    return records
