"""From the elements that a DoFn collected to the sink's outputs, through the shared writer.

A row passes through: `BatchSender.send`, `ManyTables.send` where there are several, `TableRows.send` (elements to
rows), `Bundle.send` (rows to the writer), `Bundle.outcomes` (the writer's result back), `BatchSender.outputs` (what
leaves the DoFn).
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator

from beam_zerobus.batching import RowLimit
from beam_zerobus.sink.bundle import Bundle, Outcome
from beam_zerobus.sink.elements import Elements
from beam_zerobus.sink.failed_rows import bundle_error, failure_log
from beam_zerobus.sink.many_tables import ManyTables
from beam_zerobus.sink.metrics import SinkMetrics
from beam_zerobus.sink.outputs import Output, acknowledged_outputs, failed_outputs
from beam_zerobus.sink.settings import SinkSettings
from beam_zerobus.sink.table_rows import TableRows

__all__ = ["BatchSender"]

# Python's garbage collector first runs after 700 new containers, and moves what is still there to an older generation;
# dicts of plain values are not tracked, NamedTuples and Rows are.
_CONTAINERS_AT_ONCE = 600
_CONTAINERS = (dict, list, tuple, set)


class BatchSender:
    """Sends collected elements in batches, and returns the outputs of those that have an outcome.

    Elements that the garbage collector tracks are converted in small pieces and dropped at once: with thousands of them
    waiting for a batch, its work costs more than everything else together.

    `send` may be called from any thread, one at a time; everything else belongs to the bundle's thread, because Beam
    counts metrics only there.

    Args:
        settings: The settings of the sink.
        metrics: Where to count.
        as_element: Turns a rejected row into an element of the pipeline, where the DoFn received it as part of a Table.
    """

    def __init__(
        self, settings: SinkSettings, metrics: SinkMetrics, *, as_element: Callable[[object], object] = lambda row: row
    ) -> None:
        self._settings = settings
        self._as_element = as_element
        self._metrics = metrics
        self._sending = threading.Lock()
        self._bundle = Bundle(settings.tables, reject_unknown=settings.dead_letters, note_written=settings.note_written)
        self._row_limit = RowLimit(settings.batching)
        self._tables_written: set[str] = set()
        self._rows: TableRows | ManyTables
        if settings.tables is None or settings.destination is None:
            self._rows = TableRows(settings.config, settings, self._bundle, self._row_limit)
        else:
            self._rows = ManyTables(
                settings, settings.tables, settings.destination, bundle=self._bundle, row_limit=self._row_limit
            )

    def elements_at_once(self, element: object) -> int:
        """Return how many elements like this one to collect before `send`."""
        # Rejected elements are emitted as they were, so with dead letters elements are kept anyway; and those of many
        # tables are, until there are enough for one of them.
        if self._settings.dead_letters or self._settings.tables is not None or not gc.is_tracked(element):
            return self._row_limit.rows
        parts = sum(isinstance(part, _CONTAINERS) for part in gc.get_referents(element))
        return max(1, min(_CONTAINERS_AT_ONCE // (1 + parts), self._row_limit.rows))

    def send(self, collected: Elements, *, incomplete: bool) -> None:
        """Empty `collected` and submit the rows as soon as they fill a batch.

        Args:
            collected: The elements.
            incomplete: Submit a batch that is not full, too.

        Raises:
            ConversionError: Elements cannot be read, and fail the bundle.
            ZerobusError: An error that concerns more than single rows.
        """
        with self._sending:
            self._rows.send(collected.take(), incomplete=incomplete)

    def outputs(self, *, wait: bool) -> Iterator[Output]:
        """Yield the outputs of the batches that have an outcome; with `wait`, of all batches.

        Raises:
            ConversionError: Rows were rejected before they were sent, and fail the bundle.
            RejectedError: The service rejected rows, and they fail the bundle.
            ZerobusError: A batch failed as a whole.
        """
        for outcome in self._bundle.outcomes(wait=wait):
            self._count(outcome)
            if outcome.rejected:
                origin = outcome.rows.origin
                if not self._settings.dead_letters:
                    rejected = origin.located(outcome.rejected)
                    raise bundle_error(rejected, table=outcome.table, total_rows=outcome.rows.count)
                failure_log.note(outcome.rejected, table=outcome.table, located=origin.located)
                yield from failed_outputs(
                    outcome, as_element=self._as_element, together=self._settings.failures_together
                )
            yield from acknowledged_outputs(outcome)

    def _count(self, outcome: Outcome) -> None:
        if outcome.result is not None:
            self._metrics.batch_done(outcome.table, outcome.result, encode_ms=outcome.encode_ms)
            self._tables_written.add(outcome.table)
        if outcome.rejected:
            self._metrics.rows_rejected(outcome.table, outcome.rejected)

    def finish(self) -> None:
        """End a bundle of which every batch has an outcome."""
        counts = self._bundle.drain_counts()
        if counts:
            self._metrics.writer_counted(counts)
        for table in self._tables_written:
            self._metrics.table_written(table)
        self._tables_written.clear()
        self._rows.finish()
        self._bundle.finish()

    def abandon(self) -> None:
        """End a bundle that failed: what is not sent yet is never sent."""
        self._rows.clear()
        self._tables_written.clear()
        self._bundle.abandon()
