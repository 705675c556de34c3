"""Credentials and tokens, against the emulator's token endpoint over HTTP."""

import base64
import json
import pickle
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import SimpleNamespace
from urllib.parse import parse_qs

import pytest
from zerobus.sdk.sync import TableProperties, ZerobusException, ZerobusSdk

from beam_zerobus import (
    AuthenticationError,
    ConfigurationError,
    FederatedToken,
    OAuthClientCredentials,
    StaticHeaders,
    TransientError,
)
from beam_zerobus.workspace.tokens import TokenSource

TABLE = "main.iot.air"


def source(emulator, credentials=None, **settings):
    credentials = credentials or OAuthClientCredentials(
        client_id=emulator.client_id, client_secret=emulator.client_secret
    )
    return TokenSource(
        credentials, table=TABLE, endpoint=emulator.endpoint, workspace_url=emulator.workspace_url, **settings
    )


def test_a_token_is_fetched_once_and_reused(emulator):
    refreshed = []
    tokens = source(emulator, on_refresh=lambda: refreshed.append(1))
    first = dict(tokens.headers())
    assert first["authorization"].startswith("Bearer ")
    assert first["x-databricks-zerobus-table-name"] == TABLE
    assert dict(tokens.headers()) == first
    assert (emulator.stats.tokens_issued, len(refreshed)) == (1, 1)


def test_a_rejected_token_is_fetched_again(emulator):
    tokens = source(emulator)
    first = tokens.headers()
    tokens.invalidate()
    assert tokens.headers() != first
    assert emulator.stats.tokens_issued == 2


def test_a_token_is_renewed_before_it_expires(emulator, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("beam_zerobus.workspace.tokens.time", SimpleNamespace(monotonic=lambda: now[0]))
    tokens = source(emulator)
    tokens.headers()
    now[0] = 3600 - 17 * 60  # a stream of 15 minutes still fits in
    tokens.headers()
    assert emulator.stats.tokens_issued == 1
    now[0] = 3600 - 15 * 60
    tokens.headers()
    assert emulator.stats.tokens_issued == 2


@pytest.mark.parametrize("secret", ["the-secret", "geh\u00e9im \u79d8\U0001f511 :%+&="])
def test_the_request_is_the_one_that_the_sdk_makes(secret):
    """The service knows the SDK's request, so ours must not differ from it in anything."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: value for name, [value] in parse_qs(body).items()}
            form["authorization_details"] = json.loads(form["authorization_details"])
            seen.append((self.path, self.headers["authorization"], self.headers["content-type"], form))
            self.send_response(401)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    endpoint = "http://1234.zerobus.localhost:1"
    with pytest.raises(ZerobusException):
        ZerobusSdk(endpoint, url).create_stream("the-id", secret, TableProperties(TABLE))
    tokens = TokenSource(
        OAuthClientCredentials(client_id="the-id", client_secret=secret),
        table=TABLE,
        endpoint=endpoint,
        workspace_url=url,
    )
    with pytest.raises(AuthenticationError):
        tokens.headers()
    server.shutdown()
    server.server_close()
    assert seen[0] == seen[-1]
    assert seen[0][1] == "Basic " + base64.b64encode(f"the-id:{secret}".encode()).decode()


@pytest.mark.parametrize("kind", ["string", "callable", "environment", "secret"])
def test_every_kind_of_secret_works(emulator, kind, monkeypatch):
    class Reference:
        def get_secret_bytes(self):
            return emulator.client_secret.encode()

    if kind == "environment":
        monkeypatch.setenv("DATABRICKS_CLIENT_ID", emulator.client_id)
        monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", emulator.client_secret)
    credentials = {
        "string": OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
        "callable": OAuthClientCredentials(
            client_id=lambda: emulator.client_id, client_secret=lambda: emulator.client_secret
        ),
        "environment": OAuthClientCredentials(),
        "secret": OAuthClientCredentials(client_id=emulator.client_id, client_secret=Reference()),
    }[kind]
    assert source(emulator, credentials).headers()


def test_a_federated_token_is_exchanged(emulator):
    supplied = []
    credentials = FederatedToken(token_supplier=lambda: supplied.append(1) or "a.b.c", client_id=emulator.client_id)
    assert source(emulator, credentials).headers()
    assert supplied == [1]


def test_a_supplier_that_fails_says_so_and_keeps_its_cause(emulator):
    def broken():
        raise OSError("no vault")

    with pytest.raises(
        AuthenticationError, match="client_secret could not be read: its callable raised OSError"
    ) as raised:
        source(emulator, OAuthClientCredentials(client_id="id", client_secret=broken)).headers()
    assert isinstance(raised.value.__cause__, OSError)


def test_static_headers_are_sent_as_they_are(emulator):
    credentials = StaticHeaders(headers={"Authorization": "Bearer abc", "X-Other": "1"})
    assert dict(source(emulator, credentials).headers()) == {
        "authorization": "Bearer abc",
        "x-other": "1",
        "x-databricks-zerobus-table-name": TABLE,
    }


def test_a_callable_for_static_headers_is_called_each_time(emulator):
    numbers = iter(range(9))
    tokens = source(emulator, StaticHeaders(headers=lambda: {"authorization": f"Bearer {next(numbers)}"}))
    assert tokens.headers() != tokens.headers()


def test_static_headers_without_authorization_are_rejected():
    with pytest.raises(ConfigurationError, match='"authorization" header'):
        StaticHeaders(headers={"x-token": "1"})


def test_an_endpoint_that_cannot_be_reached_is_transient():
    tokens = TokenSource(
        OAuthClientCredentials(client_id="a", client_secret="b"),
        table=TABLE,
        endpoint="http://127.0.0.1:1",
        workspace_url="http://127.0.0.1:1",
    )
    with pytest.raises(TransientError, match="could not be reached") as raised:
        tokens.headers()
    assert raised.value.cause == "TOKEN_ENDPOINT_UNREACHABLE"


@pytest.mark.parametrize(
    "credentials",
    [
        OAuthClientCredentials(client_id="id", client_secret="s3cret"),
        FederatedToken(token_supplier=str, client_id="id"),
        StaticHeaders(headers={"authorization": "Bearer s3cret"}),
    ],
)
def test_no_secret_shows_and_credentials_pickle(credentials):
    assert "s3cret" not in repr(credentials) + str(credentials) + str(credentials.identity())
    assert pickle.loads(pickle.dumps(credentials)).identity() == credentials.identity()
