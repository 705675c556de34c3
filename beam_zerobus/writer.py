"""`ZerobusWriter`: RecordBatches into a Delta table, from any number of threads."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
import weakref
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from beam_zerobus.auth import Credentials, TokenSource
from beam_zerobus.config import SchemaSource, WriterConfig, make_config
from beam_zerobus.conversion import Conversion
from beam_zerobus.counters import Counters
from beam_zerobus.debug_tap import DebugTap, open_debug_tap
from beam_zerobus.delivery import Delivery, DeliveryHooks
from beam_zerobus.errors import ClosedError, ConfigurationError, ConversionError, ZerobusError
from beam_zerobus.options import ArrowCompression, DebugFiles, Retry, Telemetry, WireFormat
from beam_zerobus.result import TransmissionResult
from beam_zerobus.retry import Breaker, retry_transient
from beam_zerobus.schema import TableSchema
from beam_zerobus.stream import Stream, StreamSpec, open_stream
from beam_zerobus.submission import Submission
from beam_zerobus.telemetry import open_recorder
from beam_zerobus.unity_catalog import fetch_table_schema

__all__ = ["ZerobusWriter"]

_EXIT_TIMEOUT = 10.0


class ZerobusWriter:
    """Writes RecordBatches to one table through Zerobus; any number of threads may share it.

    Rows are durable when `send_batch` returns (at least once: see `docs/delivery.md`). Nothing is opened before the
    first batch. A writer that is pickled or used after a fork starts anew, with streams of its own.

    Args:
        table: ``"catalog.schema.table"``; it must exist.
        endpoint: URL of the Zerobus service, else ``ZEROBUS_ENDPOINT``.
        workspace_url: URL of the workspace, else ``DATABRICKS_HOST``.
        credentials: `OAuthClientCredentials`, `FederatedToken` or `StaticHeaders`; else ``DATABRICKS_CLIENT_ID`` and
            ``DATABRICKS_CLIENT_SECRET``, read when the first stream is opened.
        schema: A `pyarrow.Schema`, a DDL string, ``"unity_catalog"`` to fetch it, or None for the first batch's own.
        wire_format: ``"proto"``, ``"arrow"`` or ``"json"``.
        retry: How long a failing service is tried again.
        ignore_unknown_fields: Leave out columns that the table does not have, instead of refusing the batch.
        streams_per_worker: Streams to spread the batches over; order holds within one only.
        debug_files: Write what is sent to files.
        telemetry: Where metrics and spans go; None for the application's own OpenTelemetry.
        dry_run: Convert and check everything, send nothing; needs neither network nor credentials.
        arrow_compression: ``"none"``, ``"lz4"`` or ``"zstd"``, for the Arrow wire format.

    Raises:
        ConfigurationError: A setting is wrong.

    Example:
        >>> with ZerobusWriter("main.iot.air_quality", schema="device STRING, co2 INT", dry_run=True) as writer:
        ...     result = writer.send_batch(pa.record_batch({"device": ["attic"], "co2": [417]}))
        >>> result.success, result.total_rows
        (True, 1)
    """

    def __init__(
        self,
        table: str,
        *,
        endpoint: str | None = None,
        workspace_url: str | None = None,
        credentials: Credentials | None = None,
        schema: SchemaSource = None,
        wire_format: WireFormat = "proto",
        retry: Retry = Retry(),  # noqa: B008 - frozen
        ignore_unknown_fields: bool = False,
        streams_per_worker: int = 1,
        debug_files: DebugFiles | None = None,
        telemetry: Telemetry | None = None,
        dry_run: bool = False,
        arrow_compression: ArrowCompression = "none",
    ) -> None:
        self._start(
            make_config(
                table,
                endpoint=endpoint,
                workspace_url=workspace_url,
                credentials=credentials,
                schema=schema,
                wire_format=wire_format,
                retry=retry,
                ignore_unknown_fields=ignore_unknown_fields,
                streams_per_worker=streams_per_worker,
                debug_files=debug_files,
                telemetry=telemetry,
                dry_run=dry_run,
                arrow_compression=arrow_compression,
            ),
            shard=None,
        )

    @classmethod
    def from_config(cls, config: WriterConfig, *, shard: str | None = None) -> Self:
        """Make a writer from checked settings; `shard` goes into the names of its debug files."""
        writer = cls.__new__(cls)
        writer._start(config, shard)
        return writer

    def _start(self, config: WriterConfig, shard: str | None) -> None:
        self.config = config
        self._shard = shard
        self._core = _Core(config, shard)
        _open_writers.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_config, (type(self), self.config, self._shard)

    def __repr__(self) -> str:
        return f"ZerobusWriter({self.config.table!r}, wire_format={self.config.wire_format!r})"

    @property
    def table(self) -> str:
        """The table that is written to."""
        return self.config.table

    @property
    def schema(self) -> TableSchema | None:
        """The table's schema, once it is known."""
        return self._here().schema

    def learn_schema(self) -> TableSchema:
        """Return the table's schema, fetched from Unity Catalog if it is to come from there and is not known yet.

        Raises:
            ConfigurationError: The schema is to be the first batch's, and none was sent yet.
            AuthenticationError: The credentials were refused.
            TransientError: Unity Catalog stayed away until the last retry.
            RejectedError: There is no such table.
        """
        return self._here().prepare(None).schema

    @property
    def counters(self) -> Counters:
        """What this writer has done so far."""
        return self._here().counters

    @property
    def in_flight_bytes(self) -> int:
        """Bytes handed over and neither acknowledged nor refused yet."""
        return self._here().in_flight_bytes

    def send_batch(self, batch: pa.RecordBatch | pa.Table) -> TransmissionResult:
        """Send a batch of any size and wait until its rows are durable.

        Rows that cannot be written are in the result, each with its reason; all others are written.

        Args:
            batch: Rows whose columns are found in the table's schema by name.

        Returns:
            Counts, latency and the refused rows.

        Raises:
            ConversionError: The batch's schema cannot fit the table's.
            TransientError: The service stayed away until the last retry; the exception holds the rows not written.
            AuthenticationError: Credentials are missing or refused.
            RejectedError: The service refused the table or the schema.
            ClosedError: The writer is closed.
        """
        return self.submit(batch).result()

    def submit(self, batch: pa.RecordBatch | pa.Table) -> Submission:
        """Hand a batch over and return when it is queued; waits while too many bytes are in flight.

        Args:
            batch: As for `send_batch`.

        Returns:
            A `Submission`; its `result()` waits, and raises what `send_batch` would.

        Raises:
            ConversionError: The batch's schema cannot fit the table's.
            ClosedError: The writer is closed.
        """
        if not isinstance(batch, pa.RecordBatch | pa.Table):
            raise ConversionError(f"A {type(batch).__name__} was sent: give a pyarrow.RecordBatch or pyarrow.Table")
        return self._here().submit(batch)

    async def asend_batch(self, batch: pa.RecordBatch | pa.Table) -> TransmissionResult:
        """Do as `send_batch` without blocking the event loop: a thread converts, acknowledgements are awaited."""
        submission = await asyncio.to_thread(self.submit, batch)
        return await asyncio.wrap_future(submission.future)

    def cancel(self, submission: Submission) -> None:
        """Forget a submission: nothing more of it is sent, and its `result()` raises ClosedError."""
        self._here().cancel(submission)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that was submitted before is acknowledged, refused or failed.

        Raises:
            TimeoutError: It took longer than `timeout` seconds.
        """
        self._here().flush(timeout)

    def flush_telemetry(self) -> None:
        """Export metrics and spans now, to providers that `telemetry` asked for; waits `flush_timeout` at most."""
        self._here().flush_telemetry()

    def close(self, timeout: float | None = None) -> None:
        """Send what is left, wait for it, and close the streams; closing twice does nothing.

        Args:
            timeout: Seconds to wait for acknowledgements; what is not acknowledged then fails with ClosedError.
        """
        self._here().close(timeout)
        _open_writers.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _here(self) -> _Core:
        """Return this process's core: after a fork a new one, and the parent's is left untouched."""
        if self._core.pid != os.getpid():
            _left_to_the_parent.append(self._core)
            self._core = _Core(self.config, self._shard)
        return self._core


class _Core:
    """What a writer holds in one process.

    Invariants:
    - `_conversion`, `_tap` and `_deliveries` are made together, at the first batch, when the schema is known, under
      `_preparing`, which may be held while the schema is fetched; later only `_conversion` is replaced.
    - `_open` holds every submission that has no outcome yet, and once `_closed` nothing new is taken; both under `_lock`.
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
        self._tap: DebugTap | None = None
        self._deliveries: list[Delivery] = []

    @property
    def schema(self) -> TableSchema | None:
        return self._conversion.schema if self._conversion is not None else None

    @property
    def in_flight_bytes(self) -> int:
        return sum(delivery.in_flight_bytes for delivery in self._deliveries)

    def submit(self, batch: pa.RecordBatch | pa.Table) -> Submission:
        conversion = self._conversion or self.prepare(batch)
        span = self._recorder.batch(batch.num_rows, batch.nbytes)
        submission = Submission(batch, table=self._config.table, span=span, on_done=self._finished)
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
        page = self._tap.page(submission) if self._tap is not None else None
        payloads = conversion.payloads(submission.batch)
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
                delivery.hand_over(payload, submission, conversion, page.record if page is not None else None)
            submission.span.sent(1, payload.size_bytes)
        if page is not None:
            page.end()
        submission.span.waiting_started()
        submission.seal()

    def cancel(self, submission: Submission, error: ZerobusError | None = None) -> None:
        submission.fail(error or ClosedError("The submission was cancelled"))
        for delivery in self._deliveries:
            delivery.cancel(submission)

    def flush(self, timeout: float | None) -> None:
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
        self._recorder.flush()

    def close(self, timeout: float | None) -> None:
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
                self._tap = open_debug_tap(
                    self._config.debug_files, conversion, shard=self._shard, recorder=self._recorder
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
        return TableSchema.from_arrow(batch.schema)

    def _fetch_schema(self) -> TableSchema:
        return retry_transient(
            lambda: fetch_table_schema(
                self._config.workspace_url or "", self._config.table, headers=self._tokens.workspace_headers()
            ),
            self._config.retry,
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
        return open_stream(
            spec, endpoint=self._config.endpoint or "", workspace_url=self._config.workspace_url, tokens=self._tokens
        )

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


def _from_config(cls: type[ZerobusWriter], config: WriterConfig, shard: str | None) -> ZerobusWriter:
    return cls.from_config(config, shard=shard)


_open_writers: weakref.WeakSet[ZerobusWriter] = weakref.WeakSet()

# Dropping an SDK object that a fork copied hangs the child, so such cores are kept, not collected.
_left_to_the_parent: list[_Core] = []


@atexit.register
def _close_open_writers() -> None:
    """Close every writer that is still open when the process ends normally."""
    for writer in list(_open_writers):
        if writer._core.pid == os.getpid():
            writer.close(_EXIT_TIMEOUT)
