"""Structs, arrays and maps: messages and repeated fields inside the row's message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beam_zerobus.encoding.proto.assembly import as_one
from beam_zerobus.encoding.proto.columns import WORD_MEMORY, Column
from beam_zerobus.encoding.proto.pieces import Lengths, Mask, Piece, Places, Word, as_array, total
from beam_zerobus.encoding.proto.validity import Validity
from beam_zerobus.encoding.proto.varint import constant, fixed_width, tagged, unsigned_varint, varint_bytes

__all__ = ["Elements", "Lists", "Messages", "heading"]


class Messages:
    """Structs, and the entries of maps: the fields' pieces after tag and length.

    Args:
        tag: The tag before each message.
        fields: The fields, in order.
        validity: Which structs are not null; None if they are never null.
    """

    def __init__(self, tag: Word, fields: Sequence[Column], validity: Validity | None = None) -> None:
        self._tag = tag
        self._fields = fields
        self._validity = validity

    def pieces(self, start: int, stop: int, above: Mask) -> Sequence[Piece]:
        """See `Column`."""
        mask = above if self._validity is None else self._validity.mask(start, stop, above)
        inner = [piece for field in self._fields for piece in field.pieces(start, stop, mask)]
        return [*heading(self._tag, inner, mask), *inner]

    @property
    def row_bytes(self) -> int:
        """See `Column`."""
        return WORD_MEMORY + self._tag.longest + 1 + sum(field.row_bytes for field in self._fields)

    def varying_bytes(self, start: int, stop: int) -> int:
        """See `Column`."""
        return sum(field.varying_bytes(start, stop) for field in self._fields)


def heading(tag: Word, inner: Sequence[Piece], mask: Mask) -> list[Word]:
    """Return the words before messages: the tag, and the length of each message."""
    one_byte = sum([piece.longest for piece in inner]) < 128
    length = total([piece.lengths for piece in inner], np.uint8 if one_byte else np.int64)
    if isinstance(length, int):
        return tagged(tag, tagged(constant(varint_bytes(length)), [], mask), mask)
    return fixed_width(length.astype(np.uint64), 1, tag, mask) if one_byte else unsigned_varint(length, tag, mask)


class Lists:
    """Arrays and maps: every element is a field with its own tag.

    Args:
        array: The list or map.
        elements: The elements, with the tag before each.
    """

    def __init__(self, array: pa.Array, elements: Column) -> None:
        dtype = np.int64 if pa.types.is_large_list(array.type) else np.int32
        buffer = array.buffers()[1]
        offsets = np.zeros(1, dtype) if not buffer else np.frombuffer(buffer, dtype, array.offset + len(array) + 1)
        self._offsets = offsets[array.offset :]
        self._elements = elements
        self._validity = Validity(array)

    def pieces(self, start: int, stop: int, above: Mask) -> Sequence[Piece]:
        """See `Column`."""
        offsets = self._offsets[start : stop + 1].astype(np.int64)
        first, last = int(offsets[0]), int(offsets[-1])
        if first == last:
            return []
        counts = offsets[1:] - offsets[:-1]
        mask = self._validity.mask(start, stop, above)
        offsets -= first
        inner = self._elements.pieces(first, last, _of_elements(mask, offsets, counts))
        elements = Elements.of(as_one(inner, last - first), offsets, counts)
        return [elements] if elements.longest else []

    @property
    def row_bytes(self) -> int:
        """See `Column`."""
        return 2 * WORD_MEMORY

    def varying_bytes(self, start: int, stop: int) -> int:
        """See `Column`."""
        first, last = int(self._offsets[start]), int(self._offsets[stop])
        return (last - first) * (self._elements.row_bytes + 3 * WORD_MEMORY) + self._elements.varying_bytes(first, last)


def _of_elements(mask: Mask, offsets: np.ndarray, counts: np.ndarray) -> Mask:
    """Return the mask of the elements; None if no null list hides any.

    Few lists are null, so only the elements that they hide are computed.
    """
    if mask is None:
        return None
    null = np.flatnonzero(mask == 0)
    hidden = counts[null]
    ends = np.cumsum(hidden)
    if not len(null) or not ends[-1]:
        return None
    elements = np.full(int(offsets[-1]), 255, np.uint8)
    elements[np.repeat(offsets[null] - ends + hidden, hidden) + np.arange(ends[-1])] = 0
    return elements


@dataclass(slots=True, eq=False)
class Elements:
    """All elements of each row's list, one after the other.

    Attributes:
        inner: One piece with an element in each row.
        counts: The number of elements of each list.
        ends: Bytes of all elements before each list, then of all (int64).
        before: Bytes of all elements before each element; None if all have the same length.
        lengths: Bytes of each list.
        longest: Bytes of the longest list.
    """

    inner: Piece
    counts: np.ndarray
    ends: np.ndarray
    before: np.ndarray | None
    lengths: Lengths
    longest: int

    @classmethod
    def of(cls, inner: Piece, offsets: np.ndarray, counts: np.ndarray) -> Elements:
        """Put elements `offsets[i]` to `offsets[i + 1]` into row i."""
        if isinstance(inner.lengths, int):
            before, ends = None, offsets * inner.lengths
        else:
            sums = np.empty(len(inner.lengths) + 1, np.int64)
            sums[0] = 0
            np.cumsum(inner.lengths, out=sums[1:])
            before, ends = sums[:-1], sums.take(offsets)
        lengths = ends[1:] - ends[:-1]
        return cls(inner, counts, ends, before, lengths, int(lengths.max()))

    @property
    def excess(self) -> int:
        """The excess of the last element."""
        return self.inner.excess

    @property
    def excess_after_longest(self) -> int:
        """The excess of the last element."""
        return self.inner.excess

    def write(self, out: np.ndarray, at: Places) -> None:
        """Write all elements, each after the one before it."""
        elements = np.repeat(as_array(at) - self.ends[:-1], self.counts)
        if self.before is None:
            length = int(self.ends[-1]) // len(elements)
            elements += np.arange(0, int(self.ends[-1]), length)
        else:
            elements += self.before
        self.inner.write(out, elements)
