"""The outputs of `WriteToZerobus`."""

from __future__ import annotations

from typing import Any

from apache_beam.pvalue import PCollection
from apache_beam.typehints.row_type import RowTypeConstraint

from beam_zerobus.sink.failed_rows import FAILED_ROWS

__all__ = ["ACKNOWLEDGED", "ACKNOWLEDGED_TYPE", "WriteResult"]

ACKNOWLEDGED = "acknowledged"

ACKNOWLEDGED_TYPE = RowTypeConstraint.from_fields(
    [("table", str), ("rows", int), ("bytes", int), ("latency_ms", float)]
)
"""The row type of `acknowledged`."""


class WriteResult(dict[str, PCollection[Any]]):
    """The sink's outputs by name; a dict, so that they have names in Beam YAML and other languages too.

    Example:
        >>> result = WriteResult(failed_rows="a PCollection", acknowledged="another")
        >>> result.failed_rows
        'a PCollection'
    """

    @property
    def failed_rows(self) -> PCollection[Any]:
        """Rows that were rejected, with ``on_bad_rows="dead_letter"``; empty otherwise.

        Each is ``beam.Row(element, error_type, message, stage, table, attempts, timestamp)`` in the window and at the
        timestamp of its element. `element` is the element itself; for a row of a RecordBatch or Table, one of the same
        kind that holds the row alone. `attempts` counts how often it was sent, 0 if never; `timestamp` is when it was
        rejected.
        """
        return self[FAILED_ROWS]

    @property
    def acknowledged(self) -> PCollection[Any]:
        """What is durable: one ``beam.Row(table, rows, bytes, latency_ms)`` for each batch.

        It is emitted when the rows' bundle has succeeded, so ``beam.WaitOn(result.acknowledged)`` starts work after the
        write. A batch with elements from several windows has one element in each, with its share of the bytes.
        """
        return self[ACKNOWLEDGED]
