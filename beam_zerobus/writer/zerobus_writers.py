"""`ZerobusWriters`: rows into many tables, with bounds for all of them together."""

from __future__ import annotations

import asyncio
from typing import Any

from beam_zerobus.options import (
    ArrowCompression,
    CreateTable,
    DebugFiles,
    OnUnknownFields,
    Retry,
    Telemetry,
    WireFormat,
)
from beam_zerobus.schema.time_rules import EpochUnit
from beam_zerobus.workspace.credentials import Credentials
from beam_zerobus.writer.config import options_among
from beam_zerobus.writer.counters import Counters
from beam_zerobus.writer.failure_log import logged
from beam_zerobus.writer.pool import WriterPool
from beam_zerobus.writer.result import TransmissionResult
from beam_zerobus.writer.rows import Rows
from beam_zerobus.writer.submission import Submission
from beam_zerobus.writer.with_block import ClosedByWith
from beam_zerobus.writer.writers_config import (
    SchemaOfTables,
    WritersConfig,
    make_writers_config,
    writers_options_among,
)

__all__ = ["ZerobusWriters"]


class ZerobusWriters(ClosedByWith):
    """Writes rows to many tables; any number of threads may share it.

    Each table has a `ZerobusWriter`, opened with its first batch. At most `max_open_tables` are open; when another is
    needed, the one that was used least recently is flushed and closed, and opened again with its next batch. A thread
    waits where all are in use. Do not submit in a callback of a submission's future: it runs in a thread that closing a
    writer may have to wait for.

    Args:
        endpoint: URL of the Zerobus service, else ``ZEROBUS_ENDPOINT``.
        workspace_url: URL of the workspace, else ``DATABRICKS_HOST``.
        credentials: As for `ZerobusWriter`, and so are all options that are not explained here.
        schema: As for `ZerobusWriter`, then for all tables; or a mapping from the table's name to its schema; or a
            function of the name that returns it, None for the default.
        streams_per_worker: Streams of each open table.
        max_open_tables: Tables that a worker process has open at once, each with its own stream; the one that was used
            least recently is flushed and closed when another is needed.
        max_in_flight_bytes: Encoded bytes in flight of all writers of a process together, before callers wait; the
            smallest limit of an open writer applies. A stream has at most 20 MiB of them.
        max_tables_in_metrics: Tables of a worker process that have metrics of their own; all others are counted under
            ``"other"``.

    Raises:
        ConfigurationError: A setting is wrong.

    Example:
        >>> with ZerobusWriters(schema="device STRING, co2 INT", dry_run=True) as writers:
        ...     result = writers.send("main.eu.air_quality", [{"device": "attic", "co2": 417}])
        >>> result.success
        True
    """

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        workspace_url: str | None = None,
        credentials: Credentials | None = None,
        schema: SchemaOfTables = None,
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
        max_open_tables: int = 50,
        max_in_flight_bytes: int = 64 << 20,
        max_tables_in_metrics: int = 100,
    ) -> None:
        given = locals()
        self._pool = WriterPool(make_writers_config("", **options_among(given), **writers_options_among(given)))

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_config, (type(self), self._pool.config)

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._pool.closed

    @property
    def open_tables(self) -> tuple[str, ...]:
        """The tables whose writers are open, the least recently used first."""
        return self._pool.tables

    @property
    def in_flight_bytes(self) -> int:
        """Encoded bytes, of all tables, that are neither acknowledged nor rejected yet."""
        return sum(writer.in_flight_bytes for writer in self._pool.writers)

    @property
    def counters(self) -> Counters:
        """What was done for all tables so far; a snapshot."""
        return self._pool.counters

    def send(self, table: str, rows: Rows) -> TransmissionResult:
        """Send any number of rows to a table and wait until they are durable; see `ZerobusWriter.send`.

        Raises:
            ConfigurationError: The name is not valid, the table does not exist, or it has no schema in `schema`.
            ZerobusError: As `ZerobusWriter.send`.
        """
        submission = self.submit(table, rows)
        with self._pool.unknown.noting(table):
            return logged(submission.result(), table)

    def submit(self, table: str, rows: Rows) -> Submission:
        """Queue rows for a table and return; waits while too much is in flight, or too many tables are in use.

        Raises:
            ConfigurationError: The name is not valid, the table does not exist, or it has no schema in `schema`.
            ZerobusError: As `ZerobusWriter.submit`.
        """
        with self._pool.using(table) as writer:
            return writer.submit(rows)

    async def asend(self, table: str, rows: Rows) -> TransmissionResult:
        """Send as `send` does, without blocking the event loop.

        Example:
            >>> async def main():
            ...     with ZerobusWriters(schema="co2 INT", dry_run=True) as writers:
            ...         return await writers.asend("main.eu.air_quality", [{"co2": 417}])
            >>> asyncio.run(main()).successful_count
            1
        """
        submission = await asyncio.to_thread(self.submit, table, rows)
        with submission.claimed_outcome(), self._pool.unknown.noting(table):
            return logged(await asyncio.wrap_future(submission.future), table)

    def send_batch(self, table: str, batch: Rows) -> TransmissionResult:
        """Send as `send` does."""
        return self.send(table, batch)

    async def asend_batch(self, table: str, batch: Rows) -> TransmissionResult:
        """Send as `asend` does."""
        return await self.asend(table, batch)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything submitted before, to any table, is acknowledged or has failed.

        Raises:
            TimeoutError: It took longer than `timeout` seconds.
            ZerobusError: A batch, or rows of one, failed since the last flush, and nobody has asked for its result.
        """
        self._pool.flush(timeout)

    def flush_telemetry(self) -> None:
        """Export metrics and spans now; see `ZerobusWriter.flush_telemetry`."""
        self._pool.flush_telemetry()

    def close(self, timeout: float | None = None) -> None:
        """Send what is left, wait for it, and close all streams; closing twice does nothing.

        Args:
            timeout: Seconds to wait for acknowledgements; what is not acknowledged then fails with ClosedError. None
                waits until the limits of delivery end it.

        Raises:
            ZerobusError: A batch, or rows of one, failed since the last flush, and nobody has asked for its result.
        """
        self._pool.close(timeout)


def _from_config(cls: type[ZerobusWriters], config: WritersConfig) -> ZerobusWriters:
    writers = cls.__new__(cls)
    writers._pool = WriterPool(config)
    return writers
