"""REST insert: one request, a JSON array of rows, answered once they are durable."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
import orjson

from beam_zerobus.emulator.access.tokens import Token
from beam_zerobus.emulator.host import Host
from beam_zerobus.emulator.http.error import HttpError
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.row_request import RowRequest
from beam_zerobus.emulator.rows import JsonReader
from beam_zerobus.emulator.tables.table import Table

__all__ = ["RestInserts", "http_status"]

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
        rows = _rows(body)
        request = RowRequest.arrived(self.host, table, len(rows), len(body), rows)
        chunk = JsonReader(request.schema, table.layout.rescue_column).read_rows(rows)
        request.check(chunk)
        request.store(chunk)


def _rows(body: bytes) -> list[object]:
    try:
        rows = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Rejection.invalid("the body is not JSON") from None
    if type(rows) is not list:
        raise Rejection.invalid("the body must be a JSON array of objects, also for one row")
    return rows


def http_status(code: grpc.StatusCode) -> tuple[int, str]:
    """Return the HTTP status of a gRPC status, and Databricks' name of it."""
    return _HTTP.get(code, (500, "INTERNAL_ERROR"))


def _http_error(rejection: Rejection) -> HttpError:
    return HttpError(*http_status(rejection.code), rejection.message)
