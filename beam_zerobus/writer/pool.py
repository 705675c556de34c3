"""`WriterPool`: the writers of many tables, of which a limited number are open."""

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
from beam_zerobus.writer.deadlines import WAIT_SLICE, seconds_until
from beam_zerobus.writer.known_table import KnownTable
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
    - A writer is closed only while it has no users, and outside the lock; `closing` keeps others from using it.
    - `_known` is what the last writers that were closed knew about their tables: a writer that is opened again fetches
      neither schema nor token again.
    - `_counted` is what closed writers counted, in sum; `_with_failures` are closed writers with failures that nobody
      has asked for.

    Args:
        config: The options of the writers.
        shard: A part of the names of their debug files.
    """

    def __init__(self, config: WritersConfig, shard: str | None) -> None:
        self._config = config
        self._shard = shard
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

    def take_unreported(self) -> list[ZerobusWriter]:
        """Return the writers that may have failures which nobody has asked for: closed ones once, and the open ones.

        All are taken under one lock, so that none is missing that is being closed.
        """
        with self._lock:
            closed, self._with_failures = self._with_failures, []
            return [*closed, *(one.writer for one in self._open.values())]

    @contextmanager
    def using(self, table: str, config: WriterConfig | None) -> Iterator[ZerobusWriter]:
        """Return a block that has the writer of a table, which stays open until the block ends.

        Args:
            table: The table.
            config: Its configuration; None for the pool's.

        Raises:
            ConfigurationError: The name is not valid, or there is no schema for the table.
            ClosedError: The pool is closed.
        """
        used = self._take(table, config)
        try:
            yield used.writer
        finally:
            with self._lock:
                used.users -= 1
                self._lock.notify_all()

    def close(self, deadline: float | None) -> None:
        """Close all writers; a moment of `time.monotonic` bounds the wait for acknowledgements."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        for writer in self.writers:
            writer.retire(seconds_until(deadline))
            with self._lock:
                self._note_closed(writer)

    def _take(self, table: str, config: WriterConfig | None) -> _Open:
        """Return the writer of a table, with one more user; closes another where too many are open."""
        while True:
            with self._lock:
                if self._closed:
                    raise ClosedError("The writers are closed")
                victim = None
                one = self._open.get(table)
                if one is None and config is not None and len(self._open) < self._config.options.max_open_tables:
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
                config = self._config.of(table)  # not under the lock: it may call a function of the user's

    def _new(self, table: str, config: WriterConfig) -> _Open:
        known = self._known.pop(table, None)
        if known is None or known.key != config.key:
            named = name_in_metrics(table, self._config.options.max_tables_in_metrics)
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
        self._with_failures = [one for one in self._with_failures if one.has_unreported_failures]
        if writer.has_unreported_failures:
            self._with_failures.append(writer)
            if len(self._with_failures) > _MAX_WITH_FAILURES:
                with suppress(ZerobusError):  # it is logged
                    self._with_failures.pop(0).flush()
        self._lock.notify_all()
