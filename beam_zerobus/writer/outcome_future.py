"""`OutcomeFuture`: the outcome of a submission as a future that notes when a caller takes it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from beam_zerobus.writer.result import TransmissionResult

__all__ = ["OutcomeFuture"]


class OutcomeFuture(Future[TransmissionResult]):
    """A future for a caller.

    Args:
        mark_reported: Notes that the caller takes the outcome.
    """

    def __init__(self, mark_reported: Callable[[], None]) -> None:
        super().__init__()
        self._mark_reported = mark_reported

    def result(self, timeout: float | None = None) -> TransmissionResult:
        """Return the outcome, as any future."""
        self._mark_reported()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the submission failed with, as any future."""
        self._mark_reported()
        return super().exception(timeout)
