"""Rejected rows as elements of `failed_rows`, singly or those of a batch together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from apache_beam.coders.typecoders import registry
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.utils.timestamp import Timestamp

from beam_zerobus.errors import ConversionError, RejectedError, RowError, RowErrors, ZerobusError, summarize
from beam_zerobus.sink.rows_in_columns import RowsInColumns
from beam_zerobus.sink.rows_of_file import Places
from beam_zerobus.sink.single_rows import SingleRows
from beam_zerobus.sink.whole_coder import WholeCoder
from beam_zerobus.writer.failure_log import FailureLog

__all__ = ["FAILED_ROWS", "FAILED_ROW_TYPE", "FailedElements", "FailedRows", "bundle_error", "failure_log"]

FAILED_ROWS = "failed_rows"

FAILED_ROW_TYPE = RowTypeConstraint.from_fields(
    [
        ("element", Any),
        ("error_type", str),
        ("message", str),
        ("stage", str),
        ("table", str),
        ("attempts", int),
        ("timestamp", Timestamp),
    ]
)
"""The row type of `failed_rows`. `element` is Any: a rejected element often violates the type that was declared."""


FailedElements: TypeAlias = "Sequence[Any] | RowsInColumns | SingleRows"
"""The elements of rows, in a list or as columns."""


@dataclass(frozen=True, slots=True, eq=False)
class FailedRows:
    """The failed rows of a batch as one element, which costs far less than an element for each.

    Attributes:
        elements: The element of each row.
        errors: Why each was rejected, as columns, which are pickled far faster than `RowError`s.
        places: Where each is in a file; None where that is not known.
        table: The table.
        attempts: How often rows that the service rejected were sent.
        timestamp: When they were rejected.
    """

    elements: FailedElements
    errors: RowErrors
    places: Places | None
    table: str
    attempts: int
    timestamp: Timestamp

    @classmethod
    def of(
        cls,
        elements: FailedElements,
        errors: Sequence[RowError],
        *,
        table: str,
        attempts: int = 0,
        places: Places | None = None,
    ) -> FailedRows:
        """Return rows that were rejected now."""
        return cls(elements, RowErrors.of(errors), places, table, attempts, Timestamp.now())

    def letters(self) -> Iterator[dict[str, Any]]:
        """Yield the fields of each as an element of `failed_rows`."""
        errors = list(self.errors)
        messages = [error.message for error in errors]
        if self.places is not None:
            messages = self.places.of(messages)
        for element, error, message in zip(self.elements, errors, messages, strict=True):
            yield {
                "element": element,
                "error_type": error.error_type,
                "message": message,
                "stage": error.stage,
                "table": self.table,
                "attempts": self.attempts_in(error.stage),
                "timestamp": self.timestamp,
            }

    def attempts_in(self, stage: str) -> int:
        """Return how often rows that were rejected in a stage were sent."""
        return self.attempts if stage == "service" else 0


registry.register_coder(FailedRows, WholeCoder)


def bundle_error(errors: Sequence[RowError], *, table: str, total_rows: int) -> ZerobusError:
    """Return what fails a bundle whose rows were rejected, with the count and the first reasons.

    >>> str(bundle_error([RowError(7, "null", "column 'id' is NOT NULL")], table="a.b.c", total_rows=10))
    "1 of 10 rows rejected for table a.b.c: row 7: column 'id' is NOT NULL"
    """
    kind = RejectedError if RowErrors.of(errors).by_service() else ConversionError
    return kind(summarize(errors, table=table, total_rows=total_rows), row_errors=errors)


failure_log = FailureLog(" went to failed_rows")
"""Logs the rows that are sent to `failed_rows`; one for the process."""
