"""`Session`: one stream from its creation to its end, in either protocol.

Two threads serve a stream. The reader, here, reads calls, checks them and passes them to the table. The responder,
which is gRPC's own thread for the stream, waits for events of the reader and of the table's commits, and answers the
client.
"""

from __future__ import annotations

import logging
import queue
import threading
import uuid
from collections.abc import Iterator

import grpc

from beam_zerobus.emulator.access.tokens import Token
from beam_zerobus.emulator.counts.stats import RecordedCall
from beam_zerobus.emulator.faults import ScriptedFault
from beam_zerobus.emulator.host import Host, injected, not_found
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.status import end_failed, end_stream
from beam_zerobus.emulator.streams import connections
from beam_zerobus.emulator.streams.calls import Call, StreamProtocol
from beam_zerobus.emulator.streams.responder import (
    ClientGone,
    CloseSignal,
    Cut,
    Event,
    Fail,
    Gone,
    Hang,
    NoMoreCalls,
    Responder,
    Stored,
    WrongAcknowledgement,
)
from beam_zerobus.emulator.tables.publisher import Arrived
from beam_zerobus.emulator.tables.table import Table
from beam_zerobus.emulator.wire import TABLE_HEADER
from beam_zerobus.schema import TableSchema
from beam_zerobus.version import __version__

__all__ = ["Session"]

_LOG = logging.getLogger(__name__)
FIRST_MESSAGE_SECONDS = 30.0
# gRPC joins headers without an entry with a status that follows at once. Of such a status the official SDK does not
# read the details when it opens an Arrow stream.
_HEADERS = (("x-zerobus-emulator", __version__),)


class _NotOpenedError(Exception):
    """A fault: the stream is not opened, and no status says so."""

    def __init__(self, wrong_answer: bool) -> None:
        super().__init__()
        self.wrong_answer = wrong_answer


