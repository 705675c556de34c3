"""Bound columns: a `Column` returns the pieces of any range of rows of a RecordBatch's column.

A column is bound once for each batch; it has views of Arrow's buffers and copies nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from beam_zerobus.encoding.decimals import plain_text
from beam_zerobus.encoding.proto.fixed import Fixed
from beam_zerobus.encoding.proto.lookup import Lookup
from beam_zerobus.encoding.proto.pieces import Mask, Piece, Word, extremes
from beam_zerobus.encoding.proto.strings import ONE_WIDTH, strings
from beam_zerobus.encoding.proto.validity import Validity, unpacked_bits
from beam_zerobus.encoding.proto.varint import fixed_width, signed_varint

__all__ = ["WORD_MEMORY", "Booleans", "Column", "Decimals", "Integers", "OneSize", "Strings", "buffer_view"]

WORD_MEMORY = 9
"""Bytes of memory for a word of a row: its bits and its length."""

_SAMPLE = 256
"""How many rows are examined to estimate whether a column has negative numbers, which need a second word."""


class Column(Protocol):
    """A column of the batch, a field of a struct, or the elements of a list."""

    def pieces(self, start: int, stop: int, above: Mask) -> Sequence[Piece]:
        """Return the bytes that rows start to stop add to their messages, in order.

        Args:
            start: The first row.
            stop: The row after the last; there is at least one row.
            above: Which rows the struct or list above has; see `Mask`.
        """
        ...

    @property
    def row_bytes(self) -> int:
        """Estimate the memory for encoding a row, its bytes included, to choose the size of chunks."""
        ...

    def varying_bytes(self, start: int, stop: int) -> int:
        """Estimate the memory for rows start to stop beyond `row_bytes`."""
        ...


class OneSize:
    """A column whose values have about the same length in all rows."""

    def varying_bytes(self, start: int, stop: int) -> int:  # noqa: ARG002 - the signature of `Column`
        """See `Column`."""
        return 0


class Integers(OneSize):
    """Whole numbers of any width, dates and timestamps."""

    def __init__(self, array: pa.Array, tag: Word, dtype: type[np.signedinteger]) -> None:
        self._values = buffer_view(array, 1, dtype)[array.offset : array.offset + len(array)]
        self._validity = Validity(array)
        self._tag = tag
        self._lookup: Lookup | None = None

    def pieces(self, start: int, stop: int, above: Mask) -> Sequence[Piece]:
        """See `Column`."""
        mask = self._validity.mask(start, stop, above)
        values = self._values[start:stop]
        lowest, highest = extremes(values)
        if self._lookup is None or not self._lookup.covers(lowest, highest):
            if not Lookup.is_faster(lowest, highest, len(values)):
                return signed_varint(values.astype(np.int64, copy=False), lowest, highest, self._tag, mask)
            self._lookup = Lookup(lowest, highest, self._tag)
        return self._lookup.pieces(values, mask)

    @property
    def row_bytes(self) -> int:
        """See `Column`."""
        has_negatives = self._values[:_SAMPLE].min(initial=0) < 0
        return WORD_MEMORY + self._tag.longest + (32 if has_negatives else 5)


class Booleans(OneSize):
    """Booleans, which Arrow stores as bits."""

    def __init__(self, array: pa.Array, tag: Word) -> None:
        self._bits = buffer_view(array, 1, np.uint8)
        self._offset = array.offset
        self._validity = Validity(array)
        self._tag = tag

    def pieces(self, start: int, stop: int, above: Mask) -> Sequence[Piece]:
        """See `Column`."""
        mask = self._validity.mask(start, stop, above)
        values = unpacked_bits(self._bits, self._offset + start, self._offset + stop)
        if mask is None:
            return [Fixed.of(self._tag, values)]
        return fixed_width(values.astype(np.uint64), 1, self._tag, mask)

    @property
    def row_bytes(self) -> int:
        """See `Column`."""
        return WORD_MEMORY + self._tag.longest + 1


class Strings:
    """Strings and binaries."""

    def __init__(self, array: pa.Array, tag: Word) -> None:
        large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
        offsets = buffer_view(array, 1, np.int64 if large else np.int32)
        self._offsets = offsets[array.offset : array.offset + len(array) + 1]
        self._source = buffer_view(array, 2, np.uint8)
        self._validity = Validity(array)
        self._tag = tag

    def pieces(self, start: int, stop: int, above: Mask) -> Sequence[Piece]:
        """See `Column`."""
        offsets = self._offsets[start : stop + 1].astype(np.int64, copy=False)
        return strings(self._source, offsets, self._tag, self._validity.mask(start, stop, above))

    @property
    def row_bytes(self) -> int:
        """See `Column`."""
        return 2 * WORD_MEMORY + self._tag.longest + 2

    def varying_bytes(self, start: int, stop: int) -> int:
        """See `Column`."""
        offsets = self._offsets[start : stop + 1]
        longest = int((offsets[1:] - offsets[:-1]).max(initial=0))
        if longest <= ONE_WIDTH:
            return longest * (stop - start)
        return 2 * WORD_MEMORY * (stop - start) + int(offsets[-1]) - int(offsets[0])


class Decimals(OneSize):
    """Decimals, which protobuf rows have as text."""

    def __init__(self, array: pa.Array, tag: Word) -> None:
        self._array = array
        self._tag = tag

    def pieces(self, start: int, stop: int, above: Mask) -> Sequence[Piece]:
        """See `Column`."""
        text = plain_text(self._array.slice(start, stop - start))
        return Strings(text, self._tag).pieces(0, stop - start, above)

    @property
    def row_bytes(self) -> int:
        """See `Column`."""
        return 3 * WORD_MEMORY + self._tag.longest + 10


def buffer_view(array: pa.Array, position: int, dtype: type[np.generic]) -> np.ndarray:
    """Return one of an array's buffers as numbers: the whole buffer, also if the array is a slice."""
    buffer = array.buffers()[position]
    if buffer is None:
        return np.empty(0, dtype)
    return np.frombuffer(buffer, dtype, buffer.size // np.dtype(dtype).itemsize)  # bytes may follow the numbers
