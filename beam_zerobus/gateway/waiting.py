"""`Waiting`: what a call has accepted and not answered yet."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Waiting"]

T = TypeVar("T")


class Waiting(Generic[T]):
    """A queue between two threads with two bounds: a number of items, and their bytes together.

    Invariants, under the one lock (a condition):
    - `_bytes` is the sum of the sizes in `_items`.
    - Neither bound is exceeded, except that an item of any size may be the only one, and by what `end` adds.

    Args:
        max_items: Items at most.
        max_bytes: Bytes of all items at most.

    Example:
        >>> waiting = Waiting(max_items=2, max_bytes=100)
        >>> waiting.put("a", 60)
        >>> waiting.get()
        'a'
    """

    def __init__(self, *, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0

    def put(self, item: T, size: int = 0) -> None:
        """Add an item; waits while there is no room for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_room_for(size))
            self._items.append((item, size))
            self._bytes += size
            self._changed.notify_all()

    def end(self, item: T) -> None:
        """Add what ends the queue, without waiting for room."""
        with self._changed:
            self._items.append((item, 0))
            self._changed.notify_all()

    def get(self) -> T:
        """Remove and return the oldest item; waits for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._items)
            item, size = self._items.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return item

    def _has_room_for(self, size: int) -> bool:
        return not self._items or (len(self._items) < self._max_items and self._bytes + size <= self._max_bytes)
