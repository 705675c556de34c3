"""`Budget`: the memory that the payloads in flight of several writers may take together."""

from __future__ import annotations

import threading

__all__ = ["Budget"]


class Budget:
    """Bytes in flight that the ledgers of several writers share; thread-safe.

    Invariant, under the one lock, a condition that is never held while another lock is taken: `_used` is the sum of
    what the ledgers hold. Callers wait while it is above the limit, so each of them exceeds it by one payload at most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Condition()
        self._used = 0

    @property
    def has_room(self) -> bool:
        """True while the payloads in flight take less than the limit."""
        return self._used < self._limit

    def add(self, nbytes: int) -> None:
        """Count bytes in, or out where the number is negative."""
        with self._lock:
            self._used += nbytes
            if nbytes < 0 and self.has_room:
                self._lock.notify_all()

    def wait_for_room(self, timeout: float) -> bool:
        """Wait for room, `timeout` seconds at most; return whether there is any."""
        with self._lock:
            return self._lock.wait_for(lambda: self.has_room, timeout)
