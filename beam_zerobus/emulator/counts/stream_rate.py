"""`StreamRate`: how many streams to a table were created within a minute."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

__all__ = ["MAX_STREAMS", "StreamRate"]

_LOG = logging.getLogger(__name__)
MAX_STREAMS = 100
"""Streams to a table within a minute; above that the official SDK warns, and so does the emulator."""
_MINUTE = 60.0


class StreamRate:
    """Counts the streams to one table; used by one thread at a time.

    Args:
        table: The table.
        clock: Returns the present moment in seconds.

    Example:
        >>> rate = StreamRate("main.iot.air_quality")
        >>> rate.opened()
        >>> rate.last_minute, rate.most
        (1, 1)
    """

    def __init__(self, table: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._table = table
        self._clock = clock
        self._moments: deque[float] = deque()
        self._warned = float("-inf")
        self.most = 0

    @property
    def last_minute(self) -> int:
        """Streams of the last minute."""
        while self._moments and self._moments[0] <= self._clock() - _MINUTE:
            self._moments.popleft()
        return len(self._moments)

    def opened(self) -> None:
        """Count a stream; above the limit, warn once a minute."""
        self._moments.append(self._clock())
        count = self.last_minute
        self.most = max(self.most, count)
        if count > MAX_STREAMS and self._moments[-1] - self._warned >= _MINUTE:
            self._warned = self._moments[-1]
            _LOG.warning(
                "%d streams to %s were created within a minute; the service expects %d at most: keep streams open",
                count,
                self._table,
                MAX_STREAMS,
            )
