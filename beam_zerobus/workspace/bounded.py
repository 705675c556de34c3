"""Runs work that may hang, and waits for it only so long."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

__all__ = ["CannotRunError", "run_bounded"]

_T = TypeVar("_T")

_MAX_ABANDONED = 100
_abandoned: list[threading.Thread] = []


class CannotRunError(Exception):
    """The work did not end within its limit, or there is no thread to run it; the message says which."""


def run_bounded(work: Callable[[], _T], limit: float) -> _T:
    """Run `work` in a daemon thread and wait at most `limit` seconds for its result.

    Work that has not ended by then goes on, and its result is dropped. When 100 such threads still run, no further
    work is started. At the end of the process, where Python starts no thread, the caller's thread does the work.

    Raises:
        CannotRunError: The limit has passed, or no thread can be started.
        BaseException: Whatever `work` raises.

    Example:
        >>> run_bounded(lambda: 6 * 7, limit=5.0)
        42
    """
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            future.set_exception(error)

    # The work sees the caller's context: OpenTelemetry's current span, or that telemetry is suppressed.
    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(run,), name="beam_zerobus-request", daemon=True
    )
    if not _start(thread):
        if threading.main_thread().is_alive():
            raise CannotRunError("no thread could be started for it")
        return work()  # Python starts no thread at the end of a process, which waits no longer than EXIT_SECONDS
    if not wait([future], limit).done:
        _abandoned.append(thread)
        raise CannotRunError(f"no answer within {limit:g} s")
    return future.result()


def _start(thread: threading.Thread) -> bool:
    _abandoned[:] = [left for left in _abandoned if left.is_alive()]
    if len(_abandoned) >= _MAX_ABANDONED:
        return False
    try:
        thread.start()
    except RuntimeError:  # the system has no more, or the interpreter is shutting down
        return False
    return True
