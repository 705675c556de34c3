"""Arrow's validity bitmaps as masks of a chunk's rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from beam_zerobus.encoding.proto.pieces import Mask

__all__ = ["Validity", "both", "unpacked_bits"]


def unpacked_bits(bitmap: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return bits start to stop as bytes of 0 and 1."""
    first = start >> 3
    return np.unpackbits(bitmap[first : (stop + 7) >> 3], bitorder="little")[start & 7 : stop - 8 * first]


class Validity:
    """Which of an array's values are not null."""

    __slots__ = ("_bitmap", "_offset")

    def __init__(self, array: pa.Array) -> None:
        self._offset = array.offset
        buffer = array.buffers()[0] if array.null_count else None
        self._bitmap = None if buffer is None else np.frombuffer(buffer, np.uint8)

    def mask(self, start: int, stop: int, above: Mask) -> Mask:
        """Return the mask of rows start to stop, hidden ones of the struct or list above included."""
        if self._bitmap is None:
            return above
        valid = unpacked_bits(self._bitmap, self._offset + start, self._offset + stop)
        if valid.all():
            return above
        mask = np.negative(valid, dtype=np.int64)
        return both(mask, above)


def both(mask: Mask, other: Mask) -> Mask:
    """Combine masks: a row has a value where both say so."""
    if mask is None or other is None:
        return other if mask is None else mask
    return mask & other
