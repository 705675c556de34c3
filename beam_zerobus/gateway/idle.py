"""`IdleTime` and `IdleWatch`: calls that wait for their client too long are ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from beam_zerobus.gateway.connections import end_connection
from beam_zerobus.logs import get_logger, outline

__all__ = ["IdleTime", "IdleWatch", "Wait", "WatchedCall"]

_log = get_logger(__name__)
_GRACE = 2.0  # seconds in which a client may end its call itself, after it was notified
_SHORTEST_LOOK = 0.05  # seconds between two looks at the calls, at least


class Wait:
    """Whether a thread waits for something; a context manager, in whose block it does.

    One thread writes, another one reads without a lock: it reads `waits` first, and each change of it is preceded by
    that of `changed`.

    Attributes:
        waits: Whether it waits.
        changed: When that last changed, of `time.monotonic`.
    """

    __slots__ = ("changed", "waits")

    def __init__(self) -> None:
        self.waits = False
        self.changed = time.monotonic()

    def __enter__(self) -> None:
        self.changed = time.monotonic()
        self.waits = True

    def __exit__(self, *_: object) -> None:
        self.changed = time.monotonic()
        self.waits = False


class IdleTime:
    """How long a call has waited for nothing but its client.

    The call's two threads say what they wait for. The call is idle while one reads and the other has nothing to answer,
    and while a result is written that the client does not read.

    Attributes:
        reading: The client has to send something.
        nothing_to_answer: Every batch that was read has its result.
        writing: The client has to read a result.

    Example:
        >>> idle = IdleTime()
        >>> with idle.nothing_to_answer, idle.reading:
        ...     idle.seconds() >= 0
        True
        >>> idle.seconds()
        0.0
    """

    def __init__(self) -> None:
        self.reading = Wait()
        self.nothing_to_answer = Wait()
        self.writing = Wait()

    def seconds(self) -> float:
        """Return for how long; 0.0 while the call waits for something else."""
        if not (self.writing.waits or (self.reading.waits and self.nothing_to_answer.waits)):
            return 0.0
        changed = max(wait.changed for wait in (self.reading, self.nothing_to_answer, self.writing))
        return time.monotonic() - changed


class WatchedCall(Protocol):
    """What `IdleWatch` needs of a call."""

    @property
    def peer(self) -> str:
        """The client's address, as gRPC writes it."""

    @property
    def idle_seconds(self) -> float:
        """How long the call has waited for nothing but its client."""

    def end_idle(self, seconds: float) -> None:
        """Let the client read that its call ends; called once, and never waits."""


class IdleWatch:
    """Ends calls that are idle for too long, in a thread of its own.

    A client first reads a last result that says so, and may end its call itself. If it does not, its connection is
    ended, unless another call on it is not idle, or may still end itself.

    Args:
        calls: Returns the calls that are running.
        others: Returns the addresses of clients with calls of other kinds, which are never idle.
        port: The port that clients are connected to.
        timeout: Seconds.
    """

    def __init__(
        self,
        calls: Callable[[], Iterable[WatchedCall]],
        others: Callable[[], Iterable[str]],
        *,
        port: int,
        timeout: float,
    ) -> None:
        self._calls = calls
        self._others = others
        self._port = port
        self._timeout = timeout
        self._notified: dict[WatchedCall, float] = {}  # until when the client may end the call; of its thread only
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gateway-idle", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End no more calls."""
        self._closed.set()
        self._thread.join()
        self._notified.clear()  # pyarrow never lets go of a server: what it refers to stays

    def _run(self) -> None:
        while not self._closed.wait(min(max(self._timeout / 4, _SHORTEST_LOOK), 1.0)):
            try:
                self._look(list(self._calls()))
            except Exception as error:  # noqa: BLE001  else no idle call would end any more
                _log.error("Idle calls could not be ended, the gateway tries again: %s", outline(error))

    def _look(self, calls: list[WatchedCall]) -> None:
        self._notified = {call: until for call, until in self._notified.items() if call in calls}
        for call in calls:
            if call not in self._notified and call.idle_seconds > self._timeout:
                _log.info("A call of %s was idle for %g s: it ends", call.peer, self._timeout)
                call.end_idle(self._timeout)
                self._notified[call] = time.monotonic() + _GRACE
        now = time.monotonic()
        overdue = {call for call, until in self._notified.items() if until < now}
        running = list(self._calls())  # once more: one may have begun or ended meanwhile
        kept = {call.peer for call in running if call not in overdue} | set(self._others())
        for peer in {call.peer for call in running if call in overdue} - kept:
            if not end_connection(peer, self._port):
                _log.debug("The connection of %s cannot be ended: it is closed, or the system has no /dev/fd", peer)
