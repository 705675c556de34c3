"""Callables that return or raise something else than a secret, and credentials of the user's own."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from beam_zerobus import (
    AuthenticationError,
    ConfigurationError,
    Credentials,
    FederatedToken,
    OAuthClientCredentials,
    StaticHeaders,
    TransientError,
)
from tests.hostile.http_server import whole
from tests.hostile.workspace_calls import (
    TOKEN,
    fetch_token,
    source,
)


def raises(error: BaseException) -> Callable[[], str]:
    def supply() -> str:
        raise error

    return supply


ODD_HEADERS = {
    "None": None,
    "a number": 42,
    "text": "Bearer abc",
    "a list": [("authorization", "Bearer abc")],
    "nothing": {},
    "an empty value": {"authorization": ""},
    "a value None": {"authorization": None},
    "a value in bytes": {"authorization": b"Bearer abc"},
    "a name None": {None: "x", "authorization": "Bearer abc"},
    "a name with a line break": {"x\r\ny": "x", "authorization": "Bearer abc"},
    "a name that is not Latin": {"\u79d8": "x", "authorization": "Bearer abc"},
    "a value with a line break": {"authorization": "Bearer a\r\nx-evil: 1"},
    "a value that is not ASCII": {"authorization": "Bearer g\u00e9heim"},
    "a value that is not Latin": {"authorization": "Bearer \u79d8"},
}


@pytest.mark.parametrize("headers", ODD_HEADERS)
def test_odd_headers_of_a_callback_are_an_error_of_ours(headers):
    with pytest.raises(ConfigurationError, match='StaticHeaders.*: |StaticHeaders needs an "authorization" header'):
        source("", StaticHeaders(headers=lambda: ODD_HEADERS[headers])).headers()
    if headers not in ("None", "nothing"):
        with pytest.raises(ConfigurationError):
            StaticHeaders(headers=ODD_HEADERS[headers])


@pytest.mark.parametrize(
    "error", [KeyError("x"), RecursionError(), TimeoutError("vault"), UnicodeDecodeError("a", b"", 0, 1, "")]
)
def test_a_callback_that_raises_is_an_error_of_ours(error):
    for credentials in (
        StaticHeaders(headers=raises(error)),
        FederatedToken(token_supplier=raises(error)),
        OAuthClientCredentials(client_id=raises(error)),
    ):
        with pytest.raises(AuthenticationError, match=f"raised {type(error).__name__}") as raised:
            source("http://127.0.0.1:1", credentials).headers()
        assert type(raised.value.__cause__) is type(error)


def test_credentials_of_the_users_own_that_raise_are_an_error_of_ours():
    class Own(Credentials):
        def identity(self):
            return None

        def request_headers(self, workspace_url, form):
            raise ZeroDivisionError

    with pytest.raises(AuthenticationError, match="Own raised ZeroDivisionError"):
        source("", Own()).headers()


def test_an_error_of_ours_from_a_callback_keeps_its_class():
    with pytest.raises(TransientError, match="the vault is down"):
        source("", StaticHeaders(headers=raises(TransientError("the vault is down")))).headers()


@pytest.mark.parametrize("value", [None, 42, b"\xff", "", "\n", "a\x00b", "two\nlines", "half \ud800"])
def test_an_odd_secret_of_a_callback_is_an_error_of_ours(value):
    for credentials in (
        FederatedToken(token_supplier=lambda: value),
        OAuthClientCredentials(client_id=lambda: value),
        OAuthClientCredentials(client_id="id", client_secret=lambda: value),
    ):
        with pytest.raises(AuthenticationError, match="client_id|client_secret|token_supplier"):
            source("http://127.0.0.1:1", credentials).headers()


@pytest.mark.parametrize("value", [42, 1.5, ["s"], object()])
def test_a_secret_of_another_type_is_rejected_when_it_is_given(value):
    with pytest.raises(ConfigurationError, match="client_secret is of type .*: give text"):
        OAuthClientCredentials(client_id="id", client_secret=value)


def test_a_callback_that_hangs_ends_at_the_limit(monkeypatch):
    monkeypatch.setattr("beam_zerobus.workspace.credentials.SUPPLIER_LIMIT", 0.2)
    hanging = threading.Event()
    with pytest.raises(TransientError, match="token_supplier could not be read: no answer within 0.2 s"):
        source("", FederatedToken(token_supplier=hanging.wait)).headers()
    hanging.set()


def test_threads_that_cannot_be_started_are_transient(monkeypatch, serve):
    def start(_):
        raise RuntimeError("can't start new thread")

    server = serve(whole(200, TOKEN))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(TransientError, match="no thread could be started"):
            fetch_token(server.url)
    fetch_token(server.url)
