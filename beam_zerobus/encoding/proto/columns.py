"""Binding: a column of a RecordBatch becomes a `Column`, which gives the pieces of any range of its rows.

Bound once a batch, a column holds views of Arrow's buffers and copies nothing.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa

from beam_zerobus.encoding.decimals import plain_text
from beam_zerobus.encoding.proto.fixed import Fixed
from beam_zerobus.encoding.proto.pieces import Mask, Piece, Word
from beam_zerobus.encoding.proto.strings import strings
from beam_zerobus.encoding.proto.validity import Validity, unpacked_bits
from beam_zerobus.encoding.proto.varint import signed_varint, tagged

__all__ = ["Booleans", "Column", "Decimals", "Floats", "Integers", "Strings"]

_U64 = np.uint64


class Column(Protocol):
    """A column of the batch, a field of a struct, or the elements of a list."""

    def pieces(self, start: int, stop: int, above: Mask) -> list[Piece]:
        """Return what rows start to stop add to their messages, in order.

        Args:
            start: The first row.
            stop: The row after the last; there is at least one row.
            above: Which rows the struct or list above has; see `Mask`.
        """
        ...

    def weight(self, start: int, stop: int) -> int:
        """Estimate the bytes of rows start to stop, to choose chunks that fit the cache."""
        ...


class Integers:
    """Whole numbers of any width, dates and timestamps."""

    def __init__(self, array: pa.Array, tag: bytes, dtype: type[np.signedinteger]) -> None:
        self._values = _buffer(array, 1, dtype)[array.offset : array.offset + len(array)]
        self._validity = Validity(array)
        self._tag = tag

    def pieces(self, start: int, stop: int, above: Mask) -> list[Piece]:
        """See `Column`."""
        mask = self._validity.mask(start, stop, above)
        values = self._values[start:stop]
        numbers = values.astype(np.int64, copy=False) if mask is None else values & mask
        return signed_varint(numbers, self._tag, mask)

    def weight(self, start: int, stop: int) -> int:
        """See `Column`."""
        return (stop - start) * (len(self._tag) + 5)


class Floats:
    """Floats and doubles, bit by bit as they are."""

    def __init__(self, array: pa.Array, tag: bytes, dtype: type[np.unsignedinteger]) -> None:
        self._values = _buffer(array, 1, dtype)[array.offset : array.offset + len(array)]
        self._validity = Validity(array)
        self._tag = tag
        self._width = self._values.itemsize

    def pieces(self, start: int, stop: int, above: Mask) -> list[Piece]:
        """See `Column`."""
        mask = self._validity.mask(start, stop, above)
        values = self._values[start:stop]
        if mask is None:
            return [Fixed(self._tag + bytes(self._width), ((len(self._tag), values),))]
        return tagged(self._tag, [Word(values & mask.view(_U64), mask & self._width, self._width)], mask)

    def weight(self, start: int, stop: int) -> int:
        """See `Column`."""
        return (stop - start) * (len(self._tag) + self._width)


class Booleans:
    """Truth values, which Arrow keeps as bits."""

    def __init__(self, array: pa.Array, tag: bytes) -> None:
        self._bits = _buffer(array, 1, np.uint8)
        self._offset = array.offset
        self._validity = Validity(array)
        self._tag = tag

    def pieces(self, start: int, stop: int, above: Mask) -> list[Piece]:
        """See `Column`."""
        mask = self._validity.mask(start, stop, above)
        values = unpacked_bits(self._bits, self._offset + start, self._offset + stop)
        if mask is None:
            return [Fixed(self._tag + b"\0", ((len(self._tag), values),))]
        return tagged(self._tag, [Word(values & mask.view(_U64), mask & 1, 1)], mask)

    def weight(self, start: int, stop: int) -> int:
        """See `Column`."""
        return (stop - start) * (len(self._tag) + 1)


class Strings:
    """Strings and binaries."""

    def __init__(self, array: pa.Array, tag: bytes) -> None:
        large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
        offsets = _buffer(array, 1, np.int64 if large else np.int32)
        self._offsets = offsets[array.offset : array.offset + len(array) + 1]
        self._source = _buffer(array, 2, np.uint8)
        self._validity = Validity(array)
        self._tag = tag

    def pieces(self, start: int, stop: int, above: Mask) -> list[Piece]:
        """See `Column`."""
        offsets = self._offsets[start : stop + 1].astype(np.int64, copy=False)
        return strings(self._source, offsets, self._tag, self._validity.mask(start, stop, above))

    def weight(self, start: int, stop: int) -> int:
        """See `Column`."""
        return (stop - start) * (len(self._tag) + 2) + int(self._offsets[stop]) - int(self._offsets[start])


class Decimals:
    """Decimals, which travel as text."""

    def __init__(self, array: pa.Array, tag: bytes) -> None:
        self._array = array
        self._tag = tag

    def pieces(self, start: int, stop: int, above: Mask) -> list[Piece]:
        """See `Column`."""
        text = plain_text(self._array.slice(start, stop - start))
        return Strings(text, self._tag).pieces(0, stop - start, above)

    def weight(self, start: int, stop: int) -> int:
        """See `Column`."""
        return (stop - start) * (len(self._tag) + 10)


def _buffer(array: pa.Array, position: int, dtype: type[np.generic]) -> np.ndarray:
    buffer = array.buffers()[position]
    return np.empty(0, dtype) if buffer is None else np.frombuffer(buffer, dtype)
