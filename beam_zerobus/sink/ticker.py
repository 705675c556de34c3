"""Sends rows that have waited too long in a bundle that stays open."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

__all__ = ["Ticker"]


class Ticker:
    """Calls a method at an interval from a thread of its own, until it is stopped or the method's object is gone.

    Args:
        send: The bound method, held by a weak reference, because not every runner calls teardown.
        interval: Seconds between two calls.
    """

    def __init__(self, send: Callable[[], None], interval: float) -> None:
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._send = weakref.WeakMethod(send)
        self._interval = interval
        self._thread = threading.Thread(target=self._run, name="zerobus-max-delay", daemon=True)
        self._thread.start()

    def stop_soon(self) -> None:
        """Make no further call; do not wait for one that is running."""
        self._stopped.set()

    def stop(self) -> None:
        """Make no further call; wait for the end of one that is running."""
        self.stop_soon()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def check(self) -> None:
        """Raise the exception of a call that failed; no call is made after one."""
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            send = self._send()
            if send is None:
                return
            try:
                send()
            except BaseException as failure:  # noqa: BLE001 - raised in the bundle's thread by check
                self._failure = failure
                return
            del send
