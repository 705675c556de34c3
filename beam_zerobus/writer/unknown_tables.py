"""`UnknownTables`: tables that were not found a moment ago, so that they are not looked up for each batch."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from beam_zerobus.errors import ZerobusError

__all__ = ["UNKNOWN_SECONDS", "UnknownTables"]

UNKNOWN_SECONDS = 60.0
"""Seconds for which a table that does not exist, or may not be written, is not looked up again."""

_MAX_TABLES = 10_000


class UnknownTables:
    """The tables that were not found, for a while; thread-safe.

    Invariant, under the one lock: `_until` has at most `_MAX_TABLES` tables, each with its error and the moment until
    which that is raised again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: OrderedDict[str, tuple[ZerobusError, float]] = OrderedDict()

    def check(self, table: str) -> None:
        """Raise the error of a table that was not found a moment ago.

        Raises:
            ZerobusError: A copy, as one object raised in many threads would collect all their frames.
        """
        with self._lock:
            error, until = self._until.get(table, (None, 0.0))
            if error is not None and time.monotonic() >= until:
                del self._until[table]
                error = None
        if error is not None:
            raise type(error)(*error.args)

    def note(self, table: str, error: ZerobusError) -> None:
        """Remember an error for a while, if it says that the table was not found."""
        if error.unknown_table:
            with self._lock:
                self._until.setdefault(table, (error, time.monotonic() + UNKNOWN_SECONDS))
                if len(self._until) > _MAX_TABLES:
                    self._until.popitem(last=False)

    @contextmanager
    def noting(self, table: str) -> Iterator[None]:
        """Note what a block raises."""
        try:
            yield
        except ZerobusError as error:
            self.note(table, error)
            raise
