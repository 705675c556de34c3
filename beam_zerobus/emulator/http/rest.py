"""REST insert: one request, a JSON array of rows, answered once they are durable."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
import orjson

from beam_zerobus.emulator.access.tokens import Token
from beam_zerobus.emulator.host import Host
from beam_zerobus.emulator.http.answer import HttpAnswer
from beam_zerobus.emulator.http.error import HttpError
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.row_request import RowRequest
from beam_zerobus.emulator.rows import JsonReader, parse_json

__all__ = ["RestInserts", "error_answer", "http_status"]

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

    def insert(self, token: Token, name: str, body: bytes) -> dict[str, object]:
        """Store all rows of a request, or none.

        Args:
            token: The client's token.
            name: The table, as the path names it.
            body: The rows.

        Returns:
            The body of the answer: an empty object, as at the service.

        Raises:
            Rejection: The request is rejected.
            NoAnswerError: A fault ends the connection.
        """
        table = self.host.writable_table(token, name)
        rows = _rows(body)
        request = RowRequest.arrived(self.host, table, len(rows), len(body), rows)
        chunk = JsonReader(request.schema, table.layout.rescue_column).read_rows(rows)
        request.check(chunk)
        request.store(chunk)
        return {}


def _rows(body: bytes) -> list[object]:
    try:
        rows = parse_json(body)
    except ValueError:
        raise Rejection.invalid("the body is not JSON") from None
    if type(rows) is not list:
        raise Rejection.invalid("the body must be a JSON array of objects, also for one row")
    return rows


def http_status(code: grpc.StatusCode) -> tuple[int, str]:
    """Return the HTTP status of a gRPC status, and Databricks' name of it."""
    return _HTTP.get(code, (500, "INTERNAL_ERROR"))


def error_answer(error: HttpError | Rejection) -> HttpAnswer:
    """Return an error as Databricks' APIs have it."""
    if isinstance(error, Rejection):
        error = HttpError(*http_status(error.code), error.message)
    return HttpAnswer(content_type="application/json", body=orjson.dumps(error.body), status=error.status)
