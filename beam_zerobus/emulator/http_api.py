"""The workspace's HTTP side: OAuth's token endpoint and Unity Catalog's table endpoint."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from beam_zerobus.emulator.faults import FaultInjector
from beam_zerobus.emulator.stats import StatsBook
from beam_zerobus.emulator.table import Table
from beam_zerobus.emulator.tokens import InvalidTokenError, TokenIssuer

__all__ = ["HttpServer", "Workspace"]

_TOKEN_PATH = "/oidc/v1/token"  # noqa: S105 - a path
_TABLES_PATH = "/api/2.1/unity-catalog/tables/"
_RESOURCE = re.compile(r"api://databricks/workspaces/[^/]+/zerobusDirectWriteApi")
_TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - the name of a grant
_MAX_BODY = 1 << 20


class _HttpError(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error_code": code, "message": message} if code.isupper() else _oauth_error(code, message)


def _oauth_error(code: str, message: str) -> dict[str, str]:
    return {"error": code, "error_description": message}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """What the HTTP side answers from.

    Attributes:
        client_id: The one client that is known.
        client_secret: Its secret.
        tokens: Issues tokens.
        find_table: Finds a table by name.
        injector: Returns what decides on faults now.
        stats: Counts.
    """

    client_id: str
    client_secret: str = field(repr=False)
    tokens: TokenIssuer
    find_table: Callable[[str], Table | None]
    injector: Callable[[], FaultInjector]
    stats: StatsBook

    def token(self, authorization: str | None, form: dict[str, str]) -> dict[str, Any]:
        """Answer a request for a token.

        Client credentials (Basic auth) and the exchange of another identity provider's token are taken; the latter's
        token is not checked.
        """
        if form.get("grant_type") == _TOKEN_EXCHANGE:
            if not form.get("subject_token"):
                raise _HttpError(400, "invalid_request", "subject_token is missing")
        elif form.get("grant_type") == "client_credentials":
            self._authenticate(authorization)
        else:
            raise _HttpError(400, "unsupported_grant_type", "grant_type must be client_credentials")
        if form.get("scope") != "all-apis":
            raise _HttpError(400, "invalid_scope", "scope must be all-apis")
        table = _table_of(form)
        fault = self.injector().on_token(table)
        if fault is not None:
            self.stats.fault_injected(fault.kind)
            raise _HttpError(fault.http_status, "temporarily_unavailable", "injected fault")
        self.stats.token_issued()
        return {
            "access_token": self.tokens.issue(table),
            "token_type": "Bearer",
            "expires_in": max(1, round(self.tokens.life)),
            "scope": "all-apis",
        }

    def _authenticate(self, authorization: str | None) -> None:
        kind, _, encoded = (authorization or "").partition(" ")
        try:
            client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            client_id = secret = ""
        known = hmac.compare_digest(client_id.encode(), self.client_id.encode())
        if kind.lower() != "basic" or not (known & hmac.compare_digest(secret.encode(), self.client_secret.encode())):
            raise _HttpError(401, "invalid_client", "Client authentication failed")

    def describe(self, authorization: str | None, name: str) -> dict[str, Any]:
        """Answer a request for a table."""
        kind, _, token = (authorization or "").partition(" ")
        try:
            if kind.lower() != "bearer":
                raise InvalidTokenError("the header authorization must be 'Bearer' and an access token")
            self.tokens.check(token)
        except InvalidTokenError as error:
            raise _HttpError(401, "UNAUTHENTICATED", str(error)) from None
        table = self.find_table(name)
        if table is None:
            raise _HttpError(404, "TABLE_DOES_NOT_EXIST", f"Table '{name}' does not exist.")
        if not {"USE CATALOG", "USE SCHEMA", "SELECT"} <= table.grants:
            raise _HttpError(403, "PERMISSION_DENIED", f"User does not have SELECT on Table '{name}'.")
        catalog, schema, short = name.split(".")
        return {
            "name": short,
            "catalog_name": catalog,
            "schema_name": schema,
            "full_name": name,
            "table_type": "MANAGED",
            "data_source_format": "DELTA",
            "columns": table.schema.to_unity_catalog(),
            "storage_location": table.path.as_uri() if table.path is not None else "memory:",
            "properties": {},
        }


def _table_of(form: dict[str, str]) -> str | None:
    """Return the table that the authorization details ask for, None for a plain token."""
    if "authorization_details" not in form:
        return None
    try:
        details = json.loads(form["authorization_details"])
        by_type = {detail["object_type"]: detail for detail in details}
        table = by_type["TABLE"]["object_full_path"]
        catalog, schema, _ = table.split(".")
        expected = {"CATALOG": (catalog, {"USE CATALOG"}), "SCHEMA": (f"{catalog}.{schema}", {"USE SCHEMA"})}
        expected["TABLE"] = (table, {"SELECT", "MODIFY"})
        complete = all(
            by_type[kind]["type"] == "unity_catalog_privileges"
            and by_type[kind]["object_full_path"] == path
            and privileges <= set(by_type[kind]["privileges"])
            for kind, (path, privileges) in expected.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise _HttpError(
            400,
            "invalid_authorization_details",
            "authorization_details must ask for USE CATALOG, USE SCHEMA, and SELECT and MODIFY on one table",
        )
    if not _RESOURCE.fullmatch(form.get("resource", "")):
        raise _HttpError(
            400, "invalid_target", "resource must be api://databricks/workspaces/<workspace id>/zerobusDirectWriteApi"
        )
    return str(table)


class HttpServer(ThreadingHTTPServer):
    """Serves a workspace.

    Args:
        address: Host and port; port 0 lets the system choose.
        workspace: What to serve.
    """

    daemon_threads = True
    # Waiting for idle keep-alive connections would hold up every stop.
    block_on_close = False

    def __init__(self, address: tuple[str, int], workspace: Workspace) -> None:
        self.workspace = workspace
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpServer
    timeout = 30

    def do_POST(self) -> None:
        """Serve the token endpoint."""
        self._answer(self._token)

    def do_GET(self) -> None:
        """Serve the table endpoint."""
        self._answer(self._table)

    def _token(self) -> dict[str, Any]:
        length = int(self.headers.get("Content-Length") or 0)
        if length > _MAX_BODY:
            raise _HttpError(413, "invalid_request", "the request is too large")
        body = self.rfile.read(length)
        if urlsplit(self.path).path != _TOKEN_PATH:
            raise _HttpError(404, "ENDPOINT_NOT_FOUND", f"No API found for 'POST {self.path}'")
        form = {name: values[-1] for name, values in parse_qs(body.decode()).items()}
        return self.server.workspace.token(self.headers.get("Authorization"), form)

    def _table(self) -> dict[str, Any]:
        path = urlsplit(self.path).path
        if not path.startswith(_TABLES_PATH):
            raise _HttpError(404, "ENDPOINT_NOT_FOUND", f"No API found for 'GET {path}'")
        name = unquote(path.removeprefix(_TABLES_PATH))
        return self.server.workspace.describe(self.headers.get("Authorization"), name)

    def _answer(self, work: Callable[[], dict[str, Any]]) -> None:
        try:
            status, answer = 200, work()
        except _HttpError as error:
            status, answer = error.status, error.body
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no access log."""
