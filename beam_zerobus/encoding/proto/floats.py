"""Floats and doubles, one column at a time or neighbours together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from beam_zerobus.encoding.proto.columns import WORD_MEMORY, OneSize, buffer_view
from beam_zerobus.encoding.proto.fixed import Fixed, FixedOrNull
from beam_zerobus.encoding.proto.pieces import Mask, Piece, Word
from beam_zerobus.encoding.proto.strings import Bytes
from beam_zerobus.encoding.proto.validity import Validity
from beam_zerobus.encoding.proto.varint import fixed_width

__all__ = ["FloatRun", "Floats", "SparseRun"]


class Floats(OneSize):
    """Floats and doubles, with all their bits unchanged."""

    def __init__(self, array: pa.Array, tag: Word, dtype: type[np.unsignedinteger]) -> None:
        self.values = buffer_view(array, 1, dtype)[array.offset : array.offset + len(array)]
        self.has_nulls = array.null_count > 0
        self.validity = Validity(array)
        self.tag = tag
        self.width = self.values.itemsize

    def pieces(self, start: int, stop: int, above: Mask) -> Sequence[Piece]:
        """See `Column`."""
        mask = self.validity.mask(start, stop, above)
        values = self.values[start:stop]
        if mask is None:
            return [Fixed.of(self.tag, values)]
        if self.width == 8:
            layout = Fixed.of(self.tag, values)
            return [FixedOrNull(layout, mask & layout.lengths)]
        return fixed_width(values.astype(np.uint64), self.width, self.tag, mask)

    @property
    def row_bytes(self) -> int:
        """See `Column`."""
        return WORD_MEMORY * self.has_nulls + self.tag.longest + self.width


class FloatRun(OneSize):
    """Neighbouring floats and doubles without nulls: one layout for all of them.

    Args:
        columns: The columns, in order.
    """

    def __init__(self, columns: Sequence[Floats]) -> None:
        self._columns = columns
        layouts = [Fixed.of(column.tag, column.values) for column in columns]
        self._whole = Fixed.joined(layouts)

    def pieces(self, start: int, stop: int, above: Mask) -> Sequence[Piece]:
        """See `Column`."""
        if above is not None:
            return [piece for column in self._columns for piece in column.pieces(start, stop, above)]
        return [self._whole.rows(start, stop)]

    @property
    def row_bytes(self) -> int:
        """See `Column`."""
        return self._whole.lengths


class SparseRun(OneSize):
    """Neighbouring floats or doubles with nulls, all of one width.

    All values are written after their tags into a matrix of rows and columns, from which numpy selects those that are
    not null: these are then next to each other for each row.

    Args:
        columns: The columns, in order, at most 255; tags and values of all are equally wide.
    """

    def __init__(self, columns: Sequence[Floats]) -> None:
        self._columns = columns
        self._whole = Fixed.joined([Fixed.of(column.tag, column.values) for column in columns])
        self._width = columns[0].tag.longest + columns[0].width

    def pieces(self, start: int, stop: int, above: Mask) -> Sequence[Piece]:
        """See `Column`."""
        rows = stop - start
        valid = np.empty((rows, len(self._columns)), np.bool_)
        counts = np.zeros(rows, np.uint8)
        for position, column in enumerate(self._columns):
            present = column.validity.present(start, stop, above)
            valid[:, position] = present
            counts += present
        ends = np.cumsum(counts, dtype=np.int64)
        ends *= self._width
        matrix = np.empty(valid.size, f"V{self._width}")
        row_bytes = self._whole.lengths
        self._whole.rows(start, stop).write(matrix.view(np.uint8), range(0, rows * row_bytes, row_bytes))
        lengths = np.multiply(counts, self._width, dtype=np.int64)
        return [Bytes(matrix[valid.ravel()].view(np.uint8), ends - lengths, lengths, int(lengths.max()))]

    @property
    def row_bytes(self) -> int:
        """See `Column`."""
        return 3 * self._whole.lengths
