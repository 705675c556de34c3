"""`Background`: a thread that does things in order, a few steps behind those who ask for them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context

from beam_zerobus.logs import get_logger, outline

__all__ = ["Background"]

_log = get_logger(__name__)


class Background:
    """Does tasks one after the other in a thread of its own; any number of threads may ask.

    A task runs in the context of whoever asked for it, so that its log lines carry the ids of that trace.

    Args:
        name: The thread's name.
        most_waiting: So many tasks wait at most; `do` waits for room.

    Invariants, under the one lock, `_changed` (a condition):
    - `_waiting` holds what was asked for and is not begun, in order.
    - Once `_closed` it takes nothing more, and who asks does the task himself.
    """

    def __init__(self, name: str, *, most_waiting: int) -> None:
        self._most_waiting = most_waiting
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Context, Callable[[], None]]] = deque()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def do(self, task: Callable[[], None]) -> None:
        """Have a task done after all that were asked for before."""
        context = copy_context()
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._waiting) < self._most_waiting)
            if not self._closed:
                self._waiting.append((context, task))
                self._changed.notify_all()
                return
        task()

    def close(self, timeout: float) -> None:
        """Wait, `timeout` seconds at most, until all is done, and end the thread; a second call does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                context, task = self._waiting.popleft()
                self._changed.notify_all()
            try:
                context.run(task)
            except Exception as error:  # noqa: BLE001  the thread lives on: others wait for what comes after
                _log.error("A task of %s failed: %s", self._thread.name, outline(error))
            del context, task  # a batch is memory that is needed no more
