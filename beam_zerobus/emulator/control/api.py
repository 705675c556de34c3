"""The control API: what a test in any language changes and sees of the emulator, over HTTP with a token of its own."""

from __future__ import annotations

import dataclasses
import hmac
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote

import orjson
import pyarrow as pa

from beam_zerobus.emulator.access.grants import GRANTS
from beam_zerobus.emulator.control.bodies import Change, NewTable, NewToken, Privileges, Seconds
from beam_zerobus.emulator.control.from_json import read_json
from beam_zerobus.emulator.control.openapi import HEALTH_PATH, OPENAPI_PATH, describe
from beam_zerobus.emulator.counts.stats import Stats
from beam_zerobus.emulator.faults import Faults
from beam_zerobus.emulator.http.answer import Headers, HttpAnswer
from beam_zerobus.emulator.http.error import HttpError
from beam_zerobus.emulator.page import PageView
from beam_zerobus.emulator.seeding import MEDIA_TYPES, seed
from beam_zerobus.emulator.steering import faults_as_json
from beam_zerobus.emulator.tables.json_rows import to_json_rows
from beam_zerobus.emulator.tables.table import Table
from beam_zerobus.errors import ConfigurationError

__all__ = ["CONTROL_PATH", "Control", "Controlled", "token_of"]

CONTROL_PATH = "/control/"
_ARROW = "application/vnd.apache.arrow.stream"
_MAX_ROWS = 10_000
_NO_LIMIT = 10**15
_MAX_STREAMS = 1_000


def token_of(given: str | None) -> str:
    """Return the token that a user has given; without one a generated one.

    Raises:
        ConfigurationError: No client could send it in a header.
    """
    if given and not re.fullmatch("[!-~]+", given):
        raise ConfigurationError("control_token (--control-token): use ASCII letters, digits and signs, without spaces")
    return given or secrets.token_hex(16)


class Controlled(Protocol):
    """What the API needs of an `Emulator`."""

    @property
    def tables(self) -> tuple[Table, ...]: ...  # noqa: D102 - as in `Emulator`
    @property
    def stats(self) -> Stats: ...  # noqa: D102
    @property
    def faults(self) -> Faults: ...  # noqa: D102
    @faults.setter
    def faults(self, faults: Faults | None) -> None: ...
    def create_table(  # noqa: D102
        self, name: str, columns: str, *, partitioned_by: Sequence[str] = (), rescue_column: str | None = None
    ) -> Table: ...
    def table(self, name: str) -> Table: ...  # noqa: D102
    def drop_table(self, name: str) -> None: ...  # noqa: D102
    def issue_token(  # noqa: D102
        self, table: str | None = None, life: float | None = None, *, admin: bool = False
    ) -> str: ...
    def revoke_tokens(self) -> None: ...  # noqa: D102
    def advance_clock(self, seconds: float) -> None: ...  # noqa: D102
    def rotate_streams(self, seconds: float = 0.0) -> None: ...  # noqa: D102
    def reset(self) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class _Request:
    emulator: Controlled
    name: str
    query: Mapping[str, str]
    body: Any
    raw: bytes
    headers: Headers
    view: PageView

    @property
    def table(self) -> Table:
        try:
            return self.emulator.table(self.name)
        except KeyError:
            raise HttpError(404, "NOT_FOUND", f"Table {self.name!r} cannot be found.") from None

    def number(self, name: str, default: int, most: int) -> int:
        text = self.query.get(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) <= most):
            raise HttpError(400, "INVALID_PARAMETER_VALUE", f"{name} must be a whole number from 0 to {most}")
        return int(text)


@dataclass(frozen=True, slots=True)
class _Route:
    method: str
    path: str
    summary: str
    work: Callable[[_Request], dict[str, Any] | HttpAnswer]
    body: type | None = None
    query: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()


def _described(table: Table) -> dict[str, Any]:
    return {"name": table.name, "columns": table.schema.to_ddl(), "grants": sorted(table.grants)}


