"""Closes writers that the program does not close: at the end of the process, and when they are garbage collected."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import threading
import time
from contextlib import AbstractContextManager, suppress
from multiprocessing.util import Finalize
from typing import Protocol
from weakref import WeakSet

from beam_zerobus.logs import get_logger, outline
from beam_zerobus.writer.state import WriterState

__all__ = [
    "ABORT_SECONDS",
    "EXIT_SECONDS",
    "close_at_exit",
    "close_in_background",
    "forget_at_exit",
    "forget_if_over",
    "left_to_the_parent",
    "process_lock",
    "raise_failures",
    "start_anew_in_children",
]

EXIT_SECONDS = 10.0
"""Seconds that the end of a process, and a dropped writer, wait for acknowledgements: all writers together."""

ABORT_SECONDS = 2.0
"""Seconds that the end of a ``with`` block waits for them after an exception in the block."""

# Dropping an SDK object that a fork copied hangs the child, so a parent's states are kept there, not collected.
left_to_the_parent: list[WriterState] = []

_log = get_logger(__name__)


class _StartsAnew(Protocol):
    def start_anew(self) -> None: ...


_start_anew_in_children: WeakSet[_StartsAnew] = WeakSet()

_lock = threading.RLock()  # a garbage collection in the middle may drop a writer
_open_states: set[WriterState] = set()
_finalizer: Finalize[None] | None = None


def process_lock() -> AbstractContextManager[object]:
    """Return the lock of this process under which its states are made and listed."""
    return _lock


def close_at_exit(state: WriterState) -> None:
    """Have a state closed when the process ends, unless it is closed before."""
    global _finalizer  # noqa: PLW0603
    with _lock:
        _open_states.add(state)
        if _finalizer is None and multiprocessing.parent_process() is not None:
            # A forked child of multiprocessing ends without calling what is registered with atexit.
            _finalizer = Finalize(None, _close_all, exitpriority=100)


def forget_at_exit(state: WriterState) -> None:
    """Stop keeping a state for the end of the process, as it is closed elsewhere."""
    with _lock:
        _open_states.discard(state)


def forget_if_over(state: WriterState) -> None:
    """Call `forget_at_exit`, unless a failure is left that the end of the process has to log."""
    if state.is_over:
        forget_at_exit(state)


def raise_failures(state: WriterState) -> None:
    """Log what failed and nobody asked for, and raise the first.

    Raises:
        ZerobusError: What a batch, or rows of one, failed with.
    """
    try:
        state.submissions.raise_failures()
    finally:
        forget_if_over(state)


def start_anew_in_children(one: _StartsAnew) -> None:
    """Have `start_anew` called in each forked child, as long as somebody holds the object."""
    _start_anew_in_children.add(one)


def close_in_background(state: WriterState) -> None:
    """Close the state of a writer that was garbage collected, without delaying the thread that dropped it.

    It stays among those that the end of the process closes, until it is closed.
    """
    if state.pid != os.getpid():
        left_to_the_parent.append(state)
    elif state.is_used and not state.is_over:
        with suppress(RuntimeError):  # the system has no thread left: the end of the process closes it
            threading.Thread(target=_close_dropped, args=(state,), name="zerobus-close", daemon=True).start()
    else:
        state.submissions.close()
        forget_at_exit(state)


def _close_dropped(state: WriterState) -> None:
    state.close(time.monotonic() + EXIT_SECONDS)
    state.submissions.log_failures()
    forget_at_exit(state)


@atexit.register
def _close_all() -> None:
    """Close every writer that is still open, within one limit for all, and log what is not acknowledged then."""
    deadline = time.monotonic() + EXIT_SECONDS
    with _lock:
        states = [state for state in _open_states if state.pid == os.getpid()]
        _open_states.clear()
    for state in states:
        try:
            state.close(deadline)
        except KeyboardInterrupt:
            deadline = time.monotonic()  # no more waiting, for none of them
        except Exception as error:  # noqa: BLE001  the others are closed all the same
            _log.error("A writer did not close: %s", outline(error))
        state.submissions.log_failures()


def _start_anew() -> None:
    """Start anew in a forked child, and leave the parent's states as they are."""
    global _lock, _finalizer  # noqa: PLW0603
    _lock = threading.RLock()  # the parent's may be held
    _finalizer = None  # multiprocessing forgets the parent's
    left_to_the_parent.extend(_open_states)
    _open_states.clear()
    for one in list(_start_anew_in_children):
        one.start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
