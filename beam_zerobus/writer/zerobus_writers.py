"""`ZerobusWriters`: rows into many tables, with bounds for all of them together."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from beam_zerobus.delivery.budget import Budget
from beam_zerobus.errors import ClosedError, ZerobusError
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
from beam_zerobus.writer.config import WriterConfig, options_among
from beam_zerobus.writer.counters import Counters
from beam_zerobus.writer.endings import ABORT_SECONDS, start_anew_in_children
from beam_zerobus.writer.result import TransmissionResult
from beam_zerobus.writer.rows import Rows
from beam_zerobus.writer.submission import Submission
from beam_zerobus.writer.unknown_tables import UnknownTables
from beam_zerobus.writer.writers_config import (
    SchemaOfTables,
    WritersConfig,
    make_writers_config,
    writers_options_among,
)
from beam_zerobus.writer.zerobus_writer import ZerobusWriter

__all__ = ["ZerobusWriters"]

_MAX_WITH_FAILURES = 1_000


@dataclass(slots=True, eq=False)
class _Open:
    writer: ZerobusWriter
    users: int = 0
    closing: bool = False


class ZerobusWriters:
    """Writes rows to many tables; any number of threads may share it.

    Each table has a `ZerobusWriter`, opened with its first batch. At most `max_open_tables` are open; when another is
    needed, the one that was used least recently is flushed and closed, and opened again with its next batch. A thread
    waits where all are in use. Do not submit in a callback of a submission's future: it runs in a thread that closing a
    writer may have to wait for.

    Invariants, under the one lock (a condition):
    - `_open` holds the writers that are open or closing, the least recently used first; never more than allowed.
    - A writer is closed only while it has no users, and outside the lock; `closing` keeps others from using it.
    - `_counted` is what the writers counted that are closed; `_with_failures` are those of them that have failures
      which nobody has asked for.

    Args:
        endpoint: URL of the Zerobus service, else ``ZEROBUS_ENDPOINT``.
        workspace_url: URL of the workspace, else ``DATABRICKS_HOST``.
        credentials: As for `ZerobusWriter`, and so are all options that are not explained here.
        schema: As for `ZerobusWriter`, then for all tables; or a mapping from the table's name to its schema; or a
            function of the name that returns it, None for the default.
        streams_per_worker: Streams of each open table.
        max_open_tables: Tables that a worker process has open at once, each with its own stream; the one that was used
            least recently is flushed and closed when another is needed.
        max_in_flight_bytes: Encoded bytes in flight of all tables of a worker process together, before callers wait; a
            stream has at most 20 MiB of them.

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
    ) -> None:
        given = locals()
        self._start(make_writers_config("", **options_among(given), **writers_options_among(given)), None)

    @classmethod
    def from_config(cls, config: WritersConfig, *, shard: str | None = None) -> Self:
        """Make writers from checked settings; `shard` goes into the names of their debug files."""
        writers = cls.__new__(cls)
        writers._start(config, shard)
        return writers

    def _start(self, config: WritersConfig, shard: str | None) -> None:
        self.config = config
        self._shard = shard
        self.start_anew()
        start_anew_in_children(self)

    def start_anew(self) -> None:
        """Begin without any writer, as in a forked child, whose parent keeps its own."""
        self._budget = Budget(self.config.options.max_in_flight_bytes)
        self._lock = threading.Condition()
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self.unknown = UnknownTables()
        self._with_failures: list[ZerobusWriter] = []
        self._counted = Counters()
        self._closed = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_config, (type(self), self.config, self._shard)

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._closed

    @property
    def open_tables(self) -> tuple[str, ...]:
        """The tables whose writers are open, the least recently used first."""
        with self._lock:
            return tuple(self._open)

    @property
    def in_flight_bytes(self) -> int:
        """Encoded bytes, of all tables, that are neither acknowledged nor rejected yet."""
        return sum(writer.in_flight_bytes for writer in self._writers())

    @property
    def counters(self) -> Counters:
        """What was done for all tables so far; a snapshot."""
        with self._lock:
            return sum((one.writer.counters for one in self._open.values()), self._counted)

    def send(self, table: str, rows: Rows) -> TransmissionResult:
        """Send any number of rows to a table and wait until they are durable; see `ZerobusWriter.send`.

        Raises:
            ConfigurationError: The name is not valid, the table does not exist, or it has no schema in `schema`.
            ZerobusError: As `ZerobusWriter.send`.
        """
        submission = self.submit(table, rows)
        with self.unknown.noting(table):
            return submission.result()

    def submit(self, table: str, rows: Rows) -> Submission:
        """Queue rows for a table and return; waits while too much is in flight, or too many tables are in use.

        Raises:
            ConfigurationError: The name is not valid, the table does not exist, or it has no schema in `schema`.
            ZerobusError: As `ZerobusWriter.submit`.
        """
        with self.using(table) as writer:
            return writer.submit(rows)

    async def asend(self, table: str, rows: Rows) -> TransmissionResult:
        """Do as `send` without blocking the event loop.

        Example:
            >>> async def main():
            ...     with ZerobusWriters(schema="co2 INT", dry_run=True) as writers:
            ...         return await writers.asend("main.eu.air_quality", [{"co2": 417}])
            >>> asyncio.run(main()).successful_count
            1
        """
        submission = await asyncio.to_thread(self.submit, table, rows)
        with submission.awaited(), self.unknown.noting(table):
            return await asyncio.wrap_future(submission.future)

    def send_batch(self, table: str, batch: Rows) -> TransmissionResult:
        """Do as `send`."""
        return self.send(table, batch)

    async def asend_batch(self, table: str, batch: Rows) -> TransmissionResult:
        """Do as `asend`."""
        return await self.asend(table, batch)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything submitted before, to any table, is acknowledged or has failed.

        Raises:
            TimeoutError: It took longer than `timeout` seconds.
            ZerobusError: A batch, or rows of one, failed since the last flush, and nobody has asked for its result.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            writers = [*self._with_failures, *(one.writer for one in self._open.values())]
            self._with_failures = []
        errors: list[ZerobusError] = []
        for writer in writers:
            try:
                writer.flush(_left(deadline))
            except ZerobusError as error:  # each is logged, and the first is raised
                errors.append(error)
        if errors:
            raise errors[0]

    def flush_telemetry(self) -> None:
        """Export metrics and spans now; see `ZerobusWriter.flush_telemetry`."""
        for writer in self._writers():
            writer.flush_telemetry()

    def close(self, timeout: float | None = None) -> None:
        """Send what is left, wait for it, and close all streams; closing twice does nothing.

        Args:
            timeout: Seconds to wait for acknowledgements; what is not acknowledged then fails with ClosedError. None
                waits until the limits of delivery end it.

        Raises:
            ZerobusError: A batch, or rows of one, failed since the last flush, and nobody has asked for its result.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        for writer in self._writers():
            writer.retire(_left(deadline))
            with self._lock:
                self._note_closed(writer)
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        with suppress(ZerobusError):  # it is logged, and the block's own error is raised
            self.close(ABORT_SECONDS)

    @contextmanager
    def using(self, table: str, config: WriterConfig | None = None) -> Iterator[ZerobusWriter]:
        """Return a block that has the writer of a table, which is not closed meanwhile; use one at a time.

        Args:
            table: The table.
            config: Its configuration, where more is known about it than these writers were made with.

        Raises:
            ConfigurationError: The name is not valid, or there is no schema for the table.
            ZerobusError: The table was not found a moment ago.
            ClosedError: These writers are closed.
        """
        with self.unknown.noting(table):
            self.unknown.check(table)
            used = self._take(table, config)
            try:
                yield used.writer
            finally:
                with self._lock:
                    used.users -= 1
                    self._lock.notify_all()

    def _take(self, table: str, config: WriterConfig | None) -> _Open:
        """Return the writer of a table, with one more user; closes another where too many are open."""
        while True:
            with self._lock:
                if self._closed:
                    raise ClosedError("The writers are closed")
                victim = None
                one = self._open.get(table)
                if one is None and config is not None and len(self._open) < self.config.options.max_open_tables:
                    writer = ZerobusWriter.from_config(config, shard=self._shard, budget=self._budget)
                    one = self._open[table] = _Open(writer)
                if one is not None and not one.closing:
                    self._open.move_to_end(table)
                    one.users += 1
                    return one
                if one is None and config is not None:
                    victim = next((other for other in self._open.values() if not (other.users or other.closing)), None)
                if victim is not None:
                    victim.closing = True
                elif one is not None or config is not None:
                    self._lock.wait(1.0)  # not without a limit, so that Ctrl-C works on every system
            if victim is not None:
                self._close_one(victim.writer)
            elif config is None and one is None:
                config = self.config.of(table)  # not under the lock: it may call a function of the user's

    def _close_one(self, writer: ZerobusWriter) -> None:
        try:
            writer.retire()
        finally:
            with self._lock:
                self._note_closed(writer)

    def _note_closed(self, writer: ZerobusWriter) -> None:
        """Count what a closed writer has counted, and keep it while it has failures to report."""
        if self._open.pop(writer.table, None) is None:
            return  # another thread did so
        self._counted += writer.counters
        self._with_failures = [one for one in self._with_failures if one.has_unreported_failures]
        if writer.has_unreported_failures:
            self._with_failures.append(writer)
            if len(self._with_failures) > _MAX_WITH_FAILURES:
                with suppress(ZerobusError):  # it is logged
                    self._with_failures.pop(0).flush()
        self._lock.notify_all()

    def _writers(self) -> list[ZerobusWriter]:
        with self._lock:
            return [one.writer for one in self._open.values()]


def _from_config(cls: type[ZerobusWriters], config: WritersConfig, shard: str | None) -> ZerobusWriters:
    return cls.from_config(config, shard=shard)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
