"""Backoff between failures, and the circuit breaker that pauses a worker whose calls mostly fail."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from beam_zerobus.errors import TransientError
from beam_zerobus.options import Retry
from beam_zerobus.workspace.retry_after import MAX_RETRY_AFTER

__all__ = ["Backoff", "Breaker", "retry_transient"]

_T = TypeVar("_T")


def retry_transient(function: Callable[[], _T], retry: Retry, *, sleep: Callable[[float], object] = time.sleep) -> _T:
    """Call a function again, with backoff, as long as it raises TransientError and retries are left.

    Args:
        function: What to call.
        retry: How often, and with which waits.
        sleep: Waits for some seconds.

    Raises:
        TransientError: The last one.
    """
    backoff = Backoff(retry)
    while True:
        try:
            return function()
        except TransientError as error:
            wait = backoff.next_wait(error.retry_after)
            if wait is None:
                raise
            sleep(wait)


class Backoff:
    """Counts failures in a row and draws the wait before the next try, as `Retry` describes.

    Not thread-safe: it belongs to the thread that tries again.
    """

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self.failures = 0

    def reset(self) -> None:
        """Start counting anew: something was acknowledged, or everything was given up."""
        self.failures = 0

    def next_wait(self, at_least: float | None = None) -> float | None:
        """Count one more failure; return the seconds to wait, or None when no retry is left.

        Args:
            at_least: Seconds that the service asked for (Retry-After); followed up to a limit.
        """
        self.failures += 1
        if self.failures > self._retry.max_retries:
            return None
        # The exponent is bounded, as a float overflows at 2 ** 1024.
        highest = min(self._retry.max_backoff, self._retry.initial_backoff * 2.0 ** min(self.failures - 1, 1_000))
        return max(random.uniform(0, highest), min(at_least or 0.0, MAX_RETRY_AFTER))  # noqa: S311 - no secret


class Breaker:
    """Pauses every thread of a writer together while most calls fail.

    It keeps the outcomes of the last `window` seconds: acknowledged calls, and streams that were lost or did not open.
    When there are at least `min_calls` and the share of failures reaches `threshold`, `pause_left` returns up to
    `pause` seconds to every caller, and the window starts empty.

    Invariants, under the one lock: `_calls` and `_failures` count the calls and failures in `_outcomes`, which are in
    order of time.
    """

    def __init__(
        self,
        *,
        threshold: float = 0.5,
        window: float = 10.0,
        min_calls: int = 10,
        pause: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = threshold
        self._window = window
        self._min_calls = min_calls
        self._pause = pause
        self._clock = clock
        self._lock = threading.Lock()
        self._outcomes: deque[tuple[float, int, bool]] = deque()
        self._calls = 0
        self._failures = 0
        self._paused_until = 0.0

    def succeeded(self, calls: int = 1) -> None:
        """Count acknowledged calls."""
        with self._lock:
            self._count(calls, failed=False)

    def failed(self) -> float:
        """Count a failure; return the seconds of the pause that this begins, 0.0 for none."""
        with self._lock:
            self._count(1, failed=True)
            if self._calls < self._min_calls or self._failures < self._threshold * self._calls:
                return 0.0
            self._outcomes.clear()
            self._calls = self._failures = 0
            self._paused_until = self._clock() + self._pause
            return self._pause

    def pause_left(self) -> float:
        """Return the seconds that callers have to wait now; 0.0 while the breaker is closed."""
        return max(0.0, self._paused_until - self._clock())

    def _count(self, calls: int, *, failed: bool) -> None:
        now = self._clock()
        self._outcomes.append((now, calls, failed))
        self._calls += calls
        self._failures += calls * failed
        while self._outcomes[0][0] < now - self._window:
            _, old, was_failure = self._outcomes.popleft()
            self._calls -= old
            self._failures -= old * was_failure
