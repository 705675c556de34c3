"""The HTTP port: reads requests within limits, whatever the client sends; a `Workspace` answers them."""

from __future__ import annotations

import io
import json
import logging
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from beam_zerobus.emulator.access.tokens import Token
from beam_zerobus.emulator.control.api import CONTROL_PATH, Control
from beam_zerobus.emulator.control.openapi import HEALTH_PATH, OPENAPI_PATH
from beam_zerobus.emulator.http.answer import HttpAnswer
from beam_zerobus.emulator.http.connections import HttpConnections, await_client
from beam_zerobus.emulator.http.deadline_reader import DeadlineReader
from beam_zerobus.emulator.http.error import HttpError
from beam_zerobus.emulator.http.rest import RestInserts, error_answer
from beam_zerobus.emulator.http.workspace import Workspace
from beam_zerobus.emulator.limits import MAX_MESSAGE_BYTES, MAX_RECORD_BYTES, MAX_STATEMENT_BYTES
from beam_zerobus.emulator.otlp.http import EXPORT_PATHS, HttpExports, failure
from beam_zerobus.emulator.page import page_file
from beam_zerobus.emulator.recording.http_call import HttpCall
from beam_zerobus.emulator.recording.recorder import Recorder
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.row_request import NoAnswerError
from beam_zerobus.emulator.sql.api import STATEMENTS_PATH, WAREHOUSES_PATH, SqlStatements

__all__ = ["HttpServer"]

_LOG = logging.getLogger(__name__)
_TOKEN_PATH = "/oidc/v1/token"  # noqa: S105 - a path
_HOST_PATH, _OAUTH_PATH = "/.well-known/databricks-config", "/oidc/.well-known/oauth-authorization-server"
_TABLES_PATH = "/api/2.1/unity-catalog/tables/"
_PERMISSIONS_PATH = "/api/2.1/unity-catalog/effective-permissions/"
_INSERT_PATH = re.compile(r"/zerobus/v1/tables/([^/]+)/insert")
_MAX_BODY = 1 << 20
_MAX_FIELDS = 100
_MAX_CONNECTIONS = 256


