"""The DoFns of the sink: each element costs one append, everything else happens per batch.

Any default parameter of `process` makes Beam use a call that costs more than the append itself. So there are two
classes: the plain one, and one that receives each element's timestamp and windows, for pipelines with dead letters or
with windows.
"""

# No `from __future__ import annotations`: Beam needs the annotation of `process_batch` as a type, not as text.

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.typehints.batch import BatchConverter

from beam_zerobus.errors import ZerobusError
from beam_zerobus.sink.elements import Elements, holds_rows
from beam_zerobus.sink.metrics import SinkMetrics
from beam_zerobus.sink.outputs import Output
from beam_zerobus.sink.sender import BatchSender
from beam_zerobus.sink.settings import SinkSettings
from beam_zerobus.sink.ticker import Ticker

__all__ = ["WriteRows", "WriteRowsInWindows", "WriteRowsWithTimestamps", "WriteTables", "WriteTablesWithTimestamps"]


class WriteRows(beam.DoFn):
    """Collects elements into batches and sends them; succeeds when every row is acknowledged or a dead letter."""

    def __init__(self, settings: SinkSettings) -> None:
        self._settings = settings
        self._metrics = SinkMetrics(settings.namespace, max_tables=settings.max_tables_in_metrics)

    def setup(self) -> None:
        """Create the parts that are not pickled; the writer is opened with the first batch."""
        self._elements = Elements()
        self._values = self._elements.values
        self._limit = 1  # the first element shows whether elements are rows or whole batches
        self._sender = BatchSender(self._settings, self._metrics)
        self._ticker: Ticker | None = None
        self._held: list[Output] = []

    def start_bundle(self) -> None:
        """Drop what is left of a failed bundle."""
        self._drop()
        if self._settings.batching.max_delay is not None:
            self._ticker = Ticker(self._send, self._settings.batching.max_delay)

    def process(self, element: Any) -> Iterable[Any] | None:
        """Append the element; send a batch if there are enough."""
        values = self._values
        values.append(element)
        return self._send_if_full(element) if len(values) >= self._limit else None

    def finish_bundle(self) -> Iterator[Any]:
        """Send the rest, and wait until the last row of the bundle is acknowledged or rejected."""
        with self._dropping_on_error():
            if (ticker := self._stop_ticker()) is not None:
                ticker.check()
            self._send()
        yield from self._outputs(wait=True)
        with self._dropping_on_error():
            self._sender.finish()

    def teardown(self) -> None:
        """Release the writer if a bundle failed; it stays open for other DoFns."""
        self._drop()

    def _send_if_full(self, element: Any) -> Iterable[Any] | None:
        with self._dropping_on_error():
            many_rows = holds_rows(element)
            self._limit = 1 if many_rows else self._sender.elements_at_once(element)
            if not many_rows and len(self._values) < self._limit:
                return None
            if self._ticker is not None:
                self._ticker.check()
            self._sender.send(self._elements, incomplete=False)
        return self._emit()

    def _emit(self) -> Iterable[Any] | None:
        """Return the outputs that there are by now."""
        return self._outputs(wait=False)

    def _outputs(self, *, wait: bool) -> Iterator[Any]:
        """Yield outputs one by one: all the rows of a rejected batch at once would need far more memory than it."""
        with self._dropping_on_error():
            held, self._held = self._held, []
            yield from held
            yield from self._sender.outputs(wait=wait)

    def _send(self) -> None:
        """Send the collected elements; also called by the ticker's thread."""
        self._sender.send(self._elements, incomplete=True)

    def _stop_ticker(self) -> Ticker | None:
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.stop()
        return ticker

    def _drop(self) -> None:
        if self._ticker is not None:
            self._ticker.stop_soon()
            self._sender.abandon()  # else the ticker's thread may wait for room that only the service makes
            self._stop_ticker()
        self._elements.clear()
        self._held.clear()
        self._sender.abandon()

    @contextmanager
    def _dropping_on_error(self) -> Iterator[None]:
        try:
            yield
        except GeneratorExit:  # a later step failed; another bundle may have begun since
            raise
        except BaseException as error:
            self._drop()
            if isinstance(error, ZerobusError) and self._settings.wording is not None:
                reworded = error.reworded(self._settings.wording)
                raise reworded.with_traceback(error.__traceback__) from error.__cause__
            raise


class WriteTables(WriteRows):
    """Receives whole Tables from a transform that emits them, such as `ReadFromParquet(as_rows=True)`."""

    @beam.DoFn.yields_elements
    def process_batch(self, batch: pa.Table) -> Iterable[Any] | None:
        """Send the rows collected before, and the table as it is."""
        self._values.append(batch)
        return self._send_if_full(batch)


class WriteRowsWithTimestamps(WriteRows):
    """As `WriteRows`, in the global window, and keeps each element's timestamp for the outputs."""

    def setup(self) -> None:
        """Create the parts that are not pickled."""
        super().setup()
        self._micros = self._elements.micros

    def process(self, element: Any, windowed: Any = beam.DoFn.WindowedValueParam) -> Iterable[Any] | None:
        """Append the element and its timestamp; send a batch if there are enough."""
        self._micros.append(windowed.timestamp_micros)
        values = self._values
        values.append(element)  # last: see `Elements`
        return self._send_if_full(element) if len(values) >= self._limit else None


class WriteRowsInWindows(WriteRowsWithTimestamps):
    """As `WriteRowsWithTimestamps`, and keeps windows too."""

    def setup(self) -> None:
        """Create the parts that are not pickled."""
        super().setup()
        self._may_emit = True

    def process(self, element: Any, windowed: Any = beam.DoFn.WindowedValueParam) -> Iterable[Any] | None:
        """Append the element, its timestamp and its windows; send a batch if there are enough."""
        self._elements.windows.append(windowed.windows)
        self._may_emit = len(windowed.windows) == 1
        return super().process(element, windowed)

    def _emit(self) -> Iterable[Any] | None:
        # Beam repeats the windows of whatever is emitted as often as the current element has windows.
        if self._may_emit:
            return super()._emit()
        self._held = list(self._outputs(wait=False))
        return None


class WriteTablesWithTimestamps(WriteRowsWithTimestamps):
    """As `WriteTables`, in the global window, and keeps timestamps."""

    def __init__(self, settings: SinkSettings, converter: BatchConverter[Any, Any]) -> None:
        super().__init__(settings)
        self._converter = converter

    def setup(self) -> None:
        """Create the parts that are not pickled."""
        super().setup()
        self._sender = BatchSender(self._settings, self._metrics, as_element=self._row_of)

    @beam.DoFn.yields_elements
    def process_batch(self, batch: pa.Table, timestamp: Any = beam.DoFn.TimestampParam) -> Iterable[Any] | None:
        """Send the rows collected before, and the table as it is."""
        self._micros.append(timestamp.micros)
        self._values.append(batch)
        return self._send_if_full(batch)

    def _row_of(self, element: object) -> object:
        """Return the one row of a Table as the element that Beam makes of it for transforms without batches.

        A row that Python's types cannot hold, such as a time in the year 10000, stays a Table.
        """
        if not isinstance(element, pa.Table):
            return element  # this element was emitted as a row after all
        try:
            return next(iter(self._converter.explode_batch(element)))
        except (ValueError, OverflowError):
            return element
