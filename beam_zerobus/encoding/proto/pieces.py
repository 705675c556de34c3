"""Pieces: what a column adds to each row of a chunk, and how that is written into a buffer.

A piece holds, for every row of a chunk, some bytes and their number. It is written at one position a row. Most kinds
write the same number of bytes for each row, because one wide store costs less than any choice: what stands behind a
piece's own bytes is rubbish, which the next piece of the row overwrites. So pieces are written from left to right, and
behind a row is room for the rubbish of its last piece.

Positions are a `range` as long as all pieces before were equally long in all rows (a strided copy, some 10 times
quicker), an int64 array from then on.

Pieces are not changed once made. They are no frozen dataclasses, because making those takes four times as long, and
thousands are made in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

__all__ = [
    "BITS",
    "Lengths",
    "Mask",
    "Piece",
    "Places",
    "Word",
    "Words16",
    "as_array",
    "as_bits",
    "extremes",
    "store",
    "total",
]

Mask: TypeAlias = np.ndarray | None
"""Which rows have a value: uint8, 255 (all bits set) where there is one, else 0; None when all have."""

Lengths: TypeAlias = np.ndarray | int
"""Bytes of each row (int64, or uint8 where that is enough), or the one number that holds for all rows."""

Places: TypeAlias = range | np.ndarray
"""Where in the buffer a piece goes, row by row."""


BITS = [np.array(8 * size, np.uint64) for size in range(9)]
"""Bits of so many bytes. Numbers that stand in a formula are arrays without dimension all over, because numpy takes as
long for one of Python's as for a thousand rows."""

_THREE = np.array(3, np.uint64)


class Piece(Protocol):
    """Some bytes for each row of a chunk."""

    @property
    def lengths(self) -> Lengths:
        """Bytes of each row."""
        ...

    @property
    def longest(self) -> int:
        """The greatest length."""
        ...

    @property
    def rubbish(self) -> int:
        """Bytes behind a row's own that `write` may touch, at most."""
        ...

    @property
    def overhang(self) -> int:
        """Bytes behind the room of the longest that `write` may touch, at most."""
        ...

    def write(self, out: np.ndarray, at: Places) -> None:
        """Write each row's bytes at its place in `out` (uint8)."""
        ...


def total(lengths: list[Lengths], dtype: type[np.integer] = np.int64) -> Lengths:
    """Add up lengths row by row.

    Args:
        lengths: Those of each piece.
        dtype: What holds the greatest sum.

    Example:
        >>> total([1, 2])
        3
    """
    fixed, varying = 0, None
    for length in lengths:
        if isinstance(length, int):
            fixed += length
        elif varying is None:
            varying = length.astype(dtype)
        else:
            np.add(varying, length, out=varying, casting="unsafe")
    if varying is None:
        return fixed
    if fixed:
        varying += fixed
    return varying


def as_bits(mask: np.ndarray) -> np.ndarray:
    """Return a mask for words (uint64), all bits set where there is a value."""
    return mask.view(np.int8).astype(np.int64).view(np.uint64)


def extremes(numbers: np.ndarray) -> tuple[int, int]:
    """Return the least and the greatest number; asking numpy for their places takes it a third of the time."""
    return numbers.item(numbers.argmin()), numbers.item(numbers.argmax())


def as_array(at: Places) -> np.ndarray:
    """Return places as an array."""
    return np.arange(at.start, at.stop, at.step) if isinstance(at, range) else at


def store(out: np.ndarray, at: Places, items: np.ndarray) -> None:
    """Write one item of any width for each row, at any byte position.

    A view of the buffer in which the next item starts one byte later lets numpy index by bytes; items overlap there,
    and numpy assigns in order.
    """
    width = items.dtype.itemsize
    if isinstance(at, range):
        np.ndarray((len(at),), items.dtype, out, at.start, (at.step,))[...] = items
    else:
        np.ndarray((out.size - width + 1,), f"V{width}", out, 0, (1,))[at] = items.view(f"V{width}")


@dataclass(slots=True, eq=False)
class Word:
    """Up to eight bytes, the first lowest in a uint64; bits above a row's length are 0.

    Attributes:
        bits: One uint64 a row, or one without dimension that holds for all rows.
        lengths: Bytes of each row.
        longest: The greatest length.
    """

    bits: np.ndarray
    lengths: Lengths
    longest: int

    @property
    def rubbish(self) -> int:
        """What is left of a word, up to all of it."""
        return 8 - self.lengths if isinstance(self.lengths, int) else 8

    @property
    def overhang(self) -> int:
        """What is left of a word by the longest."""
        return 8 - self.longest

    def write(self, out: np.ndarray, at: Places) -> None:
        """Write whole words."""
        # numpy writes one item to all rows at less than half the speed of as many items.
        store(out, at, self.bits if self.bits.ndim else np.full(len(at), self.bits))

    def take(self, rows: np.ndarray) -> Word:
        """Return the words of some rows, in any order, any number of times."""
        bits = self.bits.take(rows) if self.bits.ndim else self.bits
        lengths = self.lengths if isinstance(self.lengths, int) else self.lengths.take(rows)
        return Word(bits, lengths, self.longest)

    def followed_by(self, other: Word) -> Word:
        """Put another word behind this one; together they have room in one."""
        return Word(
            self.bits | (other.bits << _in_bits(self.lengths)),
            self.lengths + other.lengths,
            self.longest + other.longest,
        )


@dataclass(slots=True, eq=False)
class Words16:
    """Two words behind each other, written as one item of 16 bytes."""

    first: Word
    second: Word

    @property
    def lengths(self) -> Lengths:
        """Both together."""
        return self.first.lengths + self.second.lengths

    @property
    def longest(self) -> int:
        """Both together."""
        return self.first.longest + self.second.longest

    @property
    def rubbish(self) -> int:
        """What is left of two words, up to all of them."""
        return 16

    @property
    def overhang(self) -> int:
        """What is left of two words by the longest."""
        return 16 - self.longest

    def write(self, out: np.ndarray, at: Places) -> None:
        """Move the second word up to the end of the first, across both halves."""
        items = np.empty((len(at), 2), np.uint64)
        shift = _in_bits(self.first.lengths)
        np.bitwise_or(self.first.bits, self.second.bits << shift, out=items[:, 0])
        # numpy defines a shift by 64 as 0: the first word is empty and nothing spills over.
        np.right_shift(self.second.bits, BITS[8] - shift, out=items[:, 1])
        store(out, at, items.view("V16")[:, 0])


def _in_bits(lengths: Lengths) -> np.ndarray:
    return BITS[lengths] if isinstance(lengths, int) else lengths.astype(np.uint64) << _THREE
