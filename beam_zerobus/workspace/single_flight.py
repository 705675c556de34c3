"""`SingleFlight`: work that many threads need at once is done by one of them, for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

from beam_zerobus.errors import TransientError, ZerobusError

__all__ = ["SingleFlight"]

_T = TypeVar("_T")


class SingleFlight(Generic[_T]):
    """Shares the outcome of one call between all threads that ask while it runs.

    Without it, threads that wait for a lock would each try a service that does not answer, one after another.

    Invariant, under the one lock: `_flight` is the call that runs now, and new callers may join it.

    Args:
        limit: Seconds that a caller waits for another one's call.

    Example:
        >>> SingleFlight[int](limit=10.0).run(lambda: 42)
        42
    """

    def __init__(self, *, limit: float) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._flight: Future[_T] | None = None

    def run(self, work: Callable[[], _T]) -> _T:
        """Return the outcome of `work`, or of the same work that another thread does already.

        Raises:
            TransientError: The other thread's call did not end within the limit.
            BaseException: Whatever the call raises; each thread gets an exception of its own.
        """
        deadline = time.monotonic() + self._limit
        while True:
            with self._lock:
                flight = self._flight
                if flight is None:
                    mine = self._flight = Future()
                    break
            if not wait([flight], max(0.0, deadline - time.monotonic())).done:
                raise TransientError(
                    f"another thread's request did not end within {self._limit:g} s: try again later",
                    cause="FETCH_TIMEOUT",
                )
            if not flight.cancelled():  # else the other thread was interrupted: this one tries
                return _outcome(flight)
        return self._fly(mine, work)

    def forget(self) -> None:
        """Let no other thread join the call that runs now: what it will return is out of date."""
        with self._lock:
            self._flight = None

    def _fly(self, mine: Future[_T], work: Callable[[], _T]) -> _T:
        try:
            result = work()
        except Exception as error:
            self._land(mine)
            mine.set_exception(error)
            raise
        except BaseException:
            self._land(mine)
            mine.cancel()
            mine.set_running_or_notify_cancel()  # else those who wait would not notice
            raise
        self._land(mine)
        mine.set_result(result)
        return result

    def _land(self, mine: Future[_T]) -> None:
        with self._lock:
            if self._flight is mine:
                self._flight = None


def _outcome(flight: Future[_T]) -> _T:
    error = flight.exception()
    if error is None:
        return flight.result()
    if not isinstance(error, ZerobusError):
        raise error
    # One object raised in many threads would collect all their frames.
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    raise copy
