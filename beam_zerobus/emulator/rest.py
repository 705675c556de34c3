"""REST insert: one request, a JSON array of rows, answered once they are durable."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass

import grpc
import orjson

from beam_zerobus.emulator.faults import ScriptedFault
from beam_zerobus.emulator.host import Host, injected
from beam_zerobus.emulator.http_error import HttpError
from beam_zerobus.emulator.publisher import Arrived
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.rows import JsonReader
from beam_zerobus.emulator.stats import RecordedCall
from beam_zerobus.emulator.table import Table
from beam_zerobus.emulator.tokens import Token

__all__ = ["NoAnswerError", "RestInserts"]

_STORE_SECONDS = 60.0
# The first three are in the service's documentation, the others are Databricks' names for these statuses.
_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: (400, "INVALID_PARAMETER_VALUE"),
    grpc.StatusCode.NOT_FOUND: (404, "NOT_FOUND"),
    grpc.StatusCode.UNIMPLEMENTED: (501, "NOT_IMPLEMENTED"),
    grpc.StatusCode.UNAUTHENTICATED: (401, "UNAUTHENTICATED"),
    grpc.StatusCode.PERMISSION_DENIED: (403, "PERMISSION_DENIED"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (429, "RESOURCE_EXHAUSTED"),
    grpc.StatusCode.UNAVAILABLE: (503, "TEMPORARILY_UNAVAILABLE"),
}


class NoAnswerError(Exception):
    """A fault: the connection is closed without an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestInserts:
    """Inserts rows that arrive over HTTP, with the checks, counts and faults of a stream's call.

    Attributes:
        host: The state shared with streams.
    """

    host: Host

    def authenticate(self, authorization: str | None) -> Token:
        """Return the token of a request, before its body is read.

        Raises:
            HttpError: UNAUTHENTICATED.
        """
        try:
            return self.host.authenticate(authorization)
        except Rejection as rejection:
            raise _http_error(rejection) from None

    def insert(self, token: Token, name: str, body: bytes) -> dict[str, object]:
        """Store all rows of a request, or none.

        Args:
            token: What `authenticate` returned.
            name: The table, as the path names it.
            body: The rows.

        Returns:
            The body of the answer: an empty object, as at the service.

        Raises:
            HttpError: The request is rejected.
            NoAnswerError: A fault ends the connection.
        """
        try:
            self._insert(self.host.writable_table(token, name), body)
        except Rejection as rejection:
            raise _http_error(rejection) from None
        return {}

    def _insert(self, table: Table, body: bytes) -> None:
        host = self.host
        schema = table.schema
        rows = _rows(body)
        recorded = None
        if host.stats.record_calls:
            recorded = RecordedCall(table=table.name, stream_id="", offset=0, records=rows, rows=len(rows))
        host.stats.request_received(table.name, len(rows), len(body), recorded)
        injector = host.injector
        fault = injector.on_call(table.name)
        if fault is not None:
            host.stats.fault_injected(fault.kind)
            if fault.kind == "hang" or (fault.ends_stream and not fault.after_storing):
                raise _ending(fault)
        chunk = JsonReader(schema, table.layout.rescue_column).read_rows(rows)
        for rule in injector.faults.reject_rows:
            rule.check(table.name, chunk)
        table.check_partitions(chunk)
        outcome: Future[BaseException | None] = Future()
        table.append(Arrived(chunk, len(rows), len(body), schema, outcome.set_result))
        problem = _outcome(outcome)
        if problem is not None:
            raise problem
        time.sleep(injector.faults.ack_delay + (fault.delay if fault is not None and fault.kind == "slow_ack" else 0))
        if fault is not None and (fault.ends_stream or fault.kind == "no_ack"):
            raise _ending(fault)
        host.stats.request_acknowledged(table.name, len(rows))


def _rows(body: bytes) -> list[object]:
    try:
        rows = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Rejection.invalid("the body is not JSON") from None
    if type(rows) is not list:
        raise Rejection.invalid("the body must be a JSON array of objects, also for one row")
    return rows


def _outcome(stored: Future[BaseException | None]) -> Rejection | None:
    try:
        problem = stored.result(_STORE_SECONDS)
    except TimeoutError:
        return Rejection(grpc.StatusCode.UNAVAILABLE, "the rows were not stored in time; they may be stored later")
    if problem is None or isinstance(problem, Rejection):
        return problem
    return Rejection(grpc.StatusCode.INTERNAL, f"the rows could not be stored: {type(problem).__name__}")


def _ending(fault: ScriptedFault) -> Exception:
    return injected(fault) if fault.kind == "status" and fault.code != "OK" else NoAnswerError()


def _http_error(rejection: Rejection) -> HttpError:
    status, code = _HTTP.get(rejection.code, (500, "INTERNAL_ERROR"))
    return HttpError(status, code, rejection.message)
