"""Batches of the right size: cut from larger ones, or aimed at while rows are collected."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from beam_zerobus.options import Batching

__all__ = ["RowLimit", "slices"]

_FIRST_ROWS = 1_000


def slices(data: pa.RecordBatch | pa.Table, batching: Batching) -> Iterator[pa.RecordBatch]:
    """Cut a RecordBatch or Table into RecordBatches within the limits, without copying.

    A single row above `max_bytes` comes alone. Batches without rows are left out.

    Example:
        >>> table = pa.table({"id": range(5)})
        >>> [batch.num_rows for batch in slices(table, Batching(max_rows=2))]
        [2, 2, 1]
    """
    batches = [data] if isinstance(data, pa.RecordBatch) else data.to_batches(max_chunksize=batching.max_rows)
    for batch in batches:
        for start in range(0, batch.num_rows, batching.max_rows):
            yield from _halves(batch.slice(start, batching.max_rows), batching.max_bytes)


def _halves(batch: pa.RecordBatch, max_bytes: int) -> Iterator[pa.RecordBatch]:
    if batch.num_rows <= 1 or batch.nbytes <= max_bytes:
        yield batch
        return
    middle = batch.num_rows // 2
    yield from _halves(batch.slice(0, middle), max_bytes)
    yield from _halves(batch.slice(middle), max_bytes)


class RowLimit:
    """How many rows to collect for the next batch, so that bytes need not be counted row by row.

    It aims at `max_bytes` with the bytes per row of the last batch, and starts small.

    Example:
        >>> limit = RowLimit(Batching(max_rows=10_000, max_bytes=1_000_000))
        >>> limit.rows
        1000
        >>> limit.learn(rows=1000, nbytes=500_000)
        >>> limit.rows
        2000
    """

    __slots__ = ("_batching", "rows")

    def __init__(self, batching: Batching) -> None:
        self._batching = batching
        self.rows = min(_FIRST_ROWS, batching.max_rows)

    def learn(self, *, rows: int, nbytes: int) -> None:
        """Take over the size of the batch that was just made."""
        if rows > 0:
            fitting = self._batching.max_bytes * rows // max(nbytes, 1)
            self.rows = max(1, min(fitting, self._batching.max_rows))
