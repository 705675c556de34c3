"""Elements to batches for the writer: those that are one row each together, each that holds many rows by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa

from beam_zerobus.batching import RowKind, row_kind, types_of
from beam_zerobus.errors import RowError, RowErrors, ZerobusError
from beam_zerobus.schema import RowErrorType, TableSchema
from beam_zerobus.sink.elements import Elements, Origin
from beam_zerobus.sink.rows_of_file import RowsOfFile

__all__ = ["GatheredRows", "Kind", "RowsWithOrigin", "rejected_rows", "separated", "unknown_table"]

_NO_ROWS = pa.record_batch({})

Kind: TypeAlias = RowKind | Literal["batch"]
"""How an element holds rows: it is one, or it is a RecordBatch, a Table or rows of a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsWithOrigin:
    """Rows for the writer, and which element each was.

    Attributes:
        batch: The rows to send.
        origin: The elements.
        kept: For each row of the batch the number of its element; None if all elements are in the batch.
        rejected: The elements that could not be read, each with its number.
        schema: The table's schema that they were converted for; None where they cannot be converted again.
    """

    batch: pa.RecordBatch | pa.Table
    origin: Origin
    kept: np.ndarray | None = None
    rejected: Sequence[RowError] = ()
    schema: TableSchema | None = None

    @property
    def count(self) -> int:
        """All rows, including those that could not be read."""
        return self.batch.num_rows + len(self.rejected)

    def numbered(self, errors: RowErrors) -> RowErrors:
        """Return errors of rows of the batch with the rows' numbers among all rows."""
        return errors if self.kept is None else errors.at(self.kept[errors.indices])


class GatheredRows:
    """Rows of several conversions, none rejected, that are sent as one batch; their elements are dropped."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Drop all rows."""
        self._batches: list[pa.RecordBatch] = []
        self._elements = Elements()
        self.count = 0

    def fits(self, rows: RowsWithOrigin) -> bool:
        """Return whether rows have exactly the types of those that are here."""
        return not self._batches or self._batches[0].schema.equals(rows.batch.schema)

    def add(self, rows: RowsWithOrigin) -> None:
        """Add rows, with the timestamps and windows of their elements."""
        self._batches.append(rows.batch)
        self._elements.micros += rows.origin.elements.micros
        self._elements.windows += rows.origin.elements.windows
        self.count += rows.batch.num_rows

    def take(self) -> RowsWithOrigin:
        """Remove all rows, and return them as one batch."""
        batch = self._batches[0] if len(self._batches) == 1 else pa.concat_batches(self._batches)
        rows = RowsWithOrigin(batch=batch, origin=Origin(self._elements))
        self.clear()
        return rows


def rejected_rows(elements: Elements, errors: Sequence[RowError], *, holds_rows: bool = False) -> RowsWithOrigin:
    """Return rows of which none is sent; the errors have the numbers of the rows."""
    return RowsWithOrigin(batch=_NO_ROWS, origin=Origin(elements, holds_rows=holds_rows), rejected=errors)


def unknown_table(rows: int, error: ZerobusError) -> RowErrors:
    """Return an error for each of so many rows, whose table was not found."""
    return RowErrors.same(np.arange(rows), RowError(0, RowErrorType.UNKNOWN_TABLE.value, str(error), "destination"))


def separated(elements: Elements) -> Iterator[tuple[Kind, Elements]]:
    """Split elements by kind; each RecordBatch or Table is a part of its own. Usually all are of one kind."""
    kinds = {kind: _kind_of(kind) for kind in types_of(elements.values)}
    present = set(kinds.values())
    if len(present) == 1 and "batch" not in present:
        yield present.pop(), elements
        return
    positions: dict[Kind, list[int]] = {}
    for position, value in enumerate(elements.values):
        kind = kinds[type(value)]
        if kind == "batch":
            yield kind, elements.select([position])
        else:
            positions.setdefault(kind, []).append(position)
    for kind, chosen in positions.items():
        yield kind, elements.select(chosen)


def _kind_of(element_type: type) -> Kind:
    return "batch" if issubclass(element_type, pa.RecordBatch | pa.Table | RowsOfFile) else row_kind(element_type)
