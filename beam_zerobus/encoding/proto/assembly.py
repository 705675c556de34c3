"""Assembly: writes the pieces of all columns as rows into one buffer."""

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
    """A buffer that each chunk reuses; for one thread."""

    def __init__(self) -> None:
        self._buffer = np.empty(0, np.uint8)
        self._prepared: tuple[bytes, int, list[np.ndarray]] = b"", 0, []

    def take(self, size: int) -> np.ndarray:
        """Return a buffer of at least `size` bytes, with any content."""
        if self._buffer.size < size:
            # From 4 MiB numpy requests huge pages, which make scattered writes faster.
            self._buffer = np.empty(max(size + size // 8, _HUGE_PAGES_FROM if size > 2 << 20 else 0), np.uint8)
        self._prepared = b"", 0, []
        return self._buffer

    def take_prepared(self, piece: Fixed, count: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return a buffer with a piece's layout in `count` rows, and the views of it for the values.

        Both may be those of the chunk before.
        """
        layout, rows, views = self._prepared
        if layout != piece.layout or rows < count:
            buffer, places = self.take(piece.lengths * count), piece.places(count)
            piece.write_tags(buffer, places)
            views = piece.views(buffer, places)
            self._prepared = piece.layout, count, views
        return self._buffer, views


@dataclass(frozen=True, slots=True)
class Rows:
    """Messages in a buffer, with unused bytes between them.

    Attributes:
        buffer: The buffer (uint8).
        starts: The position of each message.
        lengths: The length of each message.
    """

    buffer: np.ndarray
    starts: Places
    lengths: Lengths

    def without(self, first: Lengths) -> Rows:
        """Leave out the first bytes of each message: `first` of them."""
        if isinstance(first, int) and first == 0:
            return self
        return Rows(self.buffer, _moved(self.starts, first, in_place=False), self.lengths - first)


def assemble(pieces: Sequence[Piece], count: int, scratch: Scratch) -> Rows:
    """Write pieces side by side.

    Args:
        pieces: The units of each row, in order.
        count: The number of rows, at least 1.
        scratch: Owns the buffer.
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
    """Write rows that are one layout: the tags once, the values for each chunk."""
    buffer, views = scratch.take_prepared(piece, count)
    piece.fill(views)
    return Rows(buffer, piece.places(count), piece.lengths)


def _places(pieces: Sequence[Piece], count: int) -> tuple[Places, int]:
    """Return the position of each row, and the buffer's size.

    Each row gets the room of the longest, unless rows differ so much that this would need too much memory.
    """
    longest = room = 0
    for piece in pieces:
        longest += piece.longest
        room = max(room, longest + piece.excess_after_longest)
    size = room * count
    if size > _FIXED_STRIDE_BYTES:
        lengths = total([piece.lengths for piece in pieces])
        excess = max([piece.excess for piece in pieces])
        if not isinstance(lengths, int) and int(lengths.sum()) + excess * count < size:
            return _exact_starts(count, lengths + excess)
    return range(0, max(size, count), max(room, 1)), size


def _exact_starts(count: int, rooms: np.ndarray) -> tuple[np.ndarray, int]:
    """Return positions for rows of very different lengths: each gets room for itself and its excess."""
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
    """Return one piece that writes the same bytes."""
    units = united(pieces)
    if len(units) == 1:
        return units[0]
    rows = assemble(units, count, Scratch())
    longest = rows.lengths if isinstance(rows.lengths, int) else int(rows.lengths.max())
    return Bytes(rows.buffer, rows.starts, rows.lengths, longest)


def united(pieces: Sequence[Piece]) -> list[Piece]:
    """Join neighbours if one wide write is faster than two: the writes need most of the time."""
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
    """Add a word, to the last one if both fit into one."""
    if words and words[-1].longest + word.longest <= 8:
        words[-1] = words[-1].followed_by(word)
    else:
        words.append(word)


def _paired(words: list[Word]) -> list[Piece]:
    """Join words in pairs."""
    pairs: list[Piece] = [Words16(first, second) for first, second in zip(words[::2], words[1::2], strict=False)]
    return pairs + words[len(words) & ~1 :]


def _layouts_joined(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Join neighbouring layouts; a layout that fits into a word is joined with the words next to it instead."""
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
