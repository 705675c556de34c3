"""`Responder`: acknowledges what is durable, announces the stream's end, and ends it."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from beam_zerobus.emulator.access.tokens import Token
from beam_zerobus.emulator.host import Host
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.streams.calls import StreamProtocol

__all__ = [
    "ClientGone",
    "CloseSignal",
    "Cut",
    "Event",
    "Fail",
    "Gone",
    "Hang",
    "NoMoreCalls",
    "Responder",
    "Stored",
    "WrongAcknowledgement",
]

# What a wrong acknowledgement exceeds the calls by that were sent.
_FAR = 1_000_000
# Seconds between checks of an idle stream's token.
_IDLE_CHECK = 1.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A call is durable; its acknowledgement is delayed by `delay` seconds, or not sent if `silent`."""

    offset: int
    rows: int
    delay: float = 0.0
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """The stream ends with a status: after all calls before `offset` are acknowledged, or at once if it is None."""

    rejection: Rejection
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection breaks."""


@dataclass(frozen=True, slots=True)
class CloseSignal:
    """The server announces that it will close the stream after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """The server no longer reads or answers."""


@dataclass(frozen=True, slots=True)
class WrongAcknowledgement:
    """Calls are acknowledged that the client never sent."""


@dataclass(frozen=True, slots=True)
class NoMoreCalls:
    """The client has sent its last call."""

    calls: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The client has left, or the server stops."""


Event: TypeAlias = Stored | Fail | Cut | CloseSignal | Hang | WrongAcknowledgement | NoMoreCalls | Gone


class ClientGone(Exception):  # noqa: N818 - an event, not an error
    """The client can no longer be answered."""


class Responder:
    """Turns events into responses; used by one thread.

    Args:
        host: The state that streams share.
        protocol: Writes the responses.
        stream_id: The stream.
        first_offset: The offset of its first call.
        token: The token that the stream was created with; its expiry ends the stream.
        events: The stream's events.
        cut: Breaks the connection; returns False if it cannot.
    """

    def __init__(
        self,
        host: Host,
        protocol: StreamProtocol,
        *,
        stream_id: str,
        first_offset: int = 0,
        token: Token,
        events: queue.SimpleQueue[Event],
        cut: Callable[[], bool],
    ) -> None:
        self._host = host
        self._protocol = protocol
        self._stream_id = stream_id
        self._token = token
        self._events = events
        self._cut = cut
        # Acknowledgements to send: moment, offset, rows of the stream up to it. Moments never decrease.
        self._due: deque[tuple[float, int, int]] = deque()
        self._stored_calls = first_offset  # those before are stored
        self._stored_rows = 0
        self._acknowledged = (first_offset - 1, 0)
        self._last_sent = 0.0
        self._closes_at: float | None = None
        self._expected_calls: int | None = None
        self._failure: Fail | None = None

    def respond(self) -> Iterator[bytes]:
        """Yield acknowledgements and signals until the client has closed the stream and all is acknowledged.

        Raises:
            Rejection: The status that ends the stream.
            ClientGone: The client has left.
        """
        while True:
            for event in self._wait():
                yield from self._handle(event)
            self._host.check_token(self._token)
            yield from self._acknowledge()
            if self._failure is not None and self._settled(self._failure.offset or 0):
                raise self._failure.rejection
            if self._closes_at is not None and time.monotonic() >= self._closes_at:
                raise Rejection(
                    grpc.StatusCode.UNAVAILABLE, "Error 6002: the server rotates the stream; open a new one"
                )
            if self._expected_calls is not None and self._settled(self._expected_calls):
                return

    def _settled(self, calls: int) -> bool:
        return not self._due and self._stored_calls >= calls

    def _wait(self) -> list[Event]:
        """Wait for the next event or moment; return the events so far."""
        now = time.monotonic()
        moments = [now + _IDLE_CHECK, now + self._token.expires_at - self._host.tokens.now()]
        if self._due:
            moments.append(self._next_acknowledgement())
        if self._closes_at is not None:
            moments.append(self._closes_at)
        events: list[Event] = []
        try:
            events.append(self._events.get(timeout=max(0.0, min(moments) - now)))
            while True:
                events.append(self._events.get_nowait())
        except queue.Empty:
            pass
        return events

    def _handle(self, event: Event) -> Iterator[bytes]:
        match event:
            case Stored():
                self._stored(event)
            case Fail(rejection, None):
                raise rejection
            case Fail():
                # Of several failures, the earliest call's counts: only calls before it can be acknowledged.
                self._failure = min(self._failure or event, event, key=lambda failure: failure.offset or 0)
            case CloseSignal(seconds):
                self._closes_at = time.monotonic() + seconds
                yield self._protocol.close_signal(*self._acknowledged, seconds)
            case WrongAcknowledgement():
                offset, rows = self._acknowledged
                yield self._protocol.acknowledgement(offset + _FAR, rows + _FAR)
            case NoMoreCalls(calls):
                self._expected_calls = calls
            case Cut():
                if not self._cut():
                    raise Rejection(grpc.StatusCode.UNAVAILABLE, "injected fault: the connection was dropped")
                raise ClientGone
            case Hang():
                while not isinstance(self._events.get(), Gone | Fail | Cut):
                    pass
                raise ClientGone
            case Gone():
                raise ClientGone

    def _stored(self, call: Stored) -> None:
        self._stored_calls += 1
        self._stored_rows += call.rows
        if not call.silent:
            due = time.monotonic() + call.delay
            # Acknowledgements are cumulative, so a late one delays those after it.
            due = max(due, self._due[-1][0]) if self._due else due
            self._due.append((due, call.offset, self._stored_rows))

    def _next_acknowledgement(self) -> float:
        return max(self._due[0][0], self._last_sent + self._host.injector.faults.ack_interval)

    def _acknowledge(self) -> Iterator[bytes]:
        now = time.monotonic()
        if not self._due or self._next_acknowledgement() > now:
            return
        while self._due and self._due[0][0] <= now:
            _, offset, rows = self._due.popleft()
        self._last_sent = now
        self._host.stats.acknowledged(self._stream_id, offset, rows - self._acknowledged[1])
        self._acknowledged = (offset, rows)
        yield self._protocol.acknowledgement(offset, rows)
