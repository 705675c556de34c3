"""Arrow's validity bitmaps as masks for the rows of a chunk."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from beam_zerobus.encoding.proto.pieces import Mask

__all__ = ["Validity", "unpacked_bits"]


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

    def present(self, start: int, stop: int, above: Mask) -> np.ndarray:
        """Return 1 or 0 for rows start to stop (uint8); rows that a struct or list above hides are 0."""
        if self._bitmap is None:
            valid = np.ones(stop - start, np.uint8)
        else:
            valid = unpacked_bits(self._bitmap, self._offset + start, self._offset + stop)
        return valid if above is None else valid & above

    def mask(self, start: int, stop: int, above: Mask) -> Mask:
        """Return the mask of rows start to stop, including rows that a struct or list above hides."""
        if self._bitmap is None:
            return above
        valid = unpacked_bits(self._bitmap, self._offset + start, self._offset + stop)
        if np.count_nonzero(valid) == stop - start:
            return above
        mask = np.negative(valid, out=valid)
        return mask if above is None else mask & above
