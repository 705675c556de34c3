"""Some rows of a RecordBatch or Table, for every Arrow type."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
import pyarrow as pa

__all__ = ["take_rows"]

_Batch = TypeVar("_Batch", pa.RecordBatch, pa.Table)


def take_rows(batch: _Batch, rows: Sequence[int] | np.ndarray) -> _Batch:
    """Return the rows at ascending indices, also of view types, which Arrow's own kernel does not support yet."""
    try:
        return batch.take(pa.array(rows, pa.int64()))
    except pa.ArrowNotImplementedError:
        table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        slices = [table.slice(start, count) for start, count in _runs(np.asarray(rows, np.int64))]
        taken = pa.concat_tables(slices) if slices else table.slice(0, 0)
        return taken if isinstance(batch, pa.Table) else pa.concat_batches(taken.to_batches() or [batch.slice(0, 0)])


def _runs(rows: np.ndarray) -> list[tuple[int, int]]:
    """Return start and length of each run of consecutive numbers."""
    if not len(rows):
        return []
    starts = np.concatenate(([0], np.flatnonzero(np.diff(rows) != 1) + 1, [len(rows)]))
    return [(int(rows[a]), int(b - a)) for a, b in pairwise(starts)]
