"""`WriterPool`: the writers of many tables, of which a limited number are open; see `ZerobusWriters`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from beam_zerobus.errors import ClosedError, ZerobusError
from beam_zerobus.telemetry.table_names import name_in_metrics
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.counters import Counters
from beam_zerobus.writer.deadlines import WAIT_SLICE, deadline_after, seconds_until
from beam_zerobus.writer.endings import start_anew_in_children
from beam_zerobus.writer.known_table import KnownTable
from beam_zerobus.writer.unknown_tables import UnknownTables
from beam_zerobus.writer.writers_config import WritersConfig
from beam_zerobus.writer.zerobus_writer import ZerobusWriter

__all__ = ["WriterPool"]

_MAX_WITH_FAILURES = 1_000
_MAX_KNOWN = 1_000


@dataclass(slots=True, eq=False)
class _Open:
    writer: ZerobusWriter
    known: KnownTable
    users: int = 0
    closing: bool = False


class WriterPool:
    """Opens a writer for each table, and closes the one that was used least recently where too many are open.

    Invariants, under the one lock (a condition):
    - `_open` holds the writers that are open or closing, the least recently used first; never more than allowed.
    - A writer is closed outside the lock; until `close`, only while it has no users, and `closing` keeps others from
      using it.
    - `_known` is what the last writers that were closed knew about their tables: a writer that is opened again fetches
      neither schema nor token again.
    - `_counted` is what closed writers counted, in sum; `_with_failures` are closed writers with unreported failures.

    Args:
        config: The options of the writers.
        shard: A part of the names of their debug files.

    Attributes:
        config: The options of the writers.
        unknown: The tables that were not found a moment ago.
    """

    def __init__(self, config: WritersConfig, shard: str | None = None) -> None:
        self.config = config
        self._shard = shard
        self.start_anew()
        start_anew_in_children(self)

    def start_anew(self) -> None:
        """Begin without any writer, as in a forked child, whose parent keeps its own."""
        self.unknown = UnknownTables()
        self._lock = threading.Condition()
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._known: OrderedDict[str, KnownTable] = OrderedDict()
        self._with_failures: list[ZerobusWriter] = []
        self._counted = Counters()
        self._closed = False

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._closed

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables whose writers are open, the least recently used first."""
        with self._lock:
            return tuple(self._open)

    @property
    def writers(self) -> list[ZerobusWriter]:
        """The writers that are open."""
        with self._lock:
            return [one.writer for one in self._open.values()]

    @property
    def counters(self) -> Counters:
        """What all writers counted."""
        with self._lock:
            return sum((one.writer.counters for one in self._open.values()), self._counted)

    def _take_unreported(self) -> list[ZerobusWriter]:
        """Return the writers that may have unreported failures: closed ones once, and the open ones.

        All are taken under one lock, so that none is missing that is being closed.
        """
        with self._lock:
            closed, self._with_failures = self._with_failures, []
            return [*closed, *(one.writer for one in self._open.values())]

    @contextmanager
    def using(self, table: str, config: WriterConfig | None = None) -> Iterator[ZerobusWriter]:
        """Return a block that has the writer of a table, which stays open until the block ends; do not nest blocks.

        Args:
            table: The table.
            config: Its configuration, where more is known about it than the pool was made with.

        Raises:
            ConfigurationError: The name is not valid, or there is no schema for the table.
            ZerobusError: The table was not found a moment ago.
            ClosedError: The pool is closed.
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

    def flush(self, timeout: float | None = None) -> None:
        """Flush all writers; see `ZerobusWriters.flush`."""
        deadline = deadline_after(timeout)
        errors: list[ZerobusError] = []
        for writer in self._take_unreported():
            try:
                writer.flush(seconds_until(deadline))
            except ZerobusError as error:  # each is logged, and the first is raised
                errors.append(error)
        if errors:
            raise errors[0]

    def flush_telemetry(self) -> None:
        """Export metrics and spans now; see `ZerobusWriter.flush_telemetry`."""
        for writer in self.writers:
            writer.flush_telemetry()

    def close(self, timeout: float | None = None) -> None:
        """Close all writers; see `ZerobusWriters.close`."""
        deadline = deadline_after(timeout)
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        for writer in self.writers:
            writer.retire(seconds_until(deadline))
            with self._lock:
                self._note_closed(writer)
        self.flush()

    def _take(self, table: str, config: WriterConfig | None) -> _Open:
        """Return the writer of a table, with one more user; closes another where too many are open."""
        while True:
            with self._lock:
                if self._closed:
                    raise ClosedError("The writers are closed")
                victim = None
                one = self._open.get(table)
                if one is None and config is not None and len(self._open) < self.config.options.max_open_tables:
                    one = self._open[table] = self._new(table, config)
                if one is not None and not one.closing:
                    self._open.move_to_end(table)
                    one.users += 1
                    return one
                if one is None and config is not None:
                    victim = next((other for other in self._open.values() if not (other.users or other.closing)), None)
                if victim is not None:
                    victim.closing = True
                elif one is not None or config is not None:
                    self._lock.wait(WAIT_SLICE)
            if victim is not None:
                self._close_one(victim.writer)
            elif config is None and one is None:
                config = self.config.of(table)  # not under the lock: it may call a function of the user's

    def _new(self, table: str, config: WriterConfig) -> _Open:
        known = self._known.pop(table, None)
        if known is None or known.key != config.key:
            named = name_in_metrics(table, self.config.options.max_tables_in_metrics)
            known = KnownTable.of(config, name_in_metrics=named)
        return _Open(ZerobusWriter.from_config(config, shard=self._shard, known=known), known)

    def _close_one(self, writer: ZerobusWriter) -> None:
        try:
            writer.retire()
        finally:
            with self._lock:
                self._note_closed(writer)

    def _note_closed(self, writer: ZerobusWriter) -> None:
        """Count what a closed writer has counted, and keep what it knows, and itself while it has failures."""
        one = self._open.pop(writer.table, None)
        if one is None:
            return  # another thread has counted it
        self._counted += writer.counters
        if writer.schema is not None:
            self._known[writer.table] = one.known
            if len(self._known) > _MAX_KNOWN:
                self._known.popitem(last=False)
        self._with_failures = [closed for closed in self._with_failures if closed.has_unreported_failures]
        if writer.has_unreported_failures:
            self._with_failures.append(writer)
            if len(self._with_failures) > _MAX_WITH_FAILURES:
                with suppress(ZerobusError):  # it is logged
                    self._with_failures.pop(0).flush()
        self._lock.notify_all()