def _tables(request: _Request) -> dict[str, Any]:
    return {"tables": [_described(table) for table in request.emulator.tables]}


def _create(request: _Request) -> dict[str, Any]:
    new = request.body
    layout = {"partitioned_by": new.partitioned_by, "rescue_column": new.rescue_column}
    return _described(request.emulator.create_table(new.name, new.ddl, **layout))


def _drop(request: _Request) -> dict[str, Any]:
    request.emulator.drop_table(request.table.name)
    return {}


def _alter(request: _Request) -> dict[str, Any]:
    change, table = request.body, request.table
    if change.add is not None:
        table.add_column(change.add)
    elif change.drop is not None:
        table.drop_column(change.drop)
    else:
        table.widen_column(change.widen, change.to)
    return _described(table)


def _rows(request: _Request) -> dict[str, Any] | HttpAnswer:
    table, as_arrow = request.table, _ARROW in (request.headers.get("Accept") or "")
    first, most = request.number("offset", 0, _NO_LIMIT), _NO_LIMIT if as_arrow else _MAX_ROWS
    limit = request.number("limit", most if as_arrow else 1_000, most)
    schema, found = table.schema, table.to_arrow()
    if as_arrow:
        return HttpAnswer(content_type=_ARROW, body=_stream(found.slice(first, limit)))
    return {"count": found.num_rows, "rows": to_json_rows(found.slice(first, limit), schema)}


