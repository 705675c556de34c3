"""`OutcomeFuture`: the outcome of a submission as a future that notes who asks for it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from beam_zerobus.writer.result import TransmissionResult

__all__ = ["OutcomeFuture"]


class OutcomeFuture(Future[TransmissionResult]):
    """A future for a caller.

    Args:
        ask: Notes that the caller asks for the outcome.
    """

    def __init__(self, ask: Callable[[], None]) -> None:
        super().__init__()
        self._ask = ask

    def result(self, timeout: float | None = None) -> TransmissionResult:
        """Return the outcome, as any future."""
        self._ask()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the submission failed with, as any future."""
        self._ask()
        return super().exception(timeout)
