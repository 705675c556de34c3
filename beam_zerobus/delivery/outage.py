"""`Outage`: what the log says while the service fails."""

from __future__ import annotations

import time
from collections.abc import Callable

from beam_zerobus.delivery import limits
from beam_zerobus.errors import counted
from beam_zerobus.logs import get_logger

__all__ = ["Outage"]

_log = get_logger(__name__)


class Outage:
    """Warns from the second failure in a row on, at most once in ten seconds, and says when it is over.

    Not thread-safe: it belongs to the supervisor.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._since: float | None = None
        self._warned_at: float | None = None

    def failed(self, cause: str, *, failures: int, wait: float, rows: int) -> None:
        """Note a failure that is followed by another try."""
        now = self._clock()
        self._since = now if self._since is None else self._since
        _log.debug("Retrying %s in %.2f s after %s", self._name, wait, cause)
        if failures < 2 or (self._warned_at is not None and now - self._warned_at < limits.OUTAGE_LOG_INTERVAL):
            return
        self._warned_at = now
        _log.warning(
            "Zerobus has failed for table %s for %.0f s, last with %s: %s waiting, sent again in %.1f s "
            "(failure %d in a row)",
            self._name, now - self._since, cause, counted(rows, "row"), wait, failures,
        )  # fmt: skip

    def ended(self) -> None:
        """Note that the service acknowledged something."""
        if self._warned_at is not None and self._since is not None:
            _log.warning("Zerobus works again for %s after %.0f s", self._name, self._clock() - self._since)
        self._since = self._warned_at = None

    def given_up(self) -> None:
        """Forget it: everything that waited has failed."""
        self._since = self._warned_at = None
