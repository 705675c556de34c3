"""What a `ZerobusWriter` holds in one process: the schema, the deliveries, and the batches on their way."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from functools import partial

import pyarrow as pa

from beam_zerobus.delivery.keeper import Delivery, DeliveryHooks
from beam_zerobus.delivery.retry import Breaker, retry_transient
from beam_zerobus.delivery.stream import FailureKind, Stream, StreamFailure, StreamSpec, open_stream
from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.errors import ClosedError, ConfigurationError, ZerobusError, about_table
from beam_zerobus.schema import TableSchema
from beam_zerobus.telemetry import open_recorder
from beam_zerobus.workspace.tokens import TokenSource
from beam_zerobus.workspace.unity_catalog import fetch_table_schema
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.counters import Counters
from beam_zerobus.writer.debug_record import DebugRecorder, open_debug_recorder
from beam_zerobus.writer.result import TransmissionResult
from beam_zerobus.writer.submission import Submission

__all__ = ["WriterCore"]


class WriterCore:
    """What a writer holds in one process.

    Invariants:
    - `_conversion`, `_tap` and `_deliveries` are made together, at the first batch, when the schema is known, under
      `_preparing`, which may be held while the schema is fetched; later only `_conversion` is replaced.
    - `_open` holds every submission without an outcome; once `_closed` nothing new is taken. Both under `_lock`.
    """

    def __init__(self, config: WriterConfig, shard: str | None) -> None:
        self.pid = os.getpid()
        self._config = config
        self._shard = shard
        self._recorder = open_recorder(config.telemetry, table=config.table, wire_format=config.wire_format)
        self.counters = Counters(self._recorder)
        self._tokens = TokenSource(
            config.credentials,
            table=config.table,
            endpoint=config.endpoint or "",
            workspace_url=config.workspace_url,
            on_refresh=self._recorder.token_refreshed,
        )
        self._preparing = threading.Lock()
        self._lock = threading.Lock()
        self._open: set[Submission] = set()
        self._closed = False
        self._conversion: Conversion | None = None
        self._tap: DebugRecorder | None = None
        self._deliveries: list[Delivery] = []

    @property
    def schema(self) -> TableSchema | None:
        """The table's schema, once it is known."""
        return self._conversion.schema if self._conversion is not None else None

    @property
    def in_flight_bytes(self) -> int:
        """Bytes handed over and not settled, over all streams."""
        return sum(delivery.in_flight_bytes for delivery in self._deliveries)

    def submit(self, batch: pa.RecordBatch | pa.Table) -> Submission:
        """Convert a batch and hand it over; see `ZerobusWriter.submit`."""
        conversion = self._conversion or self.prepare(batch)
        arrow_bytes = batch.nbytes
        span = self._recorder.batch(batch.num_rows, arrow_bytes)
        submission = Submission(
            batch, arrow_bytes=arrow_bytes, table=self._config.table, span=span, on_done=self._finished
        )
        with self._lock:
            if self._closed:
                raise ClosedError(f"The writer of {self._config.table} is closed")
            self._open.add(submission)
        try:
            self._send(submission, conversion)
        except ZerobusError as error:
            self.cancel(submission, error)
            raise
        except BaseException:
            self.cancel(submission)
            raise
        return submission

    def _send(self, submission: Submission, conversion: Conversion) -> None:
        """Convert the batch piece by piece and hand each over as it is ready."""
        delivery = min(self._deliveries, key=lambda d: d.in_flight_bytes) if self._deliveries else None
        page = self._tap.begin(submission) if self._tap is not None else None
        payloads = conversion.payloads(submission.batch, framed=page is not None and page.takes_protobuf)
        while True:
            started = time.perf_counter()
            with submission.span.encoding():
                payload = next(payloads, None)
            submission.encode_seconds += time.perf_counter() - started
            if payload is None or submission.done:
                break
            submission.opened(payload)
            if not len(payload.rows):
                continue
            if delivery is None:
                if page is not None:
                    page.record(payload)
                submission.settle([payload.rows], (), 0)
                continue
            with submission.span.sending():
                record = partial(page.record, payload) if page is not None else None
                delivery.hand_over(payload.unframed(), submission, conversion, record)
            submission.span.sent(1, payload.size_bytes)
        if page is not None:
            page.end()
        submission.span.waiting_started()
        submission.seal()

    def cancel(self, submission: Submission, error: ZerobusError | None = None) -> None:
        """End a submission with an error, and let nothing more of it be sent."""
        submission.fail(error or ClosedError("The submission was cancelled"))
        for delivery in self._deliveries:
            delivery.cancel(submission)

    def flush(self, timeout: float | None) -> None:
        """Wait for all that is on its way now; see `ZerobusWriter.flush`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            waiting = set(self._open)
        for submission in waiting:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                submission.future.exception(left)
            except TimeoutError:
                raise TimeoutError(
                    f"{self._config.table}: not everything was acknowledged within {timeout} s"
                ) from None

    def flush_telemetry(self) -> None:
        """Export what was recorded so far, within the limit of `Telemetry.flush_timeout`."""
        self._recorder.flush()

    def close(self, timeout: float | None) -> None:
        """Take nothing new, wait for what is on its way, and close the streams."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        with suppress(TimeoutError):  # what is left fails with ClosedError, where its callers see it
            self.flush(timeout)
        for delivery in self._deliveries:
            delivery.stop(timeout)
        if self._tap is not None:
            self._tap.close()
        self._recorder.close()

    def _finished(self, submission: Submission, result: TransmissionResult | None, error: ZerobusError | None) -> None:
        if result is not None:
            self.counters.batch_done(
                rows_written=result.successful_count,
                rows_failed=result.failed_count,
                size_bytes=result.batch_size_bytes,
            )
            if result.failed_rows:
                submission.span.rejected(result.failed_rows)
                if self._tap is not None:
                    self._tap.reject(submission, result.failed_rows)
        submission.span.finish(result.successful_count if result is not None else 0, error)
        with self._lock:
            self._open.discard(submission)

    def prepare(self, batch: pa.RecordBatch | pa.Table | None) -> Conversion:
        """Learn the schema, from `batch` if nothing else tells it, and make what depends on it."""
        with self._preparing:
            if self._conversion is not None:
                return self._conversion
            if self._closed:
                raise ClosedError(f"The writer of {self._config.table} is closed")
            conversion = self._convert_with(self._find_schema(batch))
            if self._config.debug_files is not None:
                self._tap = open_debug_recorder(
                    self._config.debug_files, conversion, shard=self._shard, counters=self.counters
                )
            if not self._config.dry_run:
                self._deliveries = self._make_deliveries(conversion)
            self._conversion = conversion
            return conversion

    def _convert_with(self, schema: TableSchema) -> Conversion:
        return Conversion(
            schema,
            self._config.wire_format,
            table=self._config.table,
            ignore_unknown_fields=self._config.ignore_unknown_fields,
            arrow_compression=self._config.arrow_compression,
        )

    def _find_schema(self, batch: pa.RecordBatch | pa.Table | None) -> TableSchema:
        if isinstance(self._config.schema, TableSchema):
            return self._config.schema
        if self._config.schema is not None:
            return self._fetch_schema()
        if batch is None:
            raise ConfigurationError(
                f"The schema of {self._config.table} is not known before its first batch: "
                'give schema=..., or schema="unity_catalog" to fetch it'
            )
        with about_table(self._config.table):
            return TableSchema.from_arrow(batch.schema)

    def _fetch_schema(self) -> TableSchema:
        return retry_transient(self._fetch_schema_once, self._config.retry)

    def _fetch_schema_once(self) -> TableSchema:
        return fetch_table_schema(
            self._config.workspace_url or "", self._config.table, headers=self._tokens.workspace_headers()
        )

    def _make_deliveries(self, conversion: Conversion) -> list[Delivery]:
        breaker = Breaker()
        hooks = DeliveryHooks(
            open_stream=self._open_stream, forget_token=self._tokens.invalidate, refresh=self._refreshed
        )
        return [
            Delivery(
                name=self._config.table,
                conversion=conversion,
                hooks=hooks,
                retry=self._config.retry,
                breaker=breaker,
                counters=self.counters,
            )
            for _ in range(self._config.streams_per_worker)
        ]

    def _open_stream(self, spec: StreamSpec) -> Stream:
        config = self._config
        try:
            return open_stream(
                spec, endpoint=config.endpoint or "", workspace_url=config.workspace_url, tokens=self._tokens
            )
        except StreamFailure as failure:
            if failure.kind is FailureKind.REJECTED and config.schema != "unity_catalog":
                failure.differences = self._differences()
            raise

    def _differences(self) -> list[str]:
        """Say how the schema differs from the table's, where Unity Catalog tells; the service names one column only."""
        if self.schema is None or self._config.workspace_url is None:
            return []
        with suppress(ZerobusError):
            return self.schema.differences(self._fetch_schema_once())
        return []

    def _refreshed(self, old: Conversion) -> Conversion | None:
        """Fetch the schema again after the service found it out of date; None where that changes nothing."""
        if self._config.schema != "unity_catalog":
            return None
        with self._preparing:
            if self._conversion is not old:
                return self._conversion  # another stream met the change first
            schema = self._fetch_schema()
            if schema == old.schema:
                return None
            self._conversion = self._convert_with(schema)
            return self._conversion
