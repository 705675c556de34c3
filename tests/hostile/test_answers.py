"""Odd answers of a token endpoint or of Unity Catalog: each is an error of ours, with its class."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus import (
    AuthenticationError,
    ConfigurationError,
    TransientError,
    ZerobusError,
)
from beam_zerobus.workspace.retry_after import parse_retry_after
from tests.hostile.http_server import OddServer, whole
from tests.hostile.workspace_calls import (
    COLUMNS,
    HEAD,
    both,
    fetch_schema,
    fetch_token,
    source,
)

DEEP = b'{"access_token": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
NOT_TOKENS = {
    "empty": b"",
    "HTML": b"<html>sign in</html>",
    "not UTF-8": b"\xff\xfe\x00",
    "deep": DEEP,
    "a huge number": b'{"access_token": "t", "expires_in": ' + b"9" * 10_000 + b"}",
    "half": b'{"access_token": "t',
    "a list": b"[]",
    "text": b'"access_token"',
    "null": b"null",
    "no token": {"expires_in": 3600},
    "token null": {"access_token": None},
    "token a number": {"access_token": 42},
    "token true": {"access_token": True},
    "token a list": {"access_token": ["t"]},
    "token empty": {"access_token": ""},
    "token with a line break": {"access_token": "t\r\nx-evil: 1"},
    "token with a space": {"access_token": "t t"},
    "token not Latin": {"access_token": "t\u79d8"},
    "token half a character": {"access_token": "t\ud800"},
    "life NaN": b'{"access_token": "t", "expires_in": NaN}',
    "life infinite": b'{"access_token": "t", "expires_in": 1e999}',
    "life negative": {"access_token": "t", "expires_in": -1},
    "life zero": {"access_token": "t", "expires_in": 0},
    "life null": {"access_token": "t", "expires_in": None},
    "life true": {"access_token": "t", "expires_in": True},
    "life text": {"access_token": "t", "expires_in": "soon"},
    "life an object": {"access_token": "t", "expires_in": {}},
}


@pytest.mark.parametrize("body", NOT_TOKENS)
def test_an_answer_without_a_usable_token_is_an_error_of_ours(body, serve):
    server = serve(whole(200, NOT_TOKENS[body]))
    with pytest.raises(ConfigurationError, match=r"/oidc/v1/token answered .*: check the workspace's URL"):
        fetch_token(server.url)


@pytest.mark.parametrize("expires_in", [1, 0.5, "3600", 10**400, 1e300])
def test_an_unusual_lifetime_that_is_seconds_is_taken(expires_in, serve):
    server = serve(whole(200, {"access_token": "t", "expires_in": expires_in}))
    assert dict(source(server.url).headers())["authorization"] == "Bearer t"


def test_an_answer_that_is_cut_off_is_transient(serve):
    server = serve(lambda _: iter([HEAD + b'Content-Length: 100\r\n\r\n{"access_']))
    with pytest.raises(TransientError, match="could not be reached"):
        fetch_token(server.url)


NOT_TABLES = {
    "empty": b"",
    "deep": DEEP,
    "a huge number": b'{"columns": [{"position": ' + b"9" * 10_000 + b"}]}",
    "columns a number": {"columns": 42},
    "columns null": {"columns": None},
    "a column null": {"columns": [None]},
    "a name null": {"columns": [{"name": None, "type_json": '"long"'}]},
    "a name a list": {"columns": [{"name": [], "type_json": '"long"'}]},
    "a type a number": {"columns": [{"name": "a", "type_json": 42}]},
    "a type deep": {"columns": [{"name": "a", "type_json": "[" * 100_000}]},
    "a type deep and whole": {
        "columns": [{"name": "a", "type_json": '{"type":"array","elementType":' * 2_000 + '"long"' + "}" * 2_000}]
    },
    "a position infinite": b'{"columns": [{"name": "a", "type_json": "\\"long\\"", "position": 1e999}]}',
    "a position NaN": b'{"columns": [{"name": "a", "type_json": "\\"long\\"", "position": NaN}]}',
    "a position text": {"columns": [{"name": "a", "type_json": '"long"', "position": "first"}]},
    "a kind that is an object": {**COLUMNS, "table_type": {"a": 1}},
    "a kind that is long": {**COLUMNS, "table_type": "x" * 100_000},
}


@pytest.mark.parametrize("body", NOT_TABLES)
def test_a_table_that_cannot_be_read_is_an_error_of_ours(body, serve):
    server = serve(whole(200, NOT_TABLES[body]))
    with pytest.raises(ZerobusError) as raised:
        fetch_schema(server.url)
    assert len(str(raised.value)) < 2_000


STATUSES = {
    **dict.fromkeys([408, 425, 429, 500, 502, 503, 504, 599], TransientError),
    **dict.fromkeys([400, 401, 403], AuthenticationError),
    **dict.fromkeys([204, 304, 404, 405, 418, 451], ConfigurationError),
}


@pytest.mark.parametrize("status", STATUSES)
def test_each_status_of_the_token_endpoint_has_its_class(status, serve):
    server = serve(whole(status, {"error": "because"} if status not in (204, 304) else b""))
    with pytest.raises(ZerobusError) as raised:
        fetch_token(server.url)
    assert type(raised.value) is STATUSES[status]
    assert str(status) in str(raised.value)
    if isinstance(raised.value, TransientError):
        assert raised.value.cause == f"TOKEN_ENDPOINT_{status}"
        assert raised.value.retry_after is None


@both
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("86400", 60.0),
        ("9" * 60, 60.0),
        ("-1", None),
        ("soon", None),
        ("1e3", None),
        ("", None),
    ],
)
def test_retry_after_is_passed_on(fetch, status, value, seconds, serve):
    server = serve(whole(status, b"", f"Retry-After: {value}"))
    with pytest.raises(TransientError) as raised:
        fetch(server.url)
    assert raised.value.retry_after == seconds
    assert pickle.loads(pickle.dumps(raised.value)).retry_after == seconds
    as_beam_copies = type(raised.value)("in a step: " + raised.value.args[0], *raised.value.args[1:])
    assert as_beam_copies.retry_after == seconds


def test_retry_after_may_be_a_date():
    now = datetime(2026, 11, 28, 12, tzinfo=UTC)
    for ahead, seconds in ((-5, 0.0), (20, 20.0), (86_400, 60.0)):
        assert parse_retry_after(format_datetime(now + timedelta(seconds=ahead), usegmt=True), now) == seconds
    for nonsense in ("Sat, 99 Nov 2026 12:00:00 GMT", "Sat, 28 Nov 99999999999 12:00:00 GMT", "\x00", ","):
        assert parse_retry_after(nonsense, now) is None


PIECES = [
    *(b"HTTP/1.1 ", b"HTTP/9 ", b"200", b"408", b"999999", b"-1", b" OK", b"\r\n", b"\n", b"\x00", b"\xff", b":"),
    *(b"Content-Length: ", b"Transfer-Encoding: chunked", b"Content-Encoding: gzip", b"Location: http://["),
    *(b"Retry-After: ", b"Set-Cookie: a=b", b"ffffffffffffffff", b"a" * 70_000),
    *(b"{", b"[" * 5_000, b'"access_token"', b'"columns"', b"1e999", b"}"),
]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(PIECES), max_size=12), st.booleans())
def test_any_bytes_are_an_error_of_ours(pieces, well_begun):
    head = b"HTTP/1.1 200 OK\r\n" if well_begun else b""
    server = OddServer(lambda _: iter([head + b"".join(pieces)]))
    try:
        for fetch in (fetch_token, fetch_schema):
            with pytest.raises(ZerobusError):
                fetch(server.url)
    finally:
        server.close()
