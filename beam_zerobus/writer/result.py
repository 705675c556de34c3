"""`TransmissionResult`: the outcome of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa

from beam_zerobus.encoding.take import take_rows
from beam_zerobus.errors import RowError, RowErrors

__all__ = ["TransmissionResult"]


class _AsTuple:
    """Rows that are columns until a caller asks for them, and a tuple then."""

    def __get__(self, result: TransmissionResult | None, owner: type) -> tuple[RowError, ...]:
        if result is None:  # the default of the field
            return ()
        known = vars(result)
        if "tuple" not in known:
            known["tuple"] = tuple(known["columns"])
        rows: tuple[RowError, ...] = known["tuple"]
        return rows

    def __set__(self, result: TransmissionResult, rows: Sequence[RowError]) -> None:
        vars(result)["columns"] = RowErrors.of(rows)


@dataclass(frozen=True, kw_only=True)
class TransmissionResult:
    """The outcome of one batch: every row is either durable in the table's service or in `failed_rows`.

    Attributes:
        success: All rows are acknowledged.
        error: Why not, in one sentence; None on success.
        attempts: How often the most tried part of the batch was sent.
        latency_ms: Milliseconds from the call to the last acknowledgement.
        batch_size_bytes: Bytes of the encoded rows.
        total_rows: Rows of the batch as it was submitted.
        successful_count: Rows acknowledged.
        failed_count: Rows rejected.
        failed_rows: The rejected rows by index, ascending, each with its reason.

    Example:
        >>> result = TransmissionResult(
        ...     success=False, error="1 of 3 rows rejected", attempts=1, latency_ms=4.0, batch_size_bytes=60,
        ...     total_rows=3, successful_count=2, failed_count=1,
        ...     failed_rows=(RowError(1, "null_in_not_null_column", "column 'id' is NOT NULL"),))
        >>> result.is_partial_success, result.errors_by_type()
        (True, {'null_in_not_null_column': 1})
        >>> batch = pa.record_batch({"id": [1, None, 3]})
        >>> result.failed_batch(batch).num_rows, result.successful_batch(batch)["id"].to_pylist()
        (1, [1, 3])
    """

    success: bool
    error: str | None
    attempts: int
    latency_ms: float
    batch_size_bytes: int
    total_rows: int
    successful_count: int
    failed_count: int
    failed_rows: tuple[RowError, ...] = cast("Any", _AsTuple())

    @property
    def is_partial_success(self) -> bool:
        """True where some rows are acknowledged and some rejected."""
        return 0 < self.successful_count < self.total_rows

    @property
    def rejected(self) -> RowErrors:
        """The same as `failed_rows`, as columns."""
        columns: RowErrors = vars(self)["columns"]
        return columns

    def failed_batch(self, batch: pa.RecordBatch | pa.Table) -> pa.RecordBatch | pa.Table:
        """Return the rejected rows of the batch that was sent, in order."""
        return take_rows(batch, self.rejected.indices)

    def successful_batch(self, batch: pa.RecordBatch | pa.Table) -> pa.RecordBatch | pa.Table:
        """Return the acknowledged rows of the batch that was sent, in order."""
        return take_rows(batch, np.delete(np.arange(batch.num_rows), self.rejected.indices))

    def errors_by_type(self) -> dict[str, int]:
        """Count the rejected rows by `error_type`."""
        return dict(self.rejected.by_type())
