"""Rows of a file as one element, each with its place in the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from apache_beam.coders.typecoders import registry

from beam_zerobus.sink.whole_coder import WholeCoder

__all__ = ["RowsOfFile"]


@dataclass(frozen=True, slots=True, eq=False)
class RowsOfFile:
    """Rows that were read from a file, together one element of the sink; a rejected one is named by its place.

    Attributes:
        rows: The rows, all of one kind: JSON text, dicts, a RecordBatch or a Table.
        source: What they were read from, such as ``in.parquet, row group 0``.
        unit: What a row is there, such as ``line``.
        numbers: The number of each row there.

    Example:
        >>> RowsOfFile([b"{}"], "in.jsonl", "line", [7]).places([0])
        ['in.jsonl, line 7']
    """

    rows: list[Any] | pa.RecordBatch | pa.Table
    source: str
    unit: str
    numbers: Sequence[int] | np.ndarray

    def places(self, rows: Sequence[int]) -> list[str]:
        """Return the places of some rows, for messages."""
        numbers = self.numbers
        chosen = numbers[rows].tolist() if isinstance(numbers, np.ndarray) else [numbers[row] for row in rows]
        return [f"{self.source}, {self.unit} {number}" for number in chosen]

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return len(self.rows)

    def slice(self, offset: int, length: int) -> RowsOfFile:
        """Return some of the rows, as `pyarrow.Table.slice` does."""
        chosen = slice(offset, offset + length)
        return RowsOfFile(self.rows[chosen], self.source, self.unit, self.numbers[chosen])


registry.register_coder(RowsOfFile, WholeCoder)
