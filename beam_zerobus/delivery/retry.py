"""Backoff between failures, and the breaker that pauses a worker whose calls mostly fail."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from beam_zerobus.errors import TransientError
from beam_zerobus.options import Retry

__all__ = ["Backoff", "Breaker", "retry_transient"]

_T = TypeVar("_T")


def retry_transient(function: Callable[[], _T], retry: Retry) -> _T:
    """Call a function again, with backoff, as long as it raises TransientError and retries are left.

    Raises:
        TransientError: The last one.
    """
    return Retrying(
        stop=stop_after_attempt(retry.max_retries + 1),
        wait=wait_random_exponential(multiplier=retry.initial_backoff, max=retry.max_backoff),
        retry=retry_if_exception_type(TransientError),
        reraise=True,
    )(function)


class Backoff:
    """Counts failures in a row and draws the wait before the next try, as `Retry` describes.

    Not thread-safe: it belongs to the one thread that recovers a stream.
    """

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._wait = wait_random_exponential(multiplier=retry.initial_backoff, max=retry.max_backoff)
        self.failures = 0

    def progress(self) -> None:
        """Start counting anew: the service acknowledged something."""
        self.failures = 0

    def next_wait(self) -> float | None:
        """Count one more failure; return the seconds to wait, or None when the retries are used up."""
        self.failures += 1
        if self.failures > self._retry.max_retries:
            return None
        state = RetryCallState(Retrying(), fn=None, args=(), kwargs={})
        state.attempt_number = self.failures
        return float(self._wait(state))


class Breaker:
    """Pauses every thread of a writer together while most calls fail.

    Outcomes of the last `window` seconds are kept: acknowledged calls, and streams that were lost or not to be opened.
    When at least `min_calls` of them are there and the share of failures reaches `threshold`, all callers of
    `pause_left` are told to wait for `pause` seconds, and the window starts empty.

    Invariants, under the one lock: `_failures` counts the failures in `_outcomes`; outcomes are in order of time.
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
