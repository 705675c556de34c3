"""Rejected rows as lines of the log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from beam_zerobus.errors import RowError, RowErrors, counted
from beam_zerobus.telemetry import get_logger
from beam_zerobus.writer.result import TransmissionResult

__all__ = ["FailureLog", "failure_log", "logged"]

_log = get_logger(__name__)


@dataclass(slots=True)
class _Unlogged:
    rows: int = 0
    last: float = float("-inf")


class FailureLog:
    """Logs rejected rows, at most one line per table and interval, so that no failed row is silent.

    Invariant, under the one lock: `_unlogged[table].rows` counts the rows that no line has counted yet.

    Args:
        found: Where the rows are, as the end of a sentence.
        interval: Seconds between two lines, at least.
        clock: Returns seconds.
    """

    def __init__(self, found: str, interval: float = 10.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._found = found
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
        columns = RowErrors.of(errors)
        kinds = columns.by_type()
        first: dict[str, RowError] = {}
        for error, _ in columns.summed():
            if error.stage != "service":  # its words may repeat a value of the row: they are in failed_rows only
                first.setdefault(error.error_type, error)
        said = {error.error_type: f": {error.message}" for error in located(list(first.values()))}
        reasons = "; ".join(f"{kind} ({count}){said.get(kind, '')}" for kind, count in kinds.most_common(3))
        _log.warning("%s rejected for table %s%s; most recently: %s", counted(rows, "row"), table, self._found, reasons)


failure_log = FailureLog(", see failed_rows of the result")
"""Logs the rows that `ZerobusWriter.send` returns as failed; one for the process."""


def logged(result: TransmissionResult, table: str) -> TransmissionResult:
    """Return a result, and log its rejected rows: a caller may not look at it."""
    if result.failed_count:
        failure_log.note(result.rejected, table=table)
    return result
