"""Requests to a token endpoint and to Unity Catalog, as a writer makes them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from beam_zerobus import (
    FederatedToken,
    OAuthClientCredentials,
)
from beam_zerobus.workspace.tokens import TokenSource
from beam_zerobus.workspace.unity_catalog import fetch_table_schema

TABLE = "main.iot.air"
TOKEN = {"access_token": "t0ken", "expires_in": 3600}
COLUMNS = {"columns": [{"name": "id", "type_json": '"long"', "nullable": True, "position": 0}]}
OAUTH = OAuthClientCredentials(client_id="the-id", client_secret="the-secret")


def source(url: str, credentials=OAUTH) -> TokenSource:
    return TokenSource(credentials, table=TABLE, endpoint="http://1234.zerobus.localhost:1", workspace_url=url)


def fetch_token(url: str) -> None:
    source(url).headers()


def exchange_token(url: str) -> None:
    source(url, FederatedToken(token_supplier=lambda: "subject-token")).headers()


def fetch_schema(url: str) -> None:
    fetch_table_schema(url, TABLE, headers={"authorization": "Bearer t0ken"})


both = pytest.mark.parametrize("fetch", [fetch_token, fetch_schema])


HEAD = b"HTTP/1.1 200 OK\r\n"


def endless(piece: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.repeat(piece)
