"""A canary secret, of Latin and other characters, in every credential and URL, shows nowhere, whatever fails."""

from __future__ import annotations

import base64
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from beam_zerobus import (
    AuthenticationError,
    ConfigurationError,
    FederatedToken,
    OAuthClientCredentials,
    Retry,
    StaticHeaders,
    ZerobusError,
    ZerobusWriter,
)
from beam_zerobus.errors import redact_url
from beam_zerobus.sink.pipeline_options import ZerobusOptions
from beam_zerobus.workspace import http
from beam_zerobus.workspace.secret import Secret
from beam_zerobus.workspace.tokens import TokenSource
from beam_zerobus.workspace.unity_catalog import fetch_table_schema
from beam_zerobus.writer.config import make_config
from tests.hostile.canary import LATIN, NOT_LATIN, TABLE, assert_hidden, canaries, everything_of
from tests.hostile.http_server import OddServer, Request, dripped, whole

pytestmark = pytest.mark.hostile


def echo(status: int) -> Callable[[Request], Iterator[bytes]]:
    """Answer with all that was sent, in every place of an answer."""

    def answer(request: Request) -> Iterator[bytes]:
        said = request.headers.get("authorization", "") + request.body.decode()
        with suppress(Exception):
            said += base64.b64decode(request.headers["authorization"].split()[1]).decode()
        body = {"error": said, "error_description": said, "access_token": [said], "message": said, "table_type": said}
        return whole(status, body, f"Location: /{quote(said)}", f"Retry-After: {quote(said)}")(request)

    return answer


