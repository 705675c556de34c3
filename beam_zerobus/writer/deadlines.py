"""Timeouts of calls as moments of `time.monotonic`, so that several waits share one."""

from __future__ import annotations

import time

__all__ = ["WAIT_SLICE", "deadline_after", "seconds_until"]

WAIT_SLICE = 1.0
"""Seconds that a thread waits at a time: a wait without a limit does not notice Ctrl-C on Windows, nor a signal that
the system gave to another thread."""


def deadline_after(timeout: float | None) -> float | None:
    """Return the moment when a timeout is over; None for no timeout."""
    return None if timeout is None else time.monotonic() + timeout


def seconds_until(deadline: float | None) -> float | None:
    """Return the seconds that are left; None for no deadline."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
