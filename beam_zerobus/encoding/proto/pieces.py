"""Pieces: the bytes that a column adds to each row of a chunk, and how they are written into a buffer.

A piece has some bytes for every row of a chunk, and their number. It is written at one position a row. Most kinds of
pieces write the same number of bytes for each row, because one wide store is faster than a choice: bytes after the end
of a row's own are excess, which the next piece of the row overwrites. So pieces are written from left to right, and
after each row is room for the excess of its last piece.

Positions are a `range` as long as all pieces so far have the same length in all rows (a strided copy, about 10 times
faster), and an int64 array from then on.

Pieces do not change once they are made. They are not frozen dataclasses, because making those takes four times as long,
and a batch has thousands of pieces.
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
"""Which rows have a value: uint8, 255 (all bits set) for a value, else 0; None if all rows have one."""

Lengths: TypeAlias = np.ndarray | int
"""Bytes of each row (int64, or uint8 if that is enough), or one number for all rows."""

Places: TypeAlias = range | np.ndarray
"""The position in the buffer at which each row of a piece is written."""


BITS = [np.array(8 * size, np.uint64) for size in range(9)]
"""The number of bits of 0 to 8 bytes. Constants in formulas are arrays without dimension in all these modules, because
numpy needs as long for a Python number as for a thousand rows."""

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
    def excess(self) -> int:
        """The most bytes that `write` may write after the end of a row's own."""
        ...

    @property
    def excess_after_longest(self) -> int:
        """The most bytes that `write` may write after `longest` bytes."""
        ...

    def write(self, out: np.ndarray, at: Places) -> None:
        """Write each row's bytes at its position in `out` (uint8)."""
        ...


def total(lengths: list[Lengths], dtype: type[np.integer] = np.int64) -> Lengths:
    """Add up lengths row by row.

    Args:
        lengths: The lengths of each piece.
        dtype: A type that holds the largest sum.

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
    """Return a mask for words (uint64), with all bits set for a value."""
    return mask.view(np.int8).astype(np.int64).view(np.uint64)


def extremes(numbers: np.ndarray) -> tuple[int, int]:
    """Return the least and the greatest number; numpy finds their indices in a third of the time of the values."""
    return numbers.item(numbers.argmin()), numbers.item(numbers.argmax())


def as_array(at: Places) -> np.ndarray:
    """Return positions as an array."""
    return np.arange(at.start, at.stop, at.step) if isinstance(at, range) else at


def store(out: np.ndarray, at: Places, items: np.ndarray) -> None:
    """Write one item of any width for each row, at any byte position.

    In a view of the buffer whose items start one byte after each other, numpy can index by bytes; the items overlap,
    and numpy assigns them in order.
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
        bits: One uint64 a row, or one without dimension for all rows.
        lengths: Bytes of each row.
        longest: The greatest length.
    """

    bits: np.ndarray
    lengths: Lengths
    longest: int

    @property
    def excess(self) -> int:
        """The rest of the word."""
        return 8 - self.lengths if isinstance(self.lengths, int) else 8

    @property
    def excess_after_longest(self) -> int:
        """The rest of the word after the longest."""
        return 8 - self.longest

    def write(self, out: np.ndarray, at: Places) -> None:
        """Write whole words."""
        # numpy takes more than twice as long to write one item to all rows as to write one item for each.
        store(out, at, self.bits if self.bits.ndim else np.full(len(at), self.bits))

    def take(self, rows: np.ndarray) -> Word:
        """Return the words of some rows, in any order, any number of times."""
        bits = self.bits.take(rows) if self.bits.ndim else self.bits
        lengths = self.lengths if isinstance(self.lengths, int) else self.lengths.take(rows)
        return Word(bits, lengths, self.longest)

    def followed_by(self, other: Word) -> Word:
        """Append another word; both together fit into one."""
        return Word(
            self.bits | (other.bits << _in_bits(self.lengths)),
            self.lengths + other.lengths,
            self.longest + other.longest,
        )


@dataclass(slots=True, eq=False)
class Words16:
    """Two consecutive words, written as one item of 16 bytes."""

    first: Word
    second: Word

    @property
    def lengths(self) -> Lengths:
        """The sum of both."""
        return self.first.lengths + self.second.lengths

    @property
    def longest(self) -> int:
        """The sum of both."""
        return self.first.longest + self.second.longest

    @property
    def excess(self) -> int:
        """The rest of the two words."""
        return 16

    @property
    def excess_after_longest(self) -> int:
        """The rest of the two words after the longest."""
        return 16 - self.longest

    def write(self, out: np.ndarray, at: Places) -> None:
        """Shift the second word to the end of the first, across both halves of the item."""
        items = np.empty((len(at), 2), np.uint64)
        shift = _in_bits(self.first.lengths)
        np.bitwise_or(self.first.bits, self.second.bits << shift, out=items[:, 0])
        # numpy defines a shift by 64 as 0, which is right: the first word is empty, and the second fits into its half.
        np.right_shift(self.second.bits, BITS[8] - shift, out=items[:, 1])
        store(out, at, items.view("V16")[:, 0])


def _in_bits(lengths: Lengths) -> np.ndarray:
    return BITS[lengths] if isinstance(lengths, int) else lengths.astype(np.uint64) << _THREE