def scenarios(serve: Callable[..., OddServer]) -> Iterator[tuple[str, str]]:
    for status in (200, 302, 307, 400, 401, 403, 404, 429, 503):
        yield f"echo {status}", serve(echo(status)).url
    yield "half an answer", serve(lambda _: iter([b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"])).url
    yield "no HTTP", serve(lambda _: iter([b"\x00\xff\r\n\r\n"])).url
    hanging = serve(dripped(b"", lambda: iter([b""] * 99), lambda: hanging))
    yield "nothing", hanging.url
    silent = serve(lambda _: iter([]))
    yield "closed", silent.url
    yield "nobody", "http://127.0.0.1:1"
    yield "no TLS", silent.url.replace("http:", "https:")
    yield "no host", "http://"


class Reference:
    def __init__(self, secret: bytes) -> None:
        self.secret = secret

    def __repr__(self) -> str:
        return "Reference()"

    def get_secret_bytes(self) -> bytes:
        return self.secret


def credentials_with(canary: str) -> dict[str, Callable[[], Any]]:
    odd = (f"{canary}\n", f"{canary}\x00", f"two\n{canary}", f"{canary}\ud800")
    return {
        "plain": lambda: OAuthClientCredentials(client_id="the-id", client_secret=canary),
        "id": lambda: OAuthClientCredentials(client_id=canary, client_secret=canary),
        "id with a colon": lambda: OAuthClientCredentials(client_id=f"{canary}:", client_secret=canary),
        "callable": lambda: OAuthClientCredentials(client_id="the-id", client_secret=lambda: canary),
        "reference": lambda: OAuthClientCredentials(client_id="the-id", client_secret=Reference(canary.encode())),
        "not UTF-8": lambda: OAuthClientCredentials(
            client_id="the-id", client_secret=Reference(canary.encode() + b"\xff")
        ),
        "bytes": lambda: OAuthClientCredentials(client_id="the-id", client_secret=canary.encode()),  # type: ignore[arg-type]
        "a list": lambda: OAuthClientCredentials(client_id="the-id", client_secret=lambda: [canary]),  # type: ignore[arg-type, return-value]
        **{
            f"odd {number}": lambda text=text: OAuthClientCredentials(client_id="the-id", client_secret=text)
            for number, text in enumerate(odd)
        },
        **{
            f"federated {number}": lambda text=text: FederatedToken(token_supplier=lambda: text)
            for number, text in enumerate((canary, *odd))
        },
        "a token for a supplier": lambda: FederatedToken(token_supplier=canary),  # type: ignore[arg-type]
        "headers": lambda: StaticHeaders(headers={"authorization": f"Bearer {canary}"}),
        "headers without authorization": lambda: StaticHeaders(headers={"x-token": canary}),
        "headers in bytes": lambda: StaticHeaders(headers={"authorization": canary.encode()}),  # type: ignore[dict-item]
        "headers as text": lambda: StaticHeaders(headers=canary),  # type: ignore[arg-type]
        "supplied headers": lambda: StaticHeaders(headers=lambda: {"authorization": f"Bearer {canary}\x00"}),
        "supplied text": lambda: StaticHeaders(headers=lambda: canary),  # type: ignore[arg-type, return-value]
    }


@canaries
@pytest.mark.parametrize("kind", credentials_with(""))
def test_credentials_show_nothing_whatever_fails(canary, kind, serve, log, short_limit):
    shown = []
    for name, url in scenarios(serve):
        try:
            credentials = credentials_with(canary)[kind]()
            shown += [repr(credentials), str(credentials), f"{credentials}", str(credentials.identity())]
            tokens = TokenSource(credentials, table=TABLE, endpoint="http://1.localhost", workspace_url=url)
            for use in (
                tokens.headers,
                lambda: fetch_table_schema(url, TABLE, headers=tokens.workspace_headers()),  # noqa: B023
            ):
                try:
                    use()
                except ZerobusError as error:
                    shown.append(everything_of(error))
            shown.append(repr(tokens) + repr(vars(tokens)))
        except ConfigurationError as error:  # they cannot even be made
            shown.append(everything_of(error))
        assert shown, name
    assert_hidden(canary, *dict.fromkeys(shown), log())


@canaries
@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize("end", ["", "\n", "\nx"])
def test_the_environment_shows_nothing(canary, end, serve, log, monkeypatch):
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", "the-id")
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", canary + end)
    for _, url in scenarios(serve):
        tokens = TokenSource(OAuthClientCredentials(), table=TABLE, endpoint="http://1.localhost", workspace_url=url)
        with pytest.raises(ZerobusError) as raised:
            tokens.headers()
        assert_hidden(canary, everything_of(raised.value), log())


def test_an_access_token_shows_nothing(serve, log, monkeypatch):
    tokens = TokenSource(
        OAuthClientCredentials(client_id="the-id", client_secret="the-secret"),
        table=TABLE,
        endpoint="http://1.localhost",
        workspace_url=serve(whole(200, {"access_token": LATIN})).url,
    )
    assert dict(tokens.headers())["authorization"] == f"Bearer {LATIN}"
    monkeypatch.setattr(http, "REQUEST_LIMIT", 0.5)  # what follows fails in any case
    shown = [repr(vars(tokens))]
    for _, url in scenarios(serve):
        with pytest.raises(ZerobusError) as raised:
            fetch_table_schema(url, TABLE, headers=tokens.workspace_headers())
        shown.append(everything_of(raised.value))
    for life in ("NaN", '"soon"', "-1", "{"):
        body = f'{{"access_token": "{LATIN}", "expires_in": {life}}}'.encode()
        other = TokenSource(
            OAuthClientCredentials(client_id="the-id", client_secret="the-secret"),
            table=TABLE,
            endpoint="http://1.localhost",
            workspace_url=serve(whole(200, body)).url,
        )
        with pytest.raises(ZerobusError) as raised:
            other.headers()
        shown.append(everything_of(raised.value))
    assert_hidden(LATIN, *shown, log())


@canaries
def test_secrets_in_pickles_of_credentials_work(canary):
    for kind in ("plain", "id", *["headers"] * (canary == LATIN)):
        credentials = credentials_with(canary)[kind]()
        copy = pickle.loads(pickle.dumps(credentials))
        assert (copy, copy.identity(), hash(copy)) == (credentials, credentials.identity(), hash(credentials))
        assert_hidden(canary, repr(copy))


def test_a_secret_is_equal_to_its_like_only():
    assert Secret(NOT_LATIN) == Secret(NOT_LATIN) != Secret(LATIN)
    assert Secret(LATIN) != LATIN
    assert OAuthClientCredentials(client_secret=LATIN) != OAuthClientCredentials(client_secret=NOT_LATIN)


@canaries
def test_a_secret_of_other_characters_reaches_the_service_in_utf8(canary, serve):
    server = serve(whole(200, {"access_token": "t"}))
    for end in ("", "\n", "\r\n"):
        TokenSource(
            OAuthClientCredentials(client_id="the-id", client_secret=canary + end),
            table=TABLE,
            endpoint="http://1.localhost",
            workspace_url=server.url,
        ).headers()
    TokenSource(
        FederatedToken(token_supplier=lambda: canary + "\n"),
        table=TABLE,
        endpoint="http://1.localhost",
        workspace_url=server.url,
    ).headers()
    sent = [request.headers.get("authorization") for request in server.requests]
    assert sent == ["Basic " + base64.b64encode(f"the-id:{canary}".encode()).decode()] * 3 + [None]
    assert f"subject_token={quote_plus(canary)}&" in server.requests[3].body.decode()


DEFAULTS: dict[str, Any] = {
    "endpoint": None,
    "workspace_url": None,
    "credentials": None,
    "schema": None,
    "wire_format": "proto",
    "retry": Retry(),
    "on_unknown_fields": "reject",
    "streams_per_worker": 1,
    "debug_files": None,
    "telemetry": None,
    "dry_run": False,
}


@pytest.mark.parametrize(
    "url",
    [
        "https://user:{}@workspace.example",
        "https://{}@workspace.example",
        "https://workspace.example/?token={}",
        "https://workspace.example/#{}",
        "https://user:{}@workspace.example:port",
        "https://user:a/b?c{}@workspace.example",
        "ftp://user:{}@workspace.example",
        "user:{}@workspace.example",
        "https://user:{}@[workspace",
        "workspace.example?token={}",
    ],
)
@canaries
def test_urls_show_nothing(canary, url, monkeypatch, log):
    url = url.format(canary)
    shown = []
    for option, variable in (("endpoint", "ZEROBUS_ENDPOINT"), ("workspace_url", "DATABRICKS_HOST")):
        options = {"endpoint": "http://127.0.0.1:1", "workspace_url": "http://127.0.0.1:1"}
        del options[option]
        monkeypatch.setenv(variable, url)
        with pytest.raises(ConfigurationError) as raised:
            make_config(TABLE, **{**DEFAULTS, **options})
        shown.append(everything_of(raised.value))
        monkeypatch.delenv(variable)
        with pytest.raises(ConfigurationError) as raised:
            ZerobusWriter(TABLE, **options, **{option: url})
        shown += [str(raised.value), repr(raised.value), repr(pickle.dumps(raised.value))]
    shown.append(redact_url(url))
    for fetch in (
        lambda: fetch_table_schema(url, TABLE, headers={}, timeout=0.5),
        TokenSource(
            OAuthClientCredentials(client_id="the-id", client_secret="the-secret"),
            table=TABLE,
            endpoint="http://1.localhost",
            workspace_url=url,
        ).headers,
    ):
        with pytest.raises(ZerobusError) as raised:
            fetch()
        shown += [str(raised.value), repr(raised.value), repr(pickle.dumps(raised.value))]
    assert_hidden(canary, *shown, log())


def test_no_flag_takes_a_secret():
    """Whoever lists the processes of a machine sees their arguments."""
    flags = [name for name in ZerobusOptions([]).get_all_options() if re.match("zerobus_.*(secret|client|token)", name)]
    assert flags
    assert all(name.endswith(("_env", "_gcp_secret")) for name in flags)


def test_a_supplier_that_fails_is_not_quoted():
    def supply() -> str:
        raise OSError(f"no {LATIN} in the vault")

    with pytest.raises(AuthenticationError) as raised:
        TokenSource(
            OAuthClientCredentials(client_id="the-id", client_secret=supply),
            table=TABLE,
            endpoint="http://1.localhost",
            workspace_url="http://127.0.0.1:1",
        ).headers()
    assert_hidden(LATIN, str(raised.value), repr(raised.value), repr(pickle.dumps(raised.value)))
