"""`ZerobusWriter`: rows into a Delta table, from any number of threads."""

from __future__ import annotations

import asyncio
import os
import weakref
from functools import partial
from typing import Any, Self

from beam_zerobus.check import Report
from beam_zerobus.options import (
    ArrowCompression,
    CreateTable,
    DebugFiles,
    OnUnknownFields,
    Retry,
    Telemetry,
    WireFormat,
)
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.additions import FindAdditions
from beam_zerobus.schema.source import SchemaSource
from beam_zerobus.schema.time_rules import EpochUnit
from beam_zerobus.workspace.credentials import Credentials
from beam_zerobus.writer.config import WriterConfig, make_config, options_among
from beam_zerobus.writer.counters import Counters
from beam_zerobus.writer.deadlines import deadline_after
from beam_zerobus.writer.endings import (
    close_at_exit,
    close_in_background,
    forget_if_over,
    left_to_the_parent,
    process_lock,
    raise_failures,
)
from beam_zerobus.writer.failure_log import logged
from beam_zerobus.writer.known_table import KnownTable
from beam_zerobus.writer.result import TransmissionResult
from beam_zerobus.writer.rows import ReadRows, Rows
from beam_zerobus.writer.state import WriterState
from beam_zerobus.writer.submission import Submission
from beam_zerobus.writer.with_block import ClosedByWith

__all__ = ["ZerobusWriter"]