class Session:
    """One stream.

    Invariant: only the responder sends and only the reader reads; they share `_events` and nothing else.

    Args:
        host: The state shared with other streams.
        protocol: The stream's protocol.
        context: gRPC's context of the stream.
    """

    def __init__(self, host: Host, protocol: StreamProtocol, context: grpc.ServicerContext) -> None:
        self.stream_id = str(uuid.uuid4())
        self._host = host
        self._protocol = protocol
        self._context = context
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._first_offset = 0
        self._schema_version = -1
        self._schema: TableSchema | None = None

    def run(self, requests: Iterator[bytes]) -> Iterator[bytes]:
        """Serve the stream; yields the responses."""
        headers = dict(self._context.invocation_metadata())
        try:
            # Before the response's headers: after them the official SDK sends its first message, and often fails with
            # that before it has read the status.
            token = self._host.authenticate(headers.get("authorization"))
            # The client sends nothing before it receives them.
            self._context.send_initial_metadata(_HEADERS)
            table = self._create(requests, token, headers.get(TABLE_HEADER))
        except Rejection as rejection:
            self._host.note(headers.get(TABLE_HEADER, ""), rejection)
            end_stream(self._context, rejection)
        except _NotOpenedError as fault:
            yield from self._leave_unopened(wrong_answer=fault.wrong_answer)
            return
        except (StopIteration, grpc.RpcError):
            return
        except Exception as error:  # noqa: BLE001 - the client always gets a status
            end_failed(self._context, error)
        stats = self._host.stats
        stats.stream_opened(self.stream_id, table.name, self._protocol.wire_format)
        self._host.enter(self)
        end = "gone"
        try:
            if not self._context.add_callback(lambda: self._events.put(Gone())):
                return
            yield self._protocol.ready(self.stream_id)
            threading.Thread(
                target=self._read, args=(requests, table, token), name=f"stream {self.stream_id}", daemon=True
            ).start()
            responder = Responder(
                self._host,
                self._protocol,
                stream_id=self.stream_id,
                first_offset=self._first_offset,
                token=token,
                events=self._events,
                cut=self._cut_connection,
            )
            yield from responder.respond()
            end = "closed"
        except ClientGone:
            return
        except Rejection as rejection:
            end = rejection.code.name
            if rejection.code is not grpc.StatusCode.OK:
                self._host.note(table.name, rejection)
                end_stream(self._context, rejection)
        except Exception as error:  # noqa: BLE001 - as above
            end = grpc.StatusCode.INTERNAL.name
            end_failed(self._context, error)
        finally:
            self._protocol.close()
            self._host.leave(self)
            stats.stream_ended(self.stream_id, end)

    def finish(self, rejection: Rejection) -> None:
        """Acknowledge what is durable and end the stream with a status, from any thread."""
        self._events.put(Fail(rejection, 0))

    def rotate(self, seconds: float) -> None:
        """Announce the stream's end and end it so many seconds later, from any thread."""
        self._events.put(CloseSignal(seconds))

    def cut(self) -> None:
        """Break the connection, from any thread."""
        self._cut_connection()
        self._events.put(Gone())

    def _cut_connection(self) -> bool:
        return connections.cut_call(self._context, self._host.port)

    def _create(self, requests: Iterator[bytes], token: Token, name: str | None) -> Table:
        """Check the first message, the table that the headers name, and grants.

        Raises:
            Rejection: The stream is not created.
            _NotOpenedError: It is not created, and the client does not learn that.
        """
        named = self._protocol.table_of(self._first(requests))
        if not name:
            raise Rejection.invalid(f"the header {TABLE_HEADER} is missing")
        if named is not None and named.lower() != name.lower():
            raise Rejection.invalid(f"create_stream names table {named[:200]!r}, the header {TABLE_HEADER} {name!r}")
        fault = self._host.injector.on_stream(name)
        if fault is not None:
            self._host.stats.fault_injected(fault.kind)
            raise injected(fault) if fault.kind == "reject" else _NotOpenedError(fault.kind == "wrong_answer")
        table = self._host.writable_table(token, name)
        self._bind(table)
        self.stream_id, self._first_offset = self._protocol.open(table, self.stream_id)
        return table

    def _leave_unopened(self, *, wrong_answer: bool) -> Iterator[bytes]:
        """Answer wrongly, or not at all, until the client has left."""
        if wrong_answer:
            yield self._protocol.acknowledgement(0, 0)
        gone = threading.Event()
        if self._context.add_callback(gone.set):
            gone.wait()

    def _first(self, requests: Iterator[bytes]) -> bytes:
        """Wait for the first message; a client that sends none must not keep a thread for good."""
        patience = threading.Timer(FIRST_MESSAGE_SECONDS, self._context.cancel)
        patience.daemon = True
        patience.start()
        try:
            return next(requests)
        finally:
            patience.cancel()

    def _bind(self, table: Table) -> None:
        # The version first: where the columns change in between, the next call binds again.
        self._schema_version = table.version
        self._schema = table.schema
        self._protocol.bind(self._schema, table.layout.rescue_column)

    def _read(self, requests: Iterator[bytes], table: Table, token: Token) -> None:
        """Read calls until the client sends no more, or one ends the stream; outcomes are reported as events."""
        offset = self._first_offset
        try:
            for message in requests:
                self._host.check_token(token)
                if self._host.find_table(table.name) is not table:
                    raise not_found(table.name)
                if table.version != self._schema_version:
                    self._bind(table)
                call = self._protocol.call(message)
                if call.offset != offset:
                    raise Rejection.invalid(
                        f"offset {call.offset} instead of {offset}: offsets go up by one from {self._first_offset}"
                    )
                if not self._take(call, table):
                    return
                offset += 1
            self._events.put(NoMoreCalls(offset))
        except Rejection as rejection:
            self._events.put(Fail(rejection, offset))
        except grpc.RpcError:
            pass  # the stream is over; the context's callback informs the responder
        except Exception as error:  # noqa: BLE001 - the client always gets a status
            _LOG.exception("the emulator failed while it read a call")
            self._events.put(Fail(Rejection(grpc.StatusCode.INTERNAL, f"the emulator failed: {type(error).__name__}")))

    def _take(self, call: Call, table: Table) -> bool:
        """Check a call and pass it to the table; False if a fault ends the stream with it."""
        stats, injector = self._host.stats, self._host.injector
        stats.call_received(self.stream_id, call.rows, call.size, self._record(call, table))
        fault = injector.on_call(table.name)
        if fault is not None:
            stats.fault_injected(fault.kind)
            if not self._survives(fault):
                return False
        rules = injector.faults.reject_rows
        chunk = call.read() if self._host.check_rows or rules else None
        if chunk is not None:
            for rule in rules:
                rule.check(table.name, chunk)
            table.check_partitions(chunk)
        delay = injector.faults.ack_delay
        schema = self._schema
        assert schema is not None  # noqa: S101 - the stream is bound to the table

        def stored(problem: BaseException | None) -> None:
            try:
                self._protocol.stored(call.offset if problem is None else None)
            except Rejection as rejection:
                problem = rejection
            if problem is None:
                stats.activity.stored(table.name, chunk)
            self._events.put(_after_storing(call, fault, delay) if problem is None else _storage_failed(problem, call))

        self._protocol.storing()
        table.append(Arrived(call.read if chunk is None else chunk, call.rows, call.size, schema, stored))
        return fault is None or not fault.ends_stream

    def _record(self, call: Call, table: Table) -> RecordedCall | None:
        if not self._host.stats.record_calls:
            return None
        return RecordedCall(
            table=table.name, stream_id=self.stream_id, offset=call.offset, records=call.records(), rows=call.rows
        )

    def _survives(self, fault: ScriptedFault) -> bool:
        """Do what a fault does before storing; False if that ends the stream."""
        if fault.kind == "close":
            self._events.put(CloseSignal(fault.delay))
        elif fault.kind == "hang":
            self._events.put(Hang())
            return False
        elif fault.kind == "wrong_ack":
            self._events.put(WrongAcknowledgement())
            return False
        elif fault.ends_stream and not fault.after_storing:
            self._events.put(_ending(fault))
            return False
        return True


def _ending(fault: ScriptedFault) -> Event:
    return Cut() if fault.kind == "drop" else Fail(injected(fault))


def _after_storing(call: Call, fault: ScriptedFault | None, delay: float) -> Event:
    if fault is None:
        return Stored(call.offset, call.rows, delay)
    if fault.ends_stream:
        return _ending(fault)
    late = fault.delay if fault.kind == "slow_ack" else 0.0
    return Stored(call.offset, call.rows, delay + late, silent=fault.kind == "no_ack")


def _storage_failed(problem: BaseException, call: Call) -> Fail:
    if isinstance(problem, Rejection):
        return Fail(problem, call.offset)
    _LOG.error("the emulator could not store rows: %s", problem)
    why = f"the rows could not be stored: {type(problem).__name__}"
    return Fail(Rejection(grpc.StatusCode.INTERNAL, why), call.offset)
