"""`StreamRateLimiter`: how often a writer may open a stream after a rejected call."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

from beam_zerobus.delivery import limits
from beam_zerobus.errors import counted
from beam_zerobus.logs import get_logger

__all__ = ["StreamRateLimiter"]

_log = get_logger(__name__)


class StreamRateLimiter:
    """Counts the streams that a writer opens, and says how long to wait before the next, after a rejected call.

    The service ends a stream with each rejected call, so a search of many rejected rows would open more streams to a
    table than it should. While it waits, other batches have a few streams left. Other reasons to open a stream are
    counted, but never wait here: `Backoff` limits those.

    Invariant, under the one lock: `_opened` has the times of the last openings, in order, as many as the limits count.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._opened: deque[float] = deque(maxlen=limits.MAX_STREAMS + limits.SPARE_STREAMS)
        self._warned_at = float("-inf")

    def opened(self) -> None:
        """Count a stream."""
        with self._lock:
            self._opened.append(self._clock())

    def seconds_until_others(self) -> float:
        """Return the seconds until other batches may open a stream while a search waits, 0.0 for now."""
        with self._lock:
            return self._left(limits.MAX_STREAMS + limits.SPARE_STREAMS)

    def seconds_until_search(self, rows: int) -> float:
        """Return the seconds until a search may open a stream, 0.0 for now; warn, at most once in ten seconds.

        Args:
            rows: Rows without an outcome, for the warning.
        """
        most = limits.MAX_STREAMS
        with self._lock:
            now = self._clock()
            if (left := self._left(most)) == 0.0:
                return 0.0
            warns = now - self._warned_at >= limits.OUTAGE_LOG_INTERVAL
            if warns:
                self._warned_at = now
        if warns:
            _log.warning(
                "Zerobus rejects rows of table %s, and each rejected call costs a stream: %s opened "
                "within %.0f s, so the search for the rejected rows goes on in %d s; %s no outcome yet. "
                "Correct what produces the rejected rows",
                self._name, counted(most, "stream", "was"), limits.STREAM_WINDOW, math.ceil(left),
                counted(rows, "row", "has"),
            )  # fmt: skip
        return left

    def _left(self, most: int) -> float:
        if len(self._opened) < most:
            return 0.0
        return max(0.0, self._opened[-most] + limits.STREAM_WINDOW - self._clock())
