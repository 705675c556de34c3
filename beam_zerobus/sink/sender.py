"""From collected elements to the sink's outputs, by way of the shared writer."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import TypeAlias

from apache_beam.pvalue import Row, TaggedOutput
from apache_beam.utils.windowed_value import WindowedValue

from beam_zerobus.batching import RowLimit
from beam_zerobus.errors import ConversionError, RowError
from beam_zerobus.schema import RowErrorType
from beam_zerobus.sink.bundle import Bundle, Settled
from beam_zerobus.sink.elements import Elements, Origin
from beam_zerobus.sink.failed_rows import FAILED_ROWS, FailureLog, bundle_error, failed_row
from beam_zerobus.sink.metrics import SinkMetrics
from beam_zerobus.sink.rows import GatheredRows, RowConverter, Rows, separated, with_schema_of
from beam_zerobus.sink.settings import SinkSettings
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.zerobus_writer import ZerobusWriter

__all__ = ["BatchSender", "Output"]

Output: TypeAlias = "WindowedValue | TaggedOutput[str, WindowedValue]"

# Python's garbage collector looks for the first time after 700 new containers, and takes what is still there for
# longer-lived; dicts of plain values are not tracked, NamedTuples and Rows are.
_CONTAINERS_AT_ONCE = 600
_CONTAINERS = (dict, list, tuple, set)

_failure_log = FailureLog()


class BatchSender:
    """Sends collected elements in batches, and says what became of them.

    Elements that the garbage collector tracks are converted in small pieces and let go at once: thousands of them that
    wait for a batch keep it so busy that it costs more than all else together.

    `take` may be called from any thread, one at a time; everything else belongs to the bundle's thread, because Beam
    counts metrics there only.

    Args:
        settings: The sink's.
        metrics: Where to count.
        as_element: Makes a failed row what it was as an element, where it came as part of something else.
    """

    def __init__(
        self, settings: SinkSettings, metrics: SinkMetrics, *, as_element: Callable[[object], object] = lambda row: row
    ) -> None:
        self._settings = settings
        self._as_element = as_element
        self._metrics = metrics
        self._sending = threading.Lock()
        self._bundle = Bundle()
        self._row_limit = RowLimit(settings.batching)
        self._config: WriterConfig | None = None
        self._converter: RowConverter | None = None
        self._gathered = GatheredRows()

    def elements_at_once(self, element: object) -> int:
        """Say how many elements like this one to collect before `take`."""
        # What is rejected is handed on as it came in, so with dead letters elements are kept anyway.
        if self._settings.dead_letters or not gc.is_tracked(element):
            return self._row_limit.rows
        parts = sum(isinstance(part, _CONTAINERS) for part in gc.get_referents(element))
        return max(1, min(_CONTAINERS_AT_ONCE // (1 + parts), self._row_limit.rows))

    def take(self, elements: Elements, *, send_all: bool) -> None:
        """Take all elements, and hand rows to the writer if they make a batch, or at any rate with `send_all`.

        Raises:
            ConversionError: Elements cannot be read, and the bundle is to fail for it.
            ZerobusError: What concerns more than single rows.
        """
        with self._sending:
            taken = elements.take()
            if not taken.values and not self._gathered.count:
                return
            if self._config is None:
                self._config = with_schema_of(self._settings.config, taken.values[0])
            writer = self._bundle.writer(self._config)
            self._take(writer, taken)
            if self._gathered.count and (send_all or self._gathered.count >= self._row_limit.rows):
                self._send_gathered(writer)

    def _take(self, writer: ZerobusWriter, elements: Elements) -> None:
        for kind, chosen in separated(elements):
            if kind == "rows":
                self._send_as_it_is(writer, chosen)
                continue
            rows = self._converter_for(writer).convert(chosen, kind)
            if self._settings.dead_letters:
                self._send(writer, rows)
            elif rows.rejected:
                raise bundle_error(rows.rejected, table=self._table, total_rows=rows.count)
            else:
                self._gather(writer, rows)

    def _gather(self, writer: ZerobusWriter, rows: Rows) -> None:
        if not self._gathered.fits(rows):
            self._send_gathered(writer)
        self._gathered.add(rows)

    def _send_gathered(self, writer: ZerobusWriter) -> None:
        self._send(writer, self._gathered.take())

    def _send(self, writer: ZerobusWriter, rows: Rows) -> None:
        self._row_limit.learn(rows=rows.batch.num_rows, nbytes=rows.batch.nbytes)
        self._bundle.send(writer, rows)

    def _send_as_it_is(self, writer: ZerobusWriter, element: Elements) -> None:
        rows = Rows(batch=element.values[0], origin=Origin(element, holds_rows=True))
        try:
            self._bundle.send(writer, rows)
        except ConversionError as error:
            if not self._settings.dead_letters:
                raise
            # Its columns cannot fit the table, so each of its rows is a failed row.
            rejected = tuple(
                RowError(row, RowErrorType.WRONG_TYPE, str(error), "schema") for row in range(rows.batch.num_rows)
            )
            self._bundle.reject(Rows(batch=rows.batch.slice(0, 0), origin=rows.origin, rejected=rejected))

    def _converter_for(self, writer: ZerobusWriter) -> RowConverter:
        """Return the converter for the table's schema, a new one after the schema changed."""
        schema = writer.schema or writer.resolve_schema()
        if self._converter is None or self._converter.schema is not schema:
            self._converter = RowConverter(schema, ignore_unknown_fields=self._settings.config.ignore_unknown_fields)
        return self._converter

    def outputs(self, *, wait: bool) -> Iterator[Output]:
        """Yield what the batches became that are back; with `wait`, all of them.

        Raises:
            ConversionError: Rows were rejected on the way, and the bundle is to fail for it.
            RejectedError: Rows were rejected by the service, likewise.
            ZerobusError: A batch failed as a whole.
        """
        for settled in self._bundle.settled(all_of_them=wait):
            self._count(settled)
            if settled.rejected and not self._settings.dead_letters:
                raise bundle_error(settled.rejected, table=self._table, total_rows=settled.count)
            yield from self._failed(settled)
            yield from self._acknowledged(settled)

    def finish(self) -> None:
        """End a bundle whose batches are all settled."""
        counts = self._bundle.drain_counts()
        if counts:
            self._metrics.writer_counted(counts)
            self._metrics.bundle_succeeded(self._table)
        self._bundle.finish()

    def abandon(self) -> None:
        """End a bundle that failed: what is not sent yet never will be."""
        self._gathered.clear()
        self._bundle.abandon()

    @property
    def _table(self) -> str:
        return self._settings.config.table

    def _count(self, settled: Settled) -> None:
        if settled.result is not None:
            self._metrics.batch_settled(settled.result, encode_ms=settled.encode_ms)
        if settled.rejected:
            self._metrics.rows_rejected(settled.rejected)

    def _failed(self, settled: Settled) -> Iterator[Output]:
        if settled.rejected:
            _failure_log.note(settled.rejected, table=self._table)
        attempts = settled.result.attempts if settled.result is not None else 0
        for error in settled.rejected:
            origin = settled.origin
            row = failed_row(
                self._as_element(origin.element(error.index)),
                error,
                table=self._table,
                attempts=attempts if error.stage == "service" else 0,
            )
            yield TaggedOutput(FAILED_ROWS, origin.in_place(row, error.index))

    def _acknowledged(self, settled: Settled) -> Iterator[Output]:
        result = settled.result
        if result is None or not result.successful_count:
            return
        bytes_per_row = result.batch_size_bytes / result.successful_count
        rejected = [error.index for error in settled.rejected]
        for rows, placed in settled.origin.by_place(settled.count, without=rejected):
            yield placed(
                Row(table=self._table, rows=rows, bytes=round(rows * bytes_per_row), latency_ms=result.latency_ms)
            )
