"""`Calls`: the calls that are running, and how many may write."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from beam_zerobus.gateway.put import PutCall
from beam_zerobus.gateway.results import Failure

__all__ = ["Calls"]


class Calls:
    """The calls that are running: those that write, and the addresses of the clients of all others.

    Invariants, under the one lock (a condition):
    - `_running` has at most `max_calls` calls, of at most `max_clients` connections.
    - Once `_stopping`, none is added.

    Args:
        max_calls: Calls at most.
        max_clients: Connections at most.
    """

    def __init__(self, *, max_calls: int, max_clients: int) -> None:
        self._max_calls = max_calls
        self._max_clients = max_clients
        self._changed = threading.Condition()
        self._running: list[PutCall] = []
        self._others: list[str] = []
        self._stopping = False

    @property
    def stopping(self) -> bool:
        """Whether nothing new is accepted."""
        return self._stopping

    def __len__(self) -> int:
        return len(self._running)

    def running(self) -> list[PutCall]:
        """Return the calls of this moment that write."""
        with self._changed:
            return list(self._running)

    def others(self) -> list[str]:
        """Return the addresses of the clients of all other calls of this moment."""
        with self._changed:
            return list(self._others)

    def check_serving(self) -> None:
        """Check that the gateway is not stopping.

        Raises:
            flight.FlightUnavailableError: It is.
        """
        if self._stopping:
            raise Failure("UNAVAILABLE", "The gateway is stopping: call the next one").as_error()

    @contextmanager
    def entered(self, call: PutCall) -> Iterator[None]:
        """Count a call that writes as running.

        Raises:
            flight.FlightUnavailableError: The gateway is stopping, or a limit is reached.
        """
        with self._changed:
            self.check_serving()
            self._check_limits(call)
            self._running.append(call)
        try:
            yield
        finally:
            with self._changed:
                self._running.remove(call)
                self._changed.notify_all()

    @contextmanager
    def entered_beside(self, peer: str) -> Iterator[None]:
        """Note that a client has a call that does not write; no limit counts it."""
        with self._changed:
            self._others.append(peer)
        try:
            yield
        finally:
            with self._changed:
                self._others.remove(peer)

    def drain(self, timeout: float) -> bool:
        """Accept nothing new, and wait until no call writes any more; False where some still do after `timeout`."""
        with self._changed:
            self._stopping = True
            return self._changed.wait_for(lambda: not self._running, timeout)

    def _check_limits(self, call: PutCall) -> None:
        clients = {other.peer for other in self._running}
        if len(self._running) >= self._max_calls:
            raise _full("calls", "max_calls")
        if call.peer not in clients and len(clients) >= self._max_clients:
            raise _full("clients", "max_clients")


def _full(what: str, option: str) -> Exception:
    return Failure(
        "UNAVAILABLE", f"The gateway serves as many {what} as it may: wait, or have its operator raise {option}"
    ).as_error()
