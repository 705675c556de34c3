"""`Session`: one stream from its creation to its end, whichever protocol it speaks.

Two threads serve a stream. The reader takes calls, checks them and hands them to the table. The responder, which is
gRPC's own thread for the stream, waits for what the reader and the table's commits report and sends acknowledgements.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from beam_zerobus.emulator.calls import Call, StreamProtocol
from beam_zerobus.emulator.connections import cut
from beam_zerobus.emulator.faults import FaultInjector, ScriptedFault
from beam_zerobus.emulator.refusal import Refusal
from beam_zerobus.emulator.stats import RecordedCall, StatsBook
from beam_zerobus.emulator.table import GRANTS, Table
from beam_zerobus.emulator.tokens import InvalidTokenError, Token, TokenIssuer

__all__ = ["Host", "Session"]

_LOG = logging.getLogger(__name__)
_TABLE_HEADER = "x-databricks-zerobus-table-name"
_IDLE_CHECK = 1.0


@dataclass(frozen=True, slots=True)
class _Stored:
    """A call is durable."""

    offset: int
    rows: int
    delay: float
    silent: bool


@dataclass(frozen=True, slots=True)
class _Fail:
    """The stream ends with a status, as soon as all calls before `offset` are acknowledged; at once when it is None."""

    refusal: Refusal
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class _Cut:
    """The connection breaks."""


@dataclass(frozen=True, slots=True)
class _CloseSignal:
    """The server announces that it will close the stream."""

    seconds: float


@dataclass(frozen=True, slots=True)
class _Hang:
    """The server falls silent."""


@dataclass(frozen=True, slots=True)
class _NoMoreCalls:
    """The client has sent its last call."""

    calls: int


@dataclass(frozen=True, slots=True)
class _Gone:
    """The client is gone, or the server stops."""


_Event: TypeAlias = _Stored | _Fail | _Cut | _CloseSignal | _Hang | _NoMoreCalls | _Gone


class Host:
    """What all streams of an emulator share.

    Attributes:
        catalog_find: Finds a table by name.
        tokens: Checks access tokens.
        stats: Counts.
        injector: Decides on faults; replaced when the faults are.
        check_rows: Whether calls are decoded before they are acknowledged.
        commit: Whether to wait for commits; storage in memory is written at once.
        port: The gRPC port, once it is bound.
    """

    def __init__(
        self,
        *,
        find_table: Any,
        tokens: TokenIssuer,
        stats: StatsBook,
        injector: FaultInjector,
        check_rows: bool,
        commit: bool,
    ) -> None:
        self.find_table = find_table
        self.tokens = tokens
        self.stats = stats
        self.injector = injector
        self.check_rows = check_rows
        self.commit = commit
        self.port = 0
        self._lock = threading.Lock()
        self._sessions: set[Session] = set()

    def enter(self, session: Session) -> None:
        """A stream begins."""
        with self._lock:
            self._sessions.add(session)

    def leave(self, session: Session) -> None:
        """A stream is over."""
        with self._lock:
            self._sessions.discard(session)

    def sessions(self) -> list[Session]:
        """Return the streams that are open."""
        with self._lock:
            return list(self._sessions)


class Session:
    """One stream.

    Invariant: only the responder sends and only the reader reads; they share `_events` and nothing else.

    Args:
        host: What it shares with other streams.
        protocol: The stream's protocol.
        context: gRPC's context of the stream.
    """

    def __init__(self, host: Host, protocol: StreamProtocol, context: grpc.ServicerContext) -> None:
        self._host = host
        self._protocol = protocol
        self._context = context
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self.stream_id = str(uuid.uuid4())
        # The reader's own, once the stream is created.
        self._version = -1
        # The responder's own.
        self._due: deque[tuple[float, int, int]] = deque()
        self._stored_calls = 0
        self._stored_rows = 0
        self._acknowledged = (-1, 0)
        self._last_sent = 0.0
        self._closes_at: float | None = None
        self._expected_calls: int | None = None
        self._failure: _Fail | None = None

    def run(self, requests: Iterator[bytes]) -> Iterator[bytes]:
        """Serve the stream; yields the responses."""
        # The client sends nothing before it has the response's headers.
        self._context.send_initial_metadata(())
        try:
            token, table = self._create(requests)
        except Refusal as refusal:
            self._context.abort(refusal.code, refusal.message)
        except StopIteration:
            return
        self._host.stats.stream_opened(self.stream_id, table.name, self._protocol.wire_format)
        self._host.enter(self)
        end = "gone"
        try:
            self._context.add_callback(lambda: self._events.put(_Gone()))
            reader = threading.Thread(
                target=self._read, args=(requests, table, token), name=f"stream {self.stream_id}", daemon=True
            )
            reader.start()
            yield self._protocol.ready(self.stream_id)
            yield from self._respond(token)
            end = "closed"
        except _ClientGoneError:
            return
        except Refusal as refusal:
            end = refusal.code.name
            self._context.abort(refusal.code, refusal.message)
        finally:
            self._host.leave(self)
            self._host.stats.stream_ended(self.stream_id, end)

    def fail(self, refusal: Refusal) -> None:
        """End the stream with a status, from any thread."""
        self._events.put(_Fail(refusal))

    def cut(self) -> None:
        """Break the connection, from any thread."""
        self._events.put(_Cut())

    # ---- creation, in the responder's thread

    def _create(self, requests: Iterator[bytes]) -> tuple[Token, Table]:
        headers = dict(self._context.invocation_metadata())
        token = self._authenticate(headers.get("authorization"))
        first = next(requests)
        named = self._protocol.table_of(first)
        name = headers.get(_TABLE_HEADER)
        if not name:
            raise Refusal.invalid(f"the header {_TABLE_HEADER} is missing")
        if named is not None and named != name:
            raise Refusal.invalid(f"create_stream names table {named!r}, the header {_TABLE_HEADER} {name!r}")
        fault = self._host.injector.on_stream(name)
        if fault is not None:
            self._host.stats.fault_injected(fault.kind)
            raise _injected(fault)
        if token.table != name:
            raise _denied(f"the access token was not issued for table {name}")
        table = self._host.find_table(name)
        if table is None:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"Table {name!r} cannot be found.")
        missing = sorted(GRANTS - table.grants)
        if missing:
            raise _denied(f"the principal has no {', '.join(missing)} for table {name}; grant it explicitly")
        self._bind(table)
        return token, table

    def _authenticate(self, header: str | None) -> Token:
        kind, _, text = (header or "").partition(" ")
        if kind.lower() != "bearer" or not text:
            raise _unauthenticated("the header authorization must be 'Bearer' and an access token")
        try:
            return self._host.tokens.check(text)
        except InvalidTokenError as error:
            raise _unauthenticated(str(error)) from None

    def _bind(self, table: Table) -> None:
        self._version = table.version
        self._protocol.bind(table.schema)

    def _check_token(self, token: Token) -> None:
        if token.expired:
            raise _unauthenticated("the access token has expired")
        if self._host.tokens.is_revoked(token):
            raise _unauthenticated("the access token was revoked")

    # ---- calls, in the reader's thread

    def _read(self, requests: Iterator[bytes], table: Table, token: Token) -> None:
        offset = 0
        try:
            for message in requests:
                self._check_token(token)
                if table.version != self._version:
                    self._bind(table)
                if not self._take(self._protocol.call(message), offset, table):
                    return
                offset += 1
            self._events.put(_NoMoreCalls(offset))
        except Refusal as refusal:
            self._events.put(_Fail(refusal, offset))
        except grpc.RpcError:
            pass  # The stream is over; the responder knows from the context's callback.
        except Exception as error:
            _LOG.exception("the emulator failed while it read a call")
            self._events.put(_Fail(Refusal(grpc.StatusCode.INTERNAL, f"the emulator failed: {type(error).__name__}")))

    def _take(self, call: Call, offset: int, table: Table) -> bool:
        """Check one call and hand it to the table; False when a fault ends the stream with it."""
        if call.offset != offset:
            raise Refusal.invalid(f"offset {call.offset} came where {offset} was due: offsets go up by one from 0")
        host = self._host
        recorded = None
        if host.stats.record_calls:
            recorded = RecordedCall(
                table=table.name, stream_id=self.stream_id, offset=offset, records=call.records(), rows=call.rows
            )
        host.stats.call_received(self.stream_id, call.rows, call.size, recorded)
        injector = host.injector
        fault = injector.on_call(table.name)
        if fault is not None:
            host.stats.fault_injected(fault.kind)
            if fault.kind == "close":
                self._events.put(_CloseSignal(fault.delay))
            elif fault.kind == "hang":
                self._events.put(_Hang())
                return False
            elif fault.kind in ("status", "drop") and not fault.after_storing:
                self._strike(fault)
                return False
        rules = injector.faults.reject_rows
        checked = call.read() if host.check_rows or rules else None
        for rule in rules:
            assert checked is not None  # noqa: S101 - rules make rows be read
            rule.check(table.name, checked)

        def stored(problem: BaseException | None) -> None:
            if problem is not None:
                self._events.put(_Fail(_storage_failed(problem)))
            elif fault is not None and fault.after_storing and fault.kind in ("status", "drop"):
                self._strike(fault)
            else:
                delay = fault.delay if fault is not None and fault.kind == "slow_ack" else 0.0
                silent = fault is not None and fault.kind == "no_ack"
                self._events.put(_Stored(offset, call.rows, delay + injector.faults.ack_delay, silent))

        chunk = checked if checked is not None else call.read
        if host.commit:
            table.append(chunk, call.rows, call.size, stored)
        else:
            table.append_now(chunk, call.rows)
            stored(None)
        return fault is None or fault.kind not in ("status", "drop")

    def _strike(self, fault: ScriptedFault) -> None:
        self._events.put(_Cut() if fault.kind == "drop" else _Fail(_injected(fault)))

    # ---- responses, in the responder's thread

    def _respond(self, token: Token) -> Iterator[bytes]:
        """Yield acknowledgements and signals until the stream ends."""
        while True:
            for event in self._wait(token):
                yield from self._handle(event)
            self._check_token(token)
            yield from self._acknowledge()
            settled = not self._due
            if self._failure is not None and settled and self._stored_calls >= (self._failure.offset or 0):
                raise self._failure.refusal
            if self._closes_at is not None and time.monotonic() >= self._closes_at:
                raise Refusal(grpc.StatusCode.UNAVAILABLE, "Error 6002: the server rotates this stream; open a new one")
            if self._expected_calls is not None and settled and self._stored_calls >= self._expected_calls:
                return

    def _wait(self, token: Token) -> list[_Event]:
        """Wait for the next event or moment; return the events that are there."""
        now = time.monotonic()
        moments = [now + _IDLE_CHECK, now + token.expires_at - time.time()]
        if self._due:
            moments.append(self._next_acknowledgement())
        if self._closes_at is not None:
            moments.append(self._closes_at)
        events: list[_Event] = []
        try:
            events.append(self._events.get(timeout=max(0.0, min(moments) - now)))
            while True:
                events.append(self._events.get_nowait())
        except queue.Empty:
            pass
        if not threading.main_thread().is_alive():
            # An emulator that nobody stopped must not keep the interpreter from ending.
            events.append(_Gone())
        return events

    def _handle(self, event: _Event) -> Iterator[bytes]:
        match event:
            case _Stored(offset, rows, delay, silent):
                self._stored_calls += 1
                self._stored_rows += rows
                if not silent:
                    due = time.monotonic() + delay
                    # Acknowledgements are cumulative, so one that is late holds up those after it.
                    due = max(due, self._due[-1][0]) if self._due else due
                    self._due.append((due, offset, self._stored_rows))
            case _Fail(refusal, None):
                raise refusal
            case _Fail():
                self._failure = event
            case _CloseSignal(seconds):
                self._closes_at = time.monotonic() + seconds
                yield self._protocol.close_signal(*self._acknowledged, seconds)
            case _NoMoreCalls(calls):
                self._expected_calls = calls
            case _Cut():
                if not cut(self._context.peer(), self._host.port):
                    raise Refusal(grpc.StatusCode.UNAVAILABLE, "the connection was dropped (injected)")
                raise _ClientGoneError
            case _Hang():
                while not isinstance(self._events.get(), _Gone):
                    pass
                raise _ClientGoneError
            case _Gone():
                raise _ClientGoneError

    def _next_acknowledgement(self) -> float:
        return max(self._due[0][0], self._last_sent + self._host.injector.faults.ack_interval)

    def _acknowledge(self) -> Iterator[bytes]:
        now = time.monotonic()
        if not self._due or self._next_acknowledgement() > now:
            return
        while self._due and self._due[0][0] <= now:
            _, offset, rows = self._due.popleft()
        self._last_sent = now
        self._host.stats.acknowledged(self.stream_id, offset, rows - self._acknowledged[1])
        self._acknowledged = (offset, rows)
        yield self._protocol.acknowledgement(offset, rows)


class _ClientGoneError(Exception):
    """There is nobody to answer any more."""


def _unauthenticated(message: str) -> Refusal:
    return Refusal(grpc.StatusCode.UNAUTHENTICATED, message)


def _denied(message: str) -> Refusal:
    return Refusal(grpc.StatusCode.PERMISSION_DENIED, f"Error 4024: {message}")


def _injected(fault: ScriptedFault) -> Refusal:
    return Refusal(grpc.StatusCode[fault.code], fault.message or f"injected fault: {fault.code}")


def _storage_failed(problem: BaseException) -> Refusal:
    if isinstance(problem, Refusal):
        return problem
    _LOG.error("the emulator could not store rows: %s", problem)
    return Refusal(grpc.StatusCode.INTERNAL, f"the rows could not be stored: {type(problem).__name__}")
