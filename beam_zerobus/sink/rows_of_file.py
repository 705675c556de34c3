"""Rows of a file as one element, each with its place in the file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from apache_beam.coders.typecoders import registry

from beam_zerobus.sink.whole_coder import WholeCoder

__all__ = ["Places", "RowsOfFile", "chosen"]


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where rows of a file are, as the starts of their messages.

    Attributes:
        before: What is before the numbers, such as ``in.jsonl, line ``.
        numbers: The number of each row.
        after: What is between number and reason.
    """

    before: str
    numbers: np.ndarray
    after: str = ", "

    def __getitem__(self, rows: slice) -> Places:
        return Places(self.before, self.numbers[rows], self.after)

    def of(self, messages: Iterable[str]) -> list[str]:
        """Return messages with the places before them."""
        numbers = self.numbers.tolist()
        return [f"{self.before}{n}{self.after}{message}" for n, message in zip(numbers, messages, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class RowsOfFile:
    """Rows that were read from a file, together one element of the sink; a rejected one is named by its place.

    Attributes:
        rows: The rows, all of one kind: JSON text, dicts, a RecordBatch or a Table.
        source: What they were read from, such as ``in.parquet, row group 0``.
        unit: What a row is there, such as ``line``.
        numbers: The number of each row there.

    Example:
        >>> RowsOfFile([b"{}"], "in.jsonl", "line", range(7, 8)).places(np.array([0])).of(["it has no id"])
        ['in.jsonl, line 7, it has no id']
    """

    rows: list[Any] | pa.RecordBatch | pa.Table
    source: str
    unit: str
    numbers: range | np.ndarray

    def places(self, rows: np.ndarray) -> Places:
        """Return the places of some rows."""
        return Places(f"{self.source}, {self.unit} ", chosen(self.numbers, rows))

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return len(self.rows)

    def slice(self, offset: int, length: int) -> RowsOfFile:
        """Return some of the rows, as `pyarrow.Table.slice` does."""
        part = slice(offset, offset + length)
        return RowsOfFile(self.rows[part], self.source, self.unit, self.numbers[part])


def chosen(numbers: range | np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the numbers of some rows; a range counts every row.

    >>> chosen(range(7, 20), np.array([0, 2])).tolist()
    [7, 9]
    """
    return rows + numbers.start if isinstance(numbers, range) else numbers[rows]


registry.register_coder(RowsOfFile, WholeCoder)
