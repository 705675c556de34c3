"""The signals that end a process in an orderly way, on every system alike.

A signal that is ignored when a process begins stays ignored: so shells keep Ctrl-C from what scripts start with ``&``.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

__all__ = ["ending_signals", "exit_code_of", "interrupt_at_signals", "stop_at_signals", "wait_for"]

_NAMES = ("SIGINT", "SIGTERM", "SIGBREAK")


def ending_signals() -> list[int]:
    """Return SIGINT, which Ctrl-C sends; SIGTERM; and SIGBREAK, which Ctrl-Break sends and only Windows has."""
    return [int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name)]


_IGNORED = frozenset(number for number in ending_signals() if signal.getsignal(number) is signal.SIG_IGN)


def stop_at_signals() -> threading.Event:
    """Return an event that each of these signals sets, for servers, which then end in their own order."""
    stop = threading.Event()
    _handle(lambda *_: stop.set())
    return stop


def wait_for(stop: threading.Event) -> None:
    """Wait until `stop` is set, in slices, which lets Windows deliver signals."""
    while not stop.wait(0.5):
        pass


def interrupt_at_signals() -> None:
    """Have each of these signals raise KeyboardInterrupt in the main thread, as Ctrl-C does."""
    _handle(_interrupt)


def exit_code_of(interrupt: KeyboardInterrupt) -> int:
    """Return what a process exits with after an interrupt, as shells have it: 130 after Ctrl-C, 143 after SIGTERM.

    Example:
        >>> exit_code_of(KeyboardInterrupt())
        130
    """
    return 128 + int(interrupt.args[0] if interrupt.args else signal.SIGINT)


def _handle(handler: Callable[[int, FrameType | None], Any]) -> None:
    for number in ending_signals():
        signal.signal(number, signal.SIG_IGN if number in _IGNORED else handler)


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(number)
