"""From the elements that a DoFn collected to the sink's outputs, through the shared writer.

A row passes through: `BatchSender.send` (elements to rows), `Bundle.send` (rows to the writer), `Bundle.outcomes` (the
writer's result back), `BatchSender.outputs` (what leaves the DoFn).
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator

from beam_zerobus.batching import RowConverter, RowKind, RowLimit, row_kind
from beam_zerobus.errors import ConversionError, RowError
from beam_zerobus.schema import Conformer, RowErrorType
from beam_zerobus.sink.bundle import Bundle, Outcome
from beam_zerobus.sink.elements import Elements, Origin
from beam_zerobus.sink.failed_rows import bundle_error, failure_log
from beam_zerobus.sink.metrics import SinkMetrics
from beam_zerobus.sink.outputs import Output, acknowledged_outputs, failed_outputs
from beam_zerobus.sink.rows import GatheredRows, RowsWithOrigin, separated
from beam_zerobus.sink.schema_choice import with_schema_of_element
from beam_zerobus.sink.settings import SinkSettings
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.zerobus_writer import ZerobusWriter

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
        settings: The sink's.
        metrics: Where to count.
        as_element: Turns what a row was into an element of the pipeline, where rows are parts of something else.
    """

    def __init__(
        self, settings: SinkSettings, metrics: SinkMetrics, *, as_element: Callable[[object], object] = lambda row: row
    ) -> None:
        self._settings = settings
        self._table = settings.config.table
        self._as_element = as_element
        self._metrics = metrics
        self._sending = threading.Lock()
        self._bundle = Bundle(settings.note_written)
        self._row_limit = RowLimit(settings.batching)
        self._config: WriterConfig | None = None
        self._converter: RowConverter | None = None
        self._gathered = GatheredRows()

    def elements_at_once(self, element: object) -> int:
        """Return how many elements like this one to collect before `send`."""
        # Rejected elements are emitted as they were, so with dead letters elements are kept anyway.
        if self._settings.dead_letters or not gc.is_tracked(element):
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
            elements = collected.take()
            if not elements.values and not self._gathered.count:
                return
            if self._config is None:
                self._config = with_schema_of_element(self._settings.config, elements.values[0])
            writer = self._bundle.writer(self._config)
            for kind, chosen in separated(elements):
                if kind == "batch":
                    self._send_whole(writer, chosen)
                else:
                    self._add(writer, self._convert(writer, Origin(chosen), kind))
            if self._gathered.count and (incomplete or self._gathered.count >= self._row_limit.rows):
                self._submit(writer, self._gathered.take())

    def _add(self, writer: ZerobusWriter, rows: RowsWithOrigin) -> None:
        """Submit rows whose elements are kept for dead letters; gather others, whose elements are dropped."""
        if self._settings.dead_letters:
            self._submit(writer, rows)
            return
        if rows.rejected:
            raise bundle_error(self._all_rejected(rows), table=self._table, total_rows=rows.count)
        if not self._gathered.fits(rows):
            self._submit(writer, self._gathered.take())
        self._gathered.add(rows)

    def _all_rejected(self, rows: RowsWithOrigin) -> list[RowError]:
        """Return the rows that could not be read, and those that the table's schema rejects: nothing will be sent."""
        rejected = list(rows.rejected)
        if self._converter is not None and rows.batch.num_rows:
            config = self._settings.config
            conformer = Conformer(
                self._converter.schema, ignore_unknown_fields=config.ignores_unknown_fields, times=config.times
            )
            unfit = conformer.conform(rows.batch).rejected
            rejected += [error.at(rows.number(error.index)) for error in unfit]
        return sorted(rejected, key=lambda error: error.index)

    def _submit(self, writer: ZerobusWriter, rows: RowsWithOrigin) -> None:
        self._row_limit.learn(rows=rows.batch.num_rows, nbytes=rows.batch.nbytes)
        self._bundle.send(writer, rows)

    def _send_whole(self, writer: ZerobusWriter, element: Elements) -> None:
        """Submit a RecordBatch or Table; convert the rows of a file as other rows."""
        origin = Origin(element, holds_rows=True)
        if not isinstance(origin.rows, list):
            self._submit_whole(writer, origin)
            return
        for part in element.values[0].parts(self._row_limit.rows):
            origin = Origin(Elements([part], element.micros, element.windows), holds_rows=True)
            rows = self._convert(writer, origin, row_kind(type(part.rows[0])))
            if rows.rejected and not self._settings.dead_letters:
                raise bundle_error(origin.located(rows.rejected), table=self._table, total_rows=rows.count)
            self._submit(writer, rows)

    def _submit_whole(self, writer: ZerobusWriter, origin: Origin) -> None:
        """Submit a RecordBatch or Table as it is; if its columns cannot fit the table's, it is rejected as a whole."""
        rows = RowsWithOrigin(batch=origin.rows, origin=origin)
        try:
            self._bundle.send(writer, rows)
        except ConversionError as error:
            if not self._settings.dead_letters:
                raise
            # Its columns cannot fit the table, so each of its rows is a failed row.
            rejected = tuple(
                RowError(row, RowErrorType.WRONG_TYPE, str(error), "schema") for row in range(rows.batch.num_rows)
            )
            self._bundle.send(
                writer, RowsWithOrigin(batch=rows.batch.slice(0, 0), origin=rows.origin, rejected=rejected)
            )

    def _convert(self, writer: ZerobusWriter, origin: Origin, kind: RowKind) -> RowsWithOrigin:
        """Convert rows, after another look at the table where they do not fit the schema as it is known."""
        converter = self._converter_for(writer)
        values = origin.rows
        converted = converter.convert(values, kind)
        if writer.may_look_again and converter.may_be_outdated(values, kind, converted):
            writer.look_again()
            newest = self._converter_for(writer)
            converted = converted if newest is converter else newest.convert(values, kind)
        return RowsWithOrigin(batch=converted.batch, origin=origin, kept=converted.rows, rejected=converted.rejected)

    def _converter_for(self, writer: ZerobusWriter) -> RowConverter:
        """Return the converter for the table's schema, a new one after the schema changed."""
        schema = writer.schema or writer.resolve_schema()
        if self._converter is None or self._converter.schema is not schema:
            config = self._settings.config
            self._converter = RowConverter(
                schema,
                ignore_unknown_fields=config.ignores_unknown_fields,
                rescue_column=config.rescues_into,
                times=config.times,
            )
        return self._converter

    def outputs(self, *, wait: bool) -> Iterator[Output]:
        """Yield the outputs of the batches that have an outcome; with `wait`, of all batches.

        Raises:
            ConversionError: RowsWithOrigin were rejected before they were sent, and fail the bundle.
            RejectedError: The service rejected rows, and they fail the bundle.
            ZerobusError: A batch failed as a whole.
        """
        for outcome in self._bundle.outcomes(wait=wait):
            self._count(outcome)
            if outcome.rejected:
                if not self._settings.dead_letters:
                    raise bundle_error(outcome.rejected, table=self._table, total_rows=outcome.rows.count)
                failure_log.note(outcome.rejected, table=self._table)
                yield from failed_outputs(
                    outcome,
                    table=self._table,
                    as_element=self._as_element,
                    together=self._settings.failures_together,
                )
            yield from acknowledged_outputs(outcome, table=self._table)

    def _count(self, outcome: Outcome) -> None:
        if outcome.result is not None:
            self._metrics.batch_done(outcome.result, encode_ms=outcome.encode_ms)
        if outcome.rejected:
            self._metrics.rows_rejected(outcome.rejected)

    def finish(self) -> None:
        """End a bundle of which every batch has an outcome."""
        counts = self._bundle.drain_counts()
        if counts:
            self._metrics.writer_counted(counts)
            self._metrics.bundle_succeeded(self._table)
        self._bundle.finish()

    def abandon(self) -> None:
        """End a bundle that failed: what is not sent yet is never sent."""
        self._gathered.clear()
        self._bundle.abandon()