def _stream(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def _seed(request: _Request) -> dict[str, Any]:
    kind = (request.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    if kind in ("", "application/x-www-form-urlencoded"):  # what curl sends unless it is given another
        kind = "application/json"
    if kind not in MEDIA_TYPES:
        raise HttpError(415, "INVALID_PARAMETER_VALUE", f"Content-Type must be one of {', '.join(MEDIA_TYPES)}")
    return {"count": seed(request.table, MEDIA_TYPES[kind], request.raw)}


def _grant(request: _Request) -> dict[str, Any]:
    request.table.grant(*_known(request.body.privileges))
    return _described(request.table)


def _revoke(request: _Request) -> dict[str, Any]:
    request.table.revoke(*_known(request.body.privileges))
    return _described(request.table)


def _known(privileges: tuple[str, ...]) -> tuple[str, ...]:
    known = {*GRANTS, "ALL PRIVILEGES"}
    for privilege in privileges:
        if privilege not in known:
            raise ConfigurationError(f"privilege {privilege[:100]!r}: use one of {', '.join(sorted(known))}")
    return privileges


def _faults(request: _Request) -> dict[str, Any]:
    return faults_as_json(request.emulator.faults)


def _set_faults(request: _Request) -> dict[str, Any]:
    request.emulator.faults = request.body
    return _faults(request)


def _statistics(request: _Request) -> dict[str, Any]:
    stats = request.emulator.stats
    return {
        "streams_opened": stats.streams_opened,
        "streams_open": stats.streams_open,
        "tokens_issued": stats.tokens_issued,
        "faults": dict(stats.faults),
        "tables": {name: dataclasses.asdict(table) for name, table in stats.tables.items()},
        "streams": [dataclasses.asdict(stream) for stream in stats.streams[-_MAX_STREAMS:]],
    }


def _activity(request: _Request) -> dict[str, Any]:
    return request.view.activity()


def _recent(request: _Request) -> dict[str, Any]:
    return request.view.rows(request.table.name)


def _token(request: _Request) -> dict[str, Any]:
    new = request.body
    return {"access_token": request.emulator.issue_token(new.table, new.life, admin=new.admin)}


def _revoke_tokens(request: _Request) -> dict[str, Any]:
    request.emulator.revoke_tokens()
    return {}


def _advance(request: _Request) -> dict[str, Any]:
    request.emulator.advance_clock(request.body.seconds)
    return {}


def _rotate(request: _Request) -> dict[str, Any]:
    request.emulator.rotate_streams(request.body.seconds)
    return {}


def _reset(request: _Request) -> dict[str, Any]:
    request.emulator.reset()
    return {}


_ROUTES = (
    _Route("GET", "/control/tables", "All tables", _tables),
    _Route("POST", "/control/tables", "Create a table, or find the one with the same columns", _create, NewTable),
    _Route("DELETE", "/control/tables/{name}", "Drop a table", _drop),
    _Route("POST", "/control/tables/{name}/alter", "Add, drop or widen columns", _alter, Change),
    _Route(
        "GET",
        "/control/tables/{name}/rows",
        "Rows as JSON, or as an Arrow stream if Accept names it",
        _rows,
        query=("offset", "limit"),
        gives=(_ARROW,),
    ),
    _Route("POST", "/control/tables/{name}/rows", "Add rows; no fault strikes them", _seed, takes=tuple(MEDIA_TYPES)),
    _Route("GET", "/control/tables/{name}/recent", "The last rows that became durable, as text", _recent),
    _Route("POST", "/control/tables/{name}/grant", "Grant privileges to the client", _grant, Privileges),
    _Route("POST", "/control/tables/{name}/revoke", "Revoke privileges of the client", _revoke, Privileges),
    _Route("GET", "/control/faults", "The faults that are injected", _faults),
    _Route("PUT", "/control/faults", "Set the faults; their counts start again", _set_faults, Faults),
    _Route("GET", "/control/statistics", "Counts; of streams the last 1,000", _statistics),
    _Route("GET", "/control/activity", "What happened last: calls, events, streams, tokens, the clock", _activity),
    _Route("POST", "/control/tokens", "Issue an access token", _token, NewToken),
    _Route("POST", "/control/tokens/revoke", "Make all access tokens invalid", _revoke_tokens),
    _Route("POST", "/control/clock", "Let seconds pass: tokens expire, rows become readable", _advance, Seconds),
    _Route("POST", "/control/streams/rotate", "Rotate all streams; they end so many seconds later", _rotate, Seconds),
    _Route("POST", "/control/reset", "End all streams; drop tables, faults and counts; revoke tokens", _reset),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Answers requests of the control API.

    Attributes:
        emulator: What it controls.
        token: What clients send as ``Authorization: Bearer <token>``.
        view: What the page shows.
    """

    emulator: Controlled = field(repr=False)
    token: str = field(repr=False)
    view: PageView = field(repr=False)

    def authorize(self, path: str, authorization: str | None) -> None:
        """Reject a request without the token; health and description are open.

        Raises:
            HttpError: UNAUTHENTICATED.
        """
        given = (authorization or "").encode("utf-8", "surrogateescape")
        if path not in (HEALTH_PATH, OPENAPI_PATH) and not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            raise HttpError(401, "UNAUTHENTICATED", "send the control token as 'Authorization: Bearer <token>'")

    def answer(
        self, method: str, path: str, query: Mapping[str, str], body: bytes, headers: Headers
    ) -> dict[str, Any] | HttpAnswer:
        """Answer a request that was authorized.

        Raises:
            HttpError: The request is rejected.
        """
        if (method, path) == ("GET", HEALTH_PATH):
            return {"status": "ok"}
        if (method, path) == ("GET", OPENAPI_PATH):
            return describe(_ROUTES)
        for route in _ROUTES:
            found = re.fullmatch(route.path.replace("{name}", "([^/]+)"), path)
            if found is not None and route.method == method:
                try:
                    content = None if route.body is None else read_json(route.body, orjson.loads(body or b"{}"))
                    name = unquote(found[1]) if found.lastindex else ""
                    return route.work(_Request(self.emulator, name, query, content, body, headers, self.view))
                except orjson.JSONDecodeError:
                    raise HttpError(400, "INVALID_PARAMETER_VALUE", "the body is not JSON") from None
                except ConfigurationError as error:
                    raise HttpError(400, "INVALID_PARAMETER_VALUE", str(error)) from None
        raise HttpError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{method} {path}'")
