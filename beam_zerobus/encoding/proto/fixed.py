"""Pieces of columns in which every row has a value of the same width: doubles, floats and booleans without nulls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beam_zerobus.encoding.proto.pieces import Piece, Places, Word, store

__all__ = ["Fixed", "FixedOrNull"]

_FEW_TAGS = 6
"""The tags of up to this many columns are written one by one, which is faster than as a layout, for which numpy makes a
call for each row (8,000 rows of one tag: 4 microseconds instead of 23)."""


@dataclass(slots=True, eq=False)
class Fixed:
    """Values of fixed width with their tags, of neighbouring columns: the same layout in every row.

    Attributes:
        layout: The bytes of a row, with zeros for the values.
        values: For each column the offset of its value in the layout, and the values (1, 4 or 8 bytes wide).
    """

    layout: bytes
    values: tuple[tuple[int, np.ndarray], ...]

    @classmethod
    def of(cls, tag: Word, values: np.ndarray) -> Fixed:
        """Return the values of one column, each after the tag."""
        text = int(tag.bits).to_bytes(tag.longest, "little")
        return cls(text + bytes(values.itemsize), ((len(text), values),))

    @property
    def lengths(self) -> int:
        """The length of the layout."""
        return len(self.layout)

    @property
    def longest(self) -> int:
        """The length of the layout."""
        return len(self.layout)

    @property
    def excess(self) -> int:
        """None."""
        return 0

    @property
    def excess_after_longest(self) -> int:
        """None."""
        return 0

    def write(self, out: np.ndarray, at: Places) -> None:
        """Write the layout to all rows, then the values column by column."""
        if not isinstance(at, range):
            store(out, at, self.as_items(len(at)))
            return
        self.write_tags(out, at)
        self.fill(self.views(out, at))

    def places(self, count: int) -> range:
        """Return the positions of `count` rows without gaps."""
        return range(0, self.lengths * count, self.lengths)

    def write_tags(self, out: np.ndarray, at: range) -> None:
        """Write the tags; the bytes between them may have any content."""
        if len(self.values) > _FEW_TAGS:
            store(out, at, np.frombuffer(self.layout, f"V{len(self.layout)}"))
            return
        start = 0
        for offset, values in self.values:
            for position in range(start, offset):
                np.ndarray((len(at),), np.uint8, out, at.start + position, (at.step,))[...] = self.layout[position]
            start = offset + values.itemsize

    def views(self, out: np.ndarray, at: range) -> list[np.ndarray]:
        """Return a view of the buffer for the values of each column."""
        shape, step = (len(at),), (at.step,)
        return [np.ndarray(shape, values.dtype, out, at.start + offset, step) for offset, values in self.values]

    def fill(self, views: list[np.ndarray]) -> None:
        """Write the values to the views, which may have more rows."""
        for view, (_, values) in zip(views, self.values, strict=True):
            view[: len(values)] = values

    def as_items(self, count: int) -> np.ndarray:
        """Return `count` rows as one item each."""
        items = np.empty(count, f"V{self.lengths}")
        self.write(items.view(np.uint8), self.places(count))
        return items

    @classmethod
    def joined(cls, layouts: Sequence[Fixed]) -> Fixed:
        """Return one layout of several, side by side."""
        values: list[tuple[int, np.ndarray]] = []
        start = 0
        for layout in layouts:
            values += [(start + offset, column) for offset, column in layout.values]
            start += len(layout.layout)
        return cls(b"".join(layout.layout for layout in layouts), tuple(values))

    def rows(self, start: int, stop: int) -> Fixed:
        """Return the piece for some of the rows."""
        return Fixed(self.layout, tuple([(offset, values[start:stop]) for offset, values in self.values]))

    def as_words(self) -> list[Piece]:
        """Return the same bytes, up to eight, as words, which can be joined with neighbours of varying length."""
        words: list[Piece] = []
        start = 0
        for offset, values in self.values:
            tag = int.from_bytes(self.layout[start:offset], "little")
            size, width = offset - start, values.dtype.itemsize
            bits = values.view(f"u{width}").astype(np.uint64)
            words.append(Word(bits << np.uint64(8 * size) | np.uint64(tag), size + width, size + width))
            start = offset + width
        return words


@dataclass(slots=True, eq=False)
class FixedOrNull:
    """A layout that is missing from some rows.

    Attributes:
        layout: The layout, with a value for every row.
        lengths: The length of the layout for a row that has it, else 0.
    """

    layout: Fixed
    lengths: np.ndarray

    @property
    def longest(self) -> int:
        """The length of the layout."""
        return self.layout.longest

    @property
    def excess(self) -> int:
        """The whole layout, for a row that does not have it."""
        return self.layout.longest

    @property
    def excess_after_longest(self) -> int:
        """None."""
        return 0

    def write(self, out: np.ndarray, at: Places) -> None:
        """Write the layout to all rows."""
        self.layout.write(out, at)
