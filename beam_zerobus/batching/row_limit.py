"""The number of rows in a batch, estimated while rows are collected."""

from __future__ import annotations

from beam_zerobus.options import Batching

__all__ = ["RowLimit"]

_FIRST_ROWS = 1_000


class RowLimit:
    """How many rows to collect for the next batch, so that bytes need not be counted row by row.

    The estimate is `max_bytes` divided by the bytes per row of the last batch; the first batch is small.

    Attributes:
        rows: Rows to collect for the next batch.
        full: Rows that fill a batch, as far as their size is known.

    Example:
        >>> limit = RowLimit(Batching(max_rows=10_000, max_bytes=1_000_000))
        >>> limit.rows
        1000
        >>> limit.learn(rows=1000, nbytes=500_000)
        >>> limit.rows
        2000
    """

    __slots__ = ("_batching", "full", "rows")

    def __init__(self, batching: Batching) -> None:
        self._batching = batching
        self.full = batching.max_rows
        self.rows = min(_FIRST_ROWS, batching.max_rows)

    def learn(self, *, rows: int, nbytes: int) -> None:
        """Note the size of the batch that was just made."""
        if rows > 0:
            self.rows = self.full = self._fitting(rows, nbytes)

    def guess(self, *, nbytes: int) -> None:
        """Note the size of one of the first rows, before any batch was made."""
        self.full = self._fitting(1, nbytes)
        self.rows = min(self.rows, self.full)

    def learn_full(self, *, rows: int, batches: float) -> None:
        """Note how many batches rows of several tables make, by how many of each would fill one."""
        self.rows = self.full = max(1, min(round(rows / batches), self._batching.max_rows))

    def _fitting(self, rows: int, nbytes: int) -> int:
        fitting = self._batching.max_bytes * rows // max(nbytes, 1)
        return max(1, min(fitting, self._batching.max_rows))
