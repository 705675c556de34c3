"""Assembly: the pieces of all columns become rows in one buffer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from beam_zerobus.encoding.proto.fixed import Fixed
from beam_zerobus.encoding.proto.pieces import Lengths, Piece, Places, Word, Words16, as_array, total
from beam_zerobus.encoding.proto.strings import Bytes

__all__ = ["Rows", "Scratch", "as_one", "assemble", "united"]

_FIXED_STRIDE_BYTES = 4 << 20
_HUGE_PAGES_FROM = 4 << 20


class Scratch:
    """A buffer that is used again for each chunk; one thread's."""

    def __init__(self) -> None:
        self._buffer = np.empty(0, np.uint8)
        self._stamped: tuple[bytes, int, list[np.ndarray]] = b"", 0, []

    def take(self, size: int) -> np.ndarray:
        """Return a buffer of at least `size` bytes; its content is rubbish."""
        if self._buffer.size < size:
            # From 4 MiB numpy asks for huge pages, which scattered writes like.
            self._buffer = np.empty(max(size + size // 8, _HUGE_PAGES_FROM if size > 2 << 20 else 0), np.uint8)
        self._stamped = b"", 0, []
        return self._buffer

    def take_stamped(self, piece: Fixed, count: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return a buffer with a piece's layout in so many rows, and the views of it that the values go to.

        The chunk before may have left both.
        """
        layout, rows, views = self._stamped
        if layout != piece.layout or rows < count:
            buffer, places = self.take(piece.lengths * count), piece.places(count)
            piece.stamp(buffer, places)
            views = piece.views(buffer, places)
            self._stamped = piece.layout, count, views
        return self._buffer, views


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

    def without(self, first: Lengths) -> Rows:
        """Leave out so many of each message's first bytes."""
        if isinstance(first, int) and first == 0:
            return self
        return Rows(self.buffer, _moved(self.starts, first, in_place=False), self.lengths - first)


def assemble(pieces: Sequence[Piece], count: int, scratch: Scratch) -> Rows:
    """Write pieces side by side.

    Args:
        pieces: The units of each row, in order.
        count: The number of rows, at least 1.
        scratch: Gives the buffer.
    """
    if len(pieces) == 1 and isinstance(pieces[0], Fixed):
        return _same_layout(pieces[0], count, scratch)
    starts, size = _places(pieces, count)
    buffer = scratch.take(size)
    at = starts
    for piece in pieces:
        piece.write(buffer, at)
        at = _moved(at, piece.lengths, in_place=at is not starts)
    return Rows(buffer, starts, _distance(starts, at))


def _same_layout(piece: Fixed, count: int, scratch: Scratch) -> Rows:
    """Rows of nothing but a layout: the tags are written once, the values for each chunk."""
    buffer, views = scratch.take_stamped(piece, count)
    piece.fill(views)
    return Rows(buffer, piece.places(count), piece.lengths)


def _places(pieces: Sequence[Piece], count: int) -> tuple[Places, int]:
    """Return where each row begins, and the buffer's size.

    All rows get the room of the longest, unless they differ so much that this would be too much memory.
    """
    longest = room = 0
    for piece in pieces:
        longest += piece.longest
        room = max(room, longest + piece.overhang)
    size = room * count
    if size > _FIXED_STRIDE_BYTES:
        lengths = total([piece.lengths for piece in pieces])
        rubbish = max([piece.rubbish for piece in pieces])
        if not isinstance(lengths, int) and int(lengths.sum()) + rubbish * count < size:
            return _exact_starts(count, lengths + rubbish)
    return range(0, max(size, count), max(room, 1)), size


def _exact_starts(count: int, rooms: np.ndarray) -> tuple[np.ndarray, int]:
    """Where rows differ much in length: each gets room for itself and its rubbish."""
    starts = np.zeros(count + 1, np.int64)
    np.cumsum(rooms, out=starts[1:])
    return starts[:-1], int(starts[-1])


def _moved(at: Places, lengths: Lengths, *, in_place: bool) -> Places:
    if isinstance(at, range):
        if isinstance(lengths, int):
            return range(at.start + lengths, at.stop + lengths, at.step)
        return as_array(at) + lengths
    return np.add(at, lengths, out=at if in_place else None)


def _distance(starts: Places, ends: Places) -> Lengths:
    if isinstance(starts, range) and isinstance(ends, range):
        return ends.start - starts.start
    return as_array(ends) - as_array(starts)


def as_one(pieces: Sequence[Piece], count: int) -> Piece:
    """Return a single piece that writes the same bytes."""
    units = united(pieces)
    if len(units) == 1:
        return units[0]
    rows = assemble(units, count, Scratch())
    longest = rows.lengths if isinstance(rows.lengths, int) else int(rows.lengths.max())
    return Bytes(rows.buffer, rows.starts, rows.lengths, longest)


def united(pieces: Sequence[Piece]) -> list[Piece]:
    """Join neighbours where one wide write is cheaper than two: the writes are what costs most."""
    units: list[Piece] = []
    words: list[Word] = []
    for piece in _layouts_joined(pieces):
        if isinstance(piece, Word):
            _join(words, piece)
        else:
            units += _paired(words)
            units.append(piece)
            words = []
    return [*units, *_paired(words)]


def _join(words: list[Word], word: Word) -> None:
    """Add a word, into the last one where that has room."""
    if words and words[-1].longest + word.longest <= 8:
        words[-1] = words[-1].followed_by(word)
    else:
        words.append(word)


def _paired(words: list[Word]) -> list[Piece]:
    """Join words two by two."""
    pairs: list[Piece] = [Words16(first, second) for first, second in zip(words[::2], words[1::2], strict=False)]
    return pairs + words[len(words) & ~1 :]


def _layouts_joined(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Join neighbouring layouts; one that fits in a word is better joined with the words around it."""
    for is_fixed, run in groupby(pieces, key=_is_fixed):
        if not is_fixed:
            yield from run
            continue
        layout = Fixed.joined([piece for piece in run if isinstance(piece, Fixed)])
        if layout.lengths <= 8:
            yield from layout.as_words()
        else:
            yield layout


def _is_fixed(piece: Piece) -> bool:
    return isinstance(piece, Fixed)