class ZerobusWriter(ClosedByWith):
    """Writes rows to one table through Zerobus; any number of threads may share it.

    Rows are durable when `send` returns (at least once: see `docs/delivery.md`). Nothing is opened before the
    first batch. A writer that is pickled or used after a fork starts anew, with streams of its own.

    No failure stays silent: what was submitted and failed is raised by `Submission.result`, or else by the next
    `flush`, by `close` or at the end of a ``with`` block, and is logged at ERROR. A writer that nobody holds any more
    sends what was submitted, for ten seconds at most, and then closes; so does the end of the process.

    Args:
        table: ``"catalog.schema.table"``; it must exist, unless `create_table` makes it.
        endpoint: URL of the Zerobus service, else ``ZEROBUS_ENDPOINT``.
        workspace_url: URL of the workspace, else ``DATABRICKS_HOST``.
        credentials: `OAuthClientCredentials`, `DatabricksProfile`, `FederatedToken` or `StaticHeaders`; else
            ``DATABRICKS_CLIENT_ID`` and ``DATABRICKS_CLIENT_SECRET``, read when the first stream is opened.
        schema: The table's schema: ``"unity_catalog"`` to fetch it; ``"elements"`` for that of the rows themselves; or
            DDL such as ``"id BIGINT NOT NULL, name STRING"``. Without it the table's own is fetched wherever a
            workspace is known, and a dry run uses that of the rows. A `pyarrow.Schema` is accepted too.
        wire_format: Format of the rows in a call: ``"proto"``, ``"arrow"`` or ``"json"``.
        retry: How long the writer retries while the service fails.
        on_unknown_fields: What becomes of fields that the table does not have: ``"reject"`` rejects their rows,
            ``"ignore"`` drops them, ``"add"`` adds columns for them in a SQL warehouse, ``"rescue"`` writes them into
            `rescue_column`, with values that do not fit.
        rescue_column: The VARIANT or STRING column for ``"rescue"``; it receives one JSON object a row.
        ignore_unknown_fields: Deprecated: set `on_unknown_fields` to ``"ignore"``.
        create_table: ``"if_needed"`` creates a missing table before the first row, with the columns of `schema` or the
            rows' own, in a SQL warehouse; ``"never"`` does not.
        warehouse_id: The SQL warehouse's id, else ``DATABRICKS_WAREHOUSE_ID``.
        assume_timezone: Time zone of timestamps that have none, such as ``"UTC"`` or ``"Europe/Berlin"``, in columns of
            type TIMESTAMP; without it such rows are rejected.
        epoch_unit: Unit of whole numbers in timestamp columns, counted from 1970: ``"s"``, ``"ms"`` or ``"us"``.
            Without it, Python's integers are microseconds, and Arrow's are rejected.
        streams_per_worker: Streams of each worker process; more than one gives up the order of rows.
        debug_files: Write what is sent to files.
        telemetry: Where OpenTelemetry metrics and spans go; None for the application's own OpenTelemetry.
        dry_run: Convert and check everything, send nothing. It needs neither network nor credentials, unless ``schema``
            is ``"unity_catalog"``: then rows are checked against the table.
        arrow_compression: ``"none"``, ``"lz4"`` or ``"zstd"``, for the wire format ``"arrow"``.
        max_in_flight_bytes: Encoded bytes in flight of all writers of a process together, before callers wait; the
            smallest limit of an open writer applies. A stream has at most 20 MiB of them.

    Raises:
        ConfigurationError: A setting is wrong.

    Example:
        >>> with ZerobusWriter("main.iot.air_quality", schema="device STRING, co2 INT", dry_run=True) as writer:
        ...     result = writer.send([{"device": "attic", "co2": 417}])
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
        on_unknown_fields: OnUnknownFields = "reject",
        rescue_column: str = "_rescued_data",
        ignore_unknown_fields: bool = False,
        create_table: CreateTable = "never",
        warehouse_id: str | None = None,
        assume_timezone: str | None = None,
        epoch_unit: EpochUnit | None = None,
        streams_per_worker: int = 1,
        debug_files: DebugFiles | None = None,
        telemetry: Telemetry | None = None,
        dry_run: bool = False,
        arrow_compression: ArrowCompression = "none",
        max_in_flight_bytes: int = 64 << 20,
    ) -> None:
        self._start(make_config(table, **options_among(locals())), None)

    @classmethod
    def from_config(cls, config: WriterConfig, *, shard: str | None = None, known: KnownTable | None = None) -> Self:
        """Make a writer from checked settings; `shard` names its debug files, `known` is an earlier writer's."""
        writer = cls.__new__(cls)
        writer._start(config, shard, known)
        return writer

    def _start(self, config: WriterConfig, shard: str | None, known: KnownTable | None = None) -> None:
        self.config = config
        self._shard = shard
        self._state = self._new_state(known)

    def _new_state(self, known: KnownTable | None = None) -> WriterState:
        state = WriterState(self.config, self._shard, known)
        close_at_exit(state)
        weakref.finalize(self, close_in_background, state).atexit = False
        return state

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self).from_config, self.config, shard=self._shard), ()

    def __repr__(self) -> str:
        if not hasattr(self, "config"):  # a traceback of `__init__` shows it before it has one
            return "ZerobusWriter()"
        return f"ZerobusWriter({self.config.table!r}, wire_format={self.config.wire_format!r})"

    @property
    def table(self) -> str:
        """The table that is written to."""
        return self.config.table

    @property
    def closed(self) -> bool:
        """True after `close`, in this process."""
        return self._here().submissions.closed

    @property
    def schema(self) -> TableSchema | None:
        """The table's schema, once it is known."""
        return None if (conversion := self._here().current_conversion.if_known) is None else conversion.schema

    def resolve_schema(self) -> TableSchema:
        """Return the table's schema, fetched from Unity Catalog if that is its source and it is not known yet.

        Raises:
            ConfigurationError: There is no such table; or the schema is the first batch's, and none was sent yet.
            ZerobusError: The credentials were rejected, or Unity Catalog failed until the last retry.
        """
        return self._here().current_conversion.resolve(None).schema

    def check(self, schema: SchemaSource = None) -> Report:
        """Check everything that can be known before a row is sent; sends none. See `check_table`.

        Args:
            schema: The schema that the rows will have, to compare with the table's, such as `RecordBatch.schema`; None
                for the writer's own.

        Returns:
            The findings with their remedies; nothing is raised for what is wrong with table, network or service.

        Example:
            >>> ZerobusWriter("main.iot.air_quality", schema="co2 INT", dry_run=True).check().exit_code
            2
        """
        return self.config.check(schema)

    @property
    def may_look_again(self) -> bool:
        """True where rows with unknown fields are a reason to call `look_again`."""
        return self._here().current_conversion.may_look_again

    def look_again(self, find: FindAdditions | None = None) -> TableSchema:
        """Return the table's schema, fetched again if it may have changed and was not fetched in the last 30 seconds.

        `submit` does so by itself. What `find` finds is added to the table, with ``on_unknown_fields="add"``.

        Raises:
            ZerobusError: The schema is not known yet, and cannot be fetched; or columns cannot be added.
        """
        current_conversion = self._here().current_conversion
        return current_conversion.look_again(current_conversion.resolve(None), find).schema

    @property
    def counters(self) -> Counters:
        """What this writer has done so far in this process; a snapshot."""
        return self._here().counters.snapshot()

    @property
    def in_flight_bytes(self) -> int:
        """Encoded bytes of payloads that are neither acknowledged nor rejected yet."""
        return self._here().in_flight_bytes

    @property
    def in_flight_rows(self) -> int:
        """Rows of these payloads."""
        return self._here().in_flight_rows

    def send(self, rows: Rows) -> TransmissionResult:
        """Send any number of rows and wait until they are durable.

        Rows that cannot be written are in the result, each with its number among `rows` and its reason, and are logged
        as a warning; all others are written.

        Args:
            rows: A RecordBatch or Table; a DataFrame of pandas or polars, or anything else with Arrow's stream
                interface; or a list of dicts, `beam.Row`, NamedTuples, dataclasses, or JSON objects as str or bytes.
                Columns are found in the table's schema by name. Do not change them before this returns.

        Returns:
            Counts, latency and the failed rows.

        Raises:
            ConversionError: The columns cannot fit the table's, or this is not a list of rows.
            TransientError: The service failed until the last retry; the exception holds the rows not written.
            AuthenticationError: Credentials are missing or rejected.
            ConfigurationError: The table does not exist, or rows other than Arrow's have no schema.
            RejectedError: A grant is missing, or Zerobus cannot write this kind of table.
            ClosedError: The writer is closed.

        Example:
            >>> with ZerobusWriter("main.iot.air_quality", schema="device STRING, co2 INT", dry_run=True) as writer:
            ...     result = writer.send([{"device": "attic", "co2": 417}, {"device": "cellar", "co2": "high"}])
            >>> [(error.index, error.message) for error in result.failed_rows]
            [(1, "column 'co2' is INT: a value of Python type str does not fit; pass an int")]
        """
        return logged(self.submit(rows).result(), self.table)

    def submit(self, rows: Rows) -> Submission:
        """Queue rows and return; waits while too many bytes are in flight.

        Args:
            rows: As for `send`; do not change them before the submission is done.

        Returns:
            A `Submission`; its `result()` waits, and raises what `send` would.

        Raises:
            ConversionError: The columns cannot fit the table's, or this is not a list of rows.
            ClosedError: The writer is closed.
        """
        return self._here().submit(rows)

    def submit_read(self, rows: ReadRows) -> Submission:
        """Submit rows that were read; raises RowsOutdatedError where they are to be read again."""
        return self._here().submit_read(rows)

    async def asend(self, rows: Rows) -> TransmissionResult:
        """Send as `send` does, without blocking the event loop: a thread converts, acknowledgements are awaited.

        Cancelling the awaiting task does not take the rows back: they may still be written.

        Example:
            >>> async def main():
            ...     async with ZerobusWriter("main.iot.air_quality", schema="co2 INT", dry_run=True) as writer:
            ...         return await writer.asend([{"co2": 417}])
            >>> asyncio.run(main()).successful_count
            1
        """
        submission = await asyncio.to_thread(self.submit, rows)
        with submission.claimed_outcome():
            return logged(await asyncio.wrap_future(submission.future), self.table)

    send_batch, asend_batch = send, asend

    def cancel(self, submission: Submission) -> None:
        """Forget a submission: nothing more of it is sent, and its `result()` raises ClosedError."""
        submission.drop_outcome()
        self._here().cancel(submission)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything submitted before is acknowledged or has failed.

        Args:
            timeout: Seconds to wait at most; None waits until the limits of delivery end it.

        Raises:
            TimeoutError: It took longer than `timeout` seconds.
            ZerobusError: A batch, or rows of one, failed since the last flush, and nobody has asked for its result.
        """
        state = self._here()
        if not state.submissions.wait(deadline_after(timeout)):
            raise TimeoutError(f"{self.config.table}: not everything was acknowledged within {timeout} s")
        raise_failures(state)

    def flush_telemetry(self) -> None:
        """Export metrics and spans now, to providers that `telemetry` asked for; waits `flush_timeout` at most."""
        self._here().recorder.flush()

    def close(self, timeout: float | None = None) -> None:
        """Send what is left, wait for it, and close the streams; closing twice does nothing.

        Args:
            timeout: Seconds to wait for acknowledgements; what is not acknowledged then fails with ClosedError. None
                waits until the limits of delivery end it.

        Raises:
            ZerobusError: A batch, or rows of one, failed since the last flush, and nobody has asked for its result.
        """
        self.retire(timeout)
        raise_failures(self._here())

    def retire(self, timeout: float | None = None) -> None:
        """Close as `close` does, and leave unreported failures to the next `flush`."""
        state = self._here()
        try:
            state.close(deadline_after(timeout))
        except BaseException:
            state.submissions.log_failures()  # such as Ctrl-C: that is raised
            raise
        finally:
            forget_if_over(state)

    @property
    def has_unreported_failures(self) -> bool:
        """True where a batch, or rows of one, failed, and this was not reported; see `Submission`."""
        return self._here().submissions.has_unreported

    def _here(self) -> WriterState:
        """Return this process's state: after a fork a new one, and the parent's is left untouched."""
        if self._state.pid != os.getpid():
            with process_lock():
                if self._state.pid != os.getpid():
                    left_to_the_parent.append(self._state)
                    self._state = self._new_state()
        return self._state
