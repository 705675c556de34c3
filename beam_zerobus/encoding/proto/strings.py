"""Pieces of strings and binaries: bytes of any length, copied from Arrow's own buffer.

Numpy is fastest when it copies the same number of bytes for every row. So short strings are all copied with the length
of the longest (the next piece overwrites the excess after the shorter ones), longer ones in classes of 2**k to 2**(k+1)
bytes, each as two copies of 2**k bytes that overlap, and the longest as one slice each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from beam_zerobus.encoding.proto.pieces import Lengths, Mask, Piece, Places, Word, as_array, extremes, store
from beam_zerobus.encoding.proto.varint import constant, unsigned_varint, varint_bytes

__all__ = ["ONE_WIDTH", "Bytes", "Short", "strings"]

ONE_WIDTH = 512
"""Up to this length it is faster to copy the longest length for all rows than to sort them by size."""

_BLOCK_BYTES = 1 << 20
"""Bytes copied at a time, to limit the memory; smaller blocks are not faster."""

_SLICES = 16 << 10
"""From this length a call of numpy for each string takes less time than the copy itself."""


@dataclass(slots=True, eq=False)
class Bytes:
    """A reference to bytes for each row.

    Attributes:
        source: The buffer (uint8).
        starts: The position of each row's bytes in the buffer; a range is copied with a stride.
        lengths: The number of bytes of each row.
        longest: The greatest length.
    """

    source: np.ndarray
    starts: Places
    lengths: Lengths
    longest: int

    @property
    def excess(self) -> int:
        """The bytes after the end of the shortest."""
        return self.longest if self._one_width and not isinstance(self.lengths, int) else 0

    @property
    def excess_after_longest(self) -> int:
        """None."""
        return 0

    @property
    def _one_width(self) -> bool:
        return self.longest <= ONE_WIDTH or isinstance(self.lengths, int)

    def write(self, out: np.ndarray, at: Places) -> None:
        """Copy each row's bytes."""
        if self._one_width:
            self._write_one_width(out, at)
            return
        at = as_array(at)
        exponent = np.frexp(self.lengths)[1]  # 2**(exponent - 1) <= length < 2**exponent
        for size_class in np.flatnonzero(np.bincount(exponent)).tolist():
            if size_class > 0:
                rows = np.flatnonzero(exponent == size_class)
                self._write_class(out, at[rows], rows, 1 << size_class - 1)

    def _write_one_width(self, out: np.ndarray, at: Places) -> None:
        if isinstance(self.starts, range):
            store(out, at, wide_items(self.source, self.starts, self.longest))
            return
        for block in _blocks(len(at), self.longest):
            store(out, at[block], wide_items(self.source, self.starts[block], self.longest))

    def _write_class(self, out: np.ndarray, at: np.ndarray, rows: np.ndarray, width: int) -> None:
        starts, lengths = as_array(self.starts)[rows], np.asarray(self.lengths)[rows]
        if width >= _SLICES:
            for to, start, length in zip(at.tolist(), starts.tolist(), lengths.tolist(), strict=True):
                out[to : to + length] = self.source[start : start + length]
            return
        tail = lengths - width
        store(out, at, wide_items(self.source, starts, width))
        store(out, at + tail, wide_items(self.source, starts + tail, width))


@dataclass(slots=True, eq=False)
class Short:
    """Strings under 128 bytes, each after tag and length.

    Attributes:
        source: The buffer (uint8).
        starts: The position of each row's string in the buffer (int64).
        lengths: Bytes of each row, including tag and length (uint8).
        longest: The greatest length.
        tag: The tag before each length.
    """

    source: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    longest: int
    tag: Word

    @property
    def excess(self) -> int:
        """The bytes after the end of the shortest."""
        return self.longest

    @property
    def excess_after_longest(self) -> int:
        """None."""
        return 0

    def write(self, out: np.ndarray, at: Places) -> None:
        """Copy each string with a few bytes before it, which tag and length then overwrite."""
        tag = int(self.tag.bits).to_bytes(self.tag.longest, "little")
        header = len(tag) + 1
        for block in _blocks(len(at), self.longest):
            items = wide_items(self.source, self.starts[block] - header, self.longest)
            matrix = np.ndarray((len(items), self.longest), np.uint8, items)
            for position, byte in enumerate(tag):
                matrix[:, position] = byte
            np.subtract(self.lengths[block], header, out=matrix[:, len(tag)])
            store(out, at[block], items)


def _blocks(rows: int, width: int) -> Iterator[slice]:
    step = max(1, _BLOCK_BYTES // max(width, 1))
    for row in range(0, rows, step):
        yield slice(row, row + step)


def wide_items(source: np.ndarray, starts: Places, width: int) -> np.ndarray:
    """Return `width` bytes from each start, as one item a row."""
    first, last = int(starts[0]), int(starts[-1])
    if first < 0 or last + width > source.size:
        return wide_items(_padded(source, first, last, width), _less(starts, first), width)
    if isinstance(starts, range):
        return np.ndarray((len(starts),), f"V{width}", source, first, (starts.step,))
    return np.ndarray((source.size - width + 1,), f"V{width}", source, 0, (1,))[starts]


def _padded(source: np.ndarray, first: int, last: int, width: int) -> np.ndarray:
    """Copy the needed part into a buffer with room for bytes before and after it."""
    begin, end = max(first, 0), min(last + width, source.size)
    copy = np.empty(last + width - first, np.uint8)
    copy[begin - first : end - first] = source[begin:end]
    return copy


def _less(starts: Places, by: int) -> Places:
    return range(starts.start - by, starts.stop - by, starts.step) if isinstance(starts, range) else starts - by


def strings(source: np.ndarray, offsets: np.ndarray, tag: Word, mask: Mask) -> list[Piece]:
    """Return the pieces of strings, each after tag and length.

    Args:
        source: Arrow's data buffer (uint8).
        offsets: The position of each string, and the end of the last (int64).
        tag: The tag before each string.
        mask: Which rows have a string; see `Mask`.
    """
    lengths = offsets[1:] - offsets[:-1]
    shortest, longest = extremes(lengths)
    if longest >= 128 and mask is not None:
        lengths &= mask.view(np.int8)
        longest = int(lengths.max())
    if mask is None and shortest == longest > 0:
        starts = range(int(offsets[0]), int(offsets[-1]), longest)
        return [tag, constant(varint_bytes(longest)), Bytes(source, starts, longest, longest)]
    if longest < 128:
        header = tag.longest + 1
        lengths = lengths.astype(np.uint8) + np.uint8(header)
        if mask is not None:
            lengths &= mask
        return [Short(source, offsets[:-1], lengths, longest + header, tag)]
    return [*unsigned_varint(lengths, tag, mask), Bytes(source, offsets[:-1], lengths, longest)]
