"""Rejected rows as elements of `failed_rows`, singly or those of a batch together, and as lines of the log."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from apache_beam.coders.typecoders import registry
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.utils.timestamp import Timestamp

from beam_zerobus.errors import ConversionError, RejectedError, RowError, ZerobusError, counted, summarize
from beam_zerobus.sink.rows_in_columns import RowsInColumns
from beam_zerobus.sink.single_rows import SingleRows
from beam_zerobus.sink.whole_coder import WholeCoder
from beam_zerobus.telemetry import get_logger

__all__ = [
    "FAILED_ROWS",
    "FAILED_ROW_TYPE",
    "FailedElements",
    "FailedRows",
    "FailureLog",
    "bundle_error",
    "failure_log",
]

_log = get_logger(__name__)

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
"""What rows were, one by one or together."""


@dataclass(frozen=True, slots=True, eq=False)
class FailedRows:
    """The failed rows of a batch as one element, which costs far less than an element for each.

    Attributes:
        elements: What each row was.
        error_types: For each the name to group by.
        messages: For each the reason.
        stages: For each where it was found.
        table: The table.
        attempts: How often rows that the service rejected were sent.
        timestamp: When they were rejected.
    """

    elements: FailedElements
    error_types: Sequence[str]  # as columns, which are pickled far faster than `RowError`s
    messages: Sequence[str]
    stages: Sequence[str]
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
        messages: Sequence[str] | None = None,
    ) -> FailedRows:
        """Return rows that were rejected now; `messages` are used in place of those of the errors."""
        return cls(
            elements,
            [error.error_type for error in errors],
            [error.message for error in errors] if messages is None else messages,
            [error.stage for error in errors],
            table,
            attempts,
            Timestamp.now(),
        )

    def letters(self) -> Iterator[dict[str, Any]]:
        """Yield the fields of each as an element of `failed_rows`."""
        columns = (self.elements, self.error_types, self.messages, self.stages)
        for element, error_type, message, stage in zip(*columns, strict=True):
            yield {
                "element": element,
                "error_type": error_type,
                "message": message,
                "stage": stage,
                "table": self.table,
                "attempts": self.attempts_in(stage),
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
    kind = RejectedError if any(error.stage == "service" for error in errors) else ConversionError
    return kind(summarize(errors, table=table, total_rows=total_rows), row_errors=errors)


@dataclass(slots=True)
class _Unlogged:
    rows: int = 0
    last: float = float("-inf")


class FailureLog:
    """Logs rejected rows, at most one line per table and interval, so that no failed row is silent.

    Invariant, under the one lock: `_unlogged[table].rows` counts the rows that no line has counted yet.
    """

    def __init__(self, interval: float = 10.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._lock = threading.Lock()
        self._unlogged: dict[str, _Unlogged] = {}

    def forget(self) -> None:
        """Log the next rejected rows at once, as if none had been logged before."""
        with self._lock:
            self._unlogged.clear()

    def note(
        self,
        errors: Sequence[RowError],
        *,
        table: str,
        located: Callable[[Sequence[RowError]], Sequence[RowError]] = lambda errors: errors,
    ) -> None:
        """Count rejected rows; log the count and one reason of each kind, unless a line was just logged.

        Args:
            errors: The rejected rows.
            table: Their table.
            located: Adds their places to the messages of some.
        """
        now = self._clock()
        with self._lock:
            state = self._unlogged.setdefault(table, _Unlogged())
            state.rows += len(errors)
            if now - state.last < self._interval:
                return
            rows, state.rows, state.last = state.rows, 0, now
        kinds = Counter(error.error_type for error in errors)
        # The service's words may repeat a value of the row: they are in failed_rows only.
        first = {error.error_type: error for error in reversed(errors) if error.stage != "service"}
        said = {error.error_type: f": {error.message}" for error in located(list(first.values()))}
        reasons = "; ".join(f"{kind} ({count}){said.get(kind, '')}" for kind, count in kinds.most_common(3))
        _log.warning(
            "%s rejected for table %s went to failed_rows; most recently: %s", counted(rows, "row"), table, reasons
        )


failure_log = FailureLog()
"""The one of the process."""
