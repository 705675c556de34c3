"""`Budget`: the memory that the payloads in flight of all writers of a process may take together."""

from __future__ import annotations

import os
import threading

__all__ = ["Budget", "budget_of_process"]


class Budget:
    """Bytes in flight that the ledgers of several writers share; thread-safe.

    Invariants, under the one lock, a condition that is never held while another lock is taken:
    - `_used` is the sum of what the ledgers hold.
    - `_limits` are those of the writers that are open. The smallest counts for all, so that no writer waits without end
      because others may use more. Callers wait while `_used` is above it: each exceeds it by one payload at most.
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._used = 0
        self._limits: list[int] = []

    @property
    def used(self) -> int:
        """The memory of the payloads in flight."""
        return self._used

    @property
    def has_room(self) -> bool:
        """True while the payloads in flight take less than each open writer allows."""
        with self._lock:
            return self._has_room()

    def join(self, limit: int) -> None:
        """Add a writer that allows so many bytes for all writers together."""
        with self._lock:
            self._limits.append(limit)

    def leave(self, limit: int) -> None:
        """Remove a writer that joined with this limit."""
        with self._lock:
            self._limits.remove(limit)
            self._lock.notify_all()

    def add(self, nbytes: int) -> None:
        """Count bytes in, or out where the number is negative."""
        with self._lock:
            self._used += nbytes
            if nbytes < 0 and self._has_room():
                self._lock.notify_all()

    def wait_for_room(self, timeout: float) -> bool:
        """Wait for room, `timeout` seconds at most; return whether there is any."""
        with self._lock:
            return self._lock.wait_for(self._has_room, timeout)

    def start_anew(self) -> None:
        """Forget everything, in a forked child: its parent holds that."""
        self.__init__()  # type: ignore[misc]

    def _has_room(self) -> bool:
        return not self._limits or self._used < min(self._limits)


budget_of_process = Budget()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=budget_of_process.start_anew)
