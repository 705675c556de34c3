"""Assembly: the pieces of all columns become rows in one buffer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from beam_zerobus.encoding.proto.fixed import Fixed
from beam_zerobus.encoding.proto.pieces import Lengths, Piece, Places, Word, Words16, as_array, total
from beam_zerobus.encoding.proto.strings import Bytes

__all__ = ["Rows", "Scratch", "as_one", "assemble", "united"]

_FIXED_STRIDE_BYTES = 4 << 20
_MANY_FIXED_VALUES = 3


class Scratch:
    """A buffer that is used again for each chunk; one thread's."""

    def __init__(self) -> None:
        self._buffer = np.empty(0, np.uint8)

    def take(self, size: int) -> np.ndarray:
        """Return a buffer of at least `size` bytes; its content is rubbish."""
        if self._buffer.size < size:
            self._buffer = np.empty(size + size // 4, np.uint8)
        return self._buffer


@dataclass(frozen=True, slots=True)
class Rows:
    """Messages in a buffer, with rubbish between them.

    Attributes:
        buffer: Where they stand (uint8).
        starts: Where each begins.
        lengths: How long each is.
    """

    buffer: np.ndarray
    starts: Places
    lengths: Lengths


def assemble(pieces: Sequence[Piece], count: int, lengths: Lengths, scratch: Scratch) -> Rows:
    """Write pieces side by side.

    Args:
        pieces: The units of each row, in order.
        count: The number of rows, at least 1.
        lengths: Bytes of each row.
        scratch: Gives the buffer.
    """
    rubbish = max((piece.rubbish for piece in pieces), default=0)
    stride = sum(piece.longest for piece in pieces) + rubbish
    if stride * count <= _FIXED_STRIDE_BYTES or isinstance(lengths, int):
        size = stride * count
        starts: Places = range(0, max(size, count), max(stride, 1))
    else:
        starts, size = _exact_starts(count, lengths, rubbish)
    buffer = scratch.take(size)
    at = starts
    for piece in pieces:
        piece.write(buffer, at)
        at = _moved(at, piece.lengths)
    return Rows(buffer, starts, lengths)


def _exact_starts(count: int, lengths: np.ndarray, rubbish: int) -> tuple[np.ndarray, int]:
    """Where rows differ much in length: each gets its own length, and room for rubbish."""
    starts = np.zeros(count + 1, np.int64)
    np.cumsum(lengths + rubbish, out=starts[1:])
    return starts[:-1], int(starts[-1])


def _moved(at: Places, lengths: Lengths) -> Places:
    if isinstance(at, range) and isinstance(lengths, int):
        return range(at.start + lengths, at.stop + lengths, at.step)
    return as_array(at) + lengths


def as_one(pieces: Sequence[Piece], count: int) -> Piece:
    """Return a single piece that writes the same bytes."""
    units = united(pieces)
    if len(units) == 1:
        return units[0]
    lengths = total([unit.lengths for unit in units])
    rows = assemble(units, count, lengths, Scratch())
    longest = lengths if isinstance(lengths, int) else int(lengths.max())
    return Bytes(rows.buffer, as_array(rows.starts), lengths, longest)


def united(pieces: Iterable[Piece]) -> list[Piece]:
    """Join neighbours where one wide write is cheaper than two: the writes are what costs most."""
    return _paired(_joined(_loosened(_runs(pieces))))


def _runs(pieces: Iterable[Piece]) -> list[Piece]:
    """Join neighbouring layouts into one."""
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(piece, Fixed) and isinstance(last, Fixed):
            joined[-1] = last.followed_by(piece)
        else:
            joined.append(piece)
    return joined


def _loosened(pieces: Iterable[Piece]) -> list[Piece]:
    """A layout of a few values only is better joined with the words around it."""
    loosened: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, Fixed) and len(piece.values) < _MANY_FIXED_VALUES:
            loosened += piece.as_words()
        else:
            loosened.append(piece)
    return loosened


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Join words that have room in one."""
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(piece, Word) and isinstance(last, Word) and last.longest + piece.longest <= 8:
            joined[-1] = last.followed_by(piece)
        else:
            joined.append(piece)
    return joined


def _paired(pieces: Iterable[Piece]) -> list[Piece]:
    """Join words two by two."""
    paired: list[Piece] = []
    for piece in pieces:
        last = paired[-1] if paired else None
        if isinstance(piece, Word) and isinstance(last, Word):
            paired[-1] = Words16(last, piece)
        else:
            paired.append(piece)
    return paired