class HttpServer(ThreadingHTTPServer):
    """Serves a workspace; at most 256 connections at a time, more are closed.

    Args:
        address: Host and port; port 0 lets the system choose.
        workspace: Answers requests for tokens and for tables.
        rest: Takes rows.
        exports: Takes OTLP.
        statements: Answers SQL statements.
        control: Answers requests of the control API.
        recorder: Records requests; None for no recording.
        request_seconds: How long a request may take to arrive, counted from the connection's start or the last answer;
            and a client to leave after the last answer.
        tls: The context of TLS; None for plain text.
    """

    daemon_threads = True
    # Waiting for idle keep-alive connections would hold up every stop.
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        workspace: Workspace,
        *,
        rest: RestInserts,
        exports: HttpExports,
        statements: SqlStatements,
        control: Control,
        recorder: Recorder | None = None,
        request_seconds: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.workspace = workspace
        self.rest = rest
        self.exports = exports
        self.statements = statements
        self.control = control
        self.recorder = recorder
        self.request_seconds = request_seconds
        self.tls = tls
        self.connections = HttpConnections()
        self._slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread, or close it if there are too many."""
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            if self.tls is not None:
                request = self._secured(request, self.tls)
            self.connections.enter(request)
            super().process_request_thread(request, client_address)
        except OSError:
            self.shutdown_request(request)  # the client left, is too slow, or does not speak TLS
        finally:
            self._slots.release()

    def _secured(self, connection: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
        """Do the handshake, in the connection's own thread: a client that sends nothing holds up no other."""
        connection.settimeout(self.request_seconds)
        return tls.wrap_socket(connection, server_side=True)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self.connections.leave(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's signature
        """Log a fault of the emulator; ignore a client that left or is too slow."""
        if not isinstance(sys.exception(), OSError):
            _LOG.exception("the emulator failed on an HTTP request")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpServer

    def setup(self) -> None:
        super().setup()
        self._call = HttpCall(self.server.recorder)
        self._reader = DeadlineReader(self.connection)
        self.rfile.close()
        self.rfile = io.BufferedReader(self._reader)

    def handle_one_request(self) -> None:
        self._reader.deadline = time.monotonic() + self.server.request_seconds
        super().handle_one_request()

    def finish(self) -> None:
        """End the connection once the client has received the last answer."""
        super().finish()
        await_client(self.connection, self.server.request_seconds)

    def do_POST(self) -> None:
        """Serve the token endpoint, inserts, SQL statements, and the control API."""
        self._answer(self._post)

    def do_GET(self) -> None:
        """Serve the endpoints of tables, of permissions and of SQL statements, the control API, and the page."""
        self._answer(lambda: page_file(self._path()) or self._get())

    def do_PUT(self) -> None:
        """Serve the control API."""
        self._answer(self._control)

    def do_DELETE(self) -> None:
        """Serve the control API."""
        self._answer(self._control)

    def _post(self) -> dict[str, Any] | HttpAnswer:
        path = self._path()
        if path in EXPORT_PATHS:
            return self._export(path)
        if path.startswith(CONTROL_PATH):
            return self._control()
        if path.startswith(STATEMENTS_PATH):
            return self._statement(path)
        insert = _INSERT_PATH.fullmatch(path)
        return self._token(path) if insert is None else self._insert(unquote(insert[1]))

    def _control(self) -> dict[str, Any] | HttpAnswer:
        path = self._path()
        try:
            self.server.control.authorize(path, self.headers.get("Authorization"))
        except HttpError:
            self._body()  # only clients with the token may send much
            raise
        body = self._body(_MAX_BODY if path in (HEALTH_PATH, OPENAPI_PATH) else MAX_MESSAGE_BYTES)
        try:
            query = dict(parse_qsl(urlsplit(self.path).query, max_num_fields=_MAX_FIELDS))
        except ValueError:
            raise HttpError(400, "MALFORMED_REQUEST", "the request's path cannot be read") from None
        return self.server.control.answer(self.command, path, query, body, self.headers)

    def _statement(self, path: str) -> dict[str, Any]:
        try:
            principal = self._principal()
        except HttpError:
            self._body()  # only clients with a token may send much
            raise
        return self.server.statements.post(principal, path, self._body(MAX_STATEMENT_BYTES))

    def _insert(self, name: str) -> dict[str, Any]:
        token, body = self._rows_body()
        return self.server.rest.insert(token, name, body)

    def _export(self, path: str) -> HttpAnswer:
        self._is_otlp = True
        token, body = self._rows_body()
        return self.server.exports.answer(path, self.headers, token, body)

    def _rows_body(self) -> tuple[Token, bytes]:
        """Return the token and the body of a request with rows."""
        try:
            token = self.server.rest.host.authenticate(self.headers.get("Authorization"))
        except Rejection:
            self._body()  # only clients with a token may send much
            raise
        return token, self._body(MAX_RECORD_BYTES)

    def _token(self, path: str) -> dict[str, Any]:
        body = self._body()
        if path != _TOKEN_PATH:
            raise HttpError(404, "ENDPOINT_NOT_FOUND", f"No API found for 'POST {path}'")
        try:
            fields = parse_qs(body.decode(), max_num_fields=_MAX_FIELDS)
        except ValueError:
            raise HttpError(400, "invalid_request", "the body is not a form in UTF-8") from None
        form = {name: values[-1] for name, values in fields.items()}
        return self.server.workspace.token(self.headers.get("Authorization"), form)

    def _body(self, limit: int = _MAX_BODY) -> bytes:
        # Until the body is read, the next request on this connection cannot be separated from it.
        self.close_connection, keep = True, self.close_connection
        if self.headers.get("Transfer-Encoding"):
            raise HttpError(411, "invalid_request", "send the body with Content-Length, not in chunks")
        lengths = self.headers.get_all("Content-Length", ["0"])
        length = lengths[0].strip()
        if len(lengths) > 1 or not (length.isascii() and length.isdigit()):
            raise HttpError(400, "invalid_request", "Content-Length is not a number")
        if len(length) > 12 or int(length) > limit:
            raise HttpError(413, "invalid_request", f"the body has more than {limit} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise HttpError(400, "invalid_request", "the body is shorter than Content-Length")
        self._call.arrived(self.command, self.path, self.headers, body)
        self.close_connection = keep
        return body

    def _get(self) -> dict[str, Any] | HttpAnswer:
        path = self._path()
        if path.startswith(CONTROL_PATH) or path == HEALTH_PATH:
            return self._control()
        authorization = self.headers.get("Authorization")
        if path.startswith(_PERMISSIONS_PATH):
            kind, _, name = path.removeprefix(_PERMISSIONS_PATH).partition("/")
            return self.server.workspace.permissions(authorization, kind, unquote(name))
        if path in (_HOST_PATH, _OAUTH_PATH):
            return self._oauth_endpoints()
        if path.startswith(WAREHOUSES_PATH):
            self._principal()
            return self.server.statements.describe_warehouse(path)
        if path.startswith(STATEMENTS_PATH):
            return self.server.statements.get(self._principal(), path)
        if not path.startswith(_TABLES_PATH):
            raise HttpError(404, "ENDPOINT_NOT_FOUND", f"No API found for 'GET {path}'")
        name = unquote(path.removeprefix(_TABLES_PATH))
        return self.server.workspace.describe(authorization, name)

    def _oauth_endpoints(self) -> dict[str, Any]:
        """Say where tokens are issued, as this client reaches the emulator; Databricks' SDK asks for both paths."""
        scheme = "http" if self.server.tls is None else "https"
        workspace = f"{scheme}://{self.headers.get('Host', '')}"
        return {
            "oidc_endpoint": f"{workspace}/oidc",
            "token_endpoint": workspace + _TOKEN_PATH,
            "authorization_endpoint": f"{workspace}/oidc/v1/authorize",
        }

    def _principal(self) -> str:
        return self.server.workspace.principal(self.headers.get("Authorization"))

    def _path(self) -> str:
        try:
            # A workspace URL that ends with a slash makes two.
            return urlsplit("/" + self.path.lstrip("/")).path if self.path[:1] == "/" else urlsplit(self.path).path
        except ValueError:
            raise HttpError(400, "MALFORMED_REQUEST", "the request's path cannot be read") from None

    def _answer(self, work: Callable[[], dict[str, Any] | HttpAnswer]) -> None:
        self._call = HttpCall(self.server.recorder)
        self._is_otlp = False
        try:
            if self.command == "GET":
                self._call.arrived(self.command, self.path, self.headers, b"")
            self._send(200, work())
        except (HttpError, Rejection) as error:
            self._fail(error)
        except (OSError, NoAnswerError):
            self._call.answered(None)
            self.close_connection = True  # the client left, or was too slow; or a fault
        except Exception:  # noqa: BLE001 - a client always gets an answer
            _LOG.exception("the emulator failed on an HTTP request")
            self._fail(HttpError(500, "INTERNAL_ERROR", "the emulator failed"))

    def _fail(self, error: HttpError | Rejection) -> None:
        """Answer with an error; OTLP has a form of its own."""
        answer = failure(self.headers, error) if self._is_otlp else error_answer(error)
        if not self.path.startswith(CONTROL_PATH):
            where = f"{self.command} {self.path.partition('?')[0]}"
            self.server.workspace.stats.activity.event("rejected", where, f"{answer.status}: {error}")
        self._send(answer.status, answer)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer what `http.server` itself rejects, such as a malformed request line."""
        self.close_connection = True
        self._send(code, HttpError(code, "MALFORMED_REQUEST", message or "the request cannot be read").body)

    def _send(self, status: int, answer: dict[str, Any] | HttpAnswer) -> None:
        if not isinstance(answer, HttpAnswer):
            answer = HttpAnswer(content_type="application/json", body=json.dumps(answer).encode(), status=status)
        status, body = answer.status, answer.body
        self._call.answered(status, body)
        self.connection.settimeout(self.server.request_seconds)
        self.request_version = "HTTP/1.1"  # a malformed request may have none; headers would then be left out
        self.send_response(status)
        self.send_header("Content-Type", answer.content_type)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time for the header ``Date``: the emulator's, which `Emulator.advance_clock` changes."""
        return super().date_time_string(self.server.workspace.tokens.now() if timestamp is None else timestamp)

    def log_message(self, *_: object) -> None:
        """Write no access log."""
