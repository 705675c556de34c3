"""`HeldBatches`: how much the bundles of a process hold for tables whose batches are not full."""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

__all__ = ["HeldBatches", "held_of_process"]

_MAX_BATCHES = 8
"""Full batches that all bundles of a process hold together."""


class HeldBatches:
    """Divides the full batches that may be held among the bundles that hold elements; thread-safe.

    Invariant, under the one lock: `_holders` are the bundles that hold elements.

    Example:
        >>> held, one, another = HeldBatches(), HeldBatches(), HeldBatches()
        >>> held.note(one, holds=True), held.note(another, holds=True)
        (None, None)
        >>> held.allowed()
        4.0
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: WeakKeyDictionary[object, bool] = WeakKeyDictionary()

    def note(self, holder: object, *, holds: bool) -> None:
        """Note whether a bundle holds elements."""
        with self._lock:
            if holds:
                self._holders[holder] = True
            else:
                self._holders.pop(holder, None)

    def allowed(self) -> float:
        """Return how many full batches each bundle may hold."""
        with self._lock:
            return _MAX_BATCHES / max(1, len(self._holders))


held_of_process = HeldBatches()
