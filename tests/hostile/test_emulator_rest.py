"""Attacks on REST insert and the control API of the emulator, and on both over TLS."""

from __future__ import annotations

import json
import logging
import random
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests

from beam_zerobus.emulator import Emulator
from tests.emulator.sdk import eventually
from tests.hostile.canary import LATIN, NOT_LATIN, assert_hidden

TABLE = "main.iot.air"
DDL = (
    "id BIGINT NOT NULL, s STRING, t ARRAY<STRUCT<x: INT>>, m MAP<STRING, DOUBLE>, v VARIANT, d DATE, b BINARY, "
    "p DECIMAL(38,9), at TIMESTAMP"
)
INSERT = f"/zerobus/v1/tables/{TABLE}/insert"
SEED = 16


@pytest.fixture
def secure() -> Iterator[Emulator]:
    with Emulator(memory=True, tls=True) as emulator:
        emulator.create_table(TABLE, DDL)
        emulator._servers._http.request_seconds = 1.0
        yield emulator


def port_of(emulator: Emulator) -> int:
    return int(emulator.workspace_url.rpartition(":")[2])


def odd_value(chance: random.Random, depth: int = 0) -> Any:
    """Return JSON of any kind, often at the edge of what a type holds."""
    kind = chance.randrange(4 if depth < 5 else 2)
    if kind == 2:
        return [odd_value(chance, depth + 1) for _ in range(chance.randrange(3))]
    if kind == 3:
        keys = ("id", "s", "x", "", "\0", "ID")
        return {chance.choice(keys): odd_value(chance, depth + 1) for _ in range(chance.randrange(4))}
    numbers = (0, -1, 2**31, 2**63, 2**64 - 1, -(2**63), 10**30, 1e308, 0.5)
    texts = ("", "NaN", "\0", "\U0001f600", "1", "9" * 400, "2020-01-01", "{", "null", "a" * 5_000)
    return chance.choice((None, True, False, *numbers, *texts))


def odd_body(chance: random.Random) -> bytes:
    """Return a request's body: rows of which one column is odd, anything else, or either of them damaged."""
    columns = ("id", "s", "t", "m", "v", "d", "b", "p", "at", "none")
    rows = [{"id": 1, chance.choice(columns): odd_value(chance)} for _ in range(chance.randrange(3))]
    body = bytearray(json.dumps(odd_value(chance) if chance.random() < 0.2 else rows).encode())
    if chance.random() < 0.2 and body:
        body[chance.randrange(len(body))] = chance.randrange(256)
    return bytes(body)


@pytest.mark.hostile
def test_any_rows_are_inserted_or_rejected_and_the_table_can_be_read(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    table, chance, statuses = emulator.create_table(TABLE, DDL), random.Random(SEED), Counter()
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {emulator.issue_token(TABLE)}"
        for _ in range(500):
            statuses[session.post(emulator.workspace_url + INSERT, data=odd_body(chance), timeout=60).status_code] += 1
    assert set(statuses) == {200, 400}
    assert table.to_arrow().num_rows == emulator.stats.tables[TABLE].rows_acknowledged > 0
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


PATHS = [
    "/control/tables", "/control/tables/%00/rows", "/control/tables/%ff/grant", "/control/tables/..%2f..%2f/rows",
    f"/control/tables/{TABLE}/rows?offset=%E0%A5%A7&limit=1", "/control/faults", "/control/tokens", "/control/clock",
    "/control/streams/rotate", "/control/statistics", "/control/openapi.json", "/health",
]  # fmt: skip


@pytest.mark.hostile
def test_any_request_of_the_control_api_is_answered(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    chance, seen = random.Random(SEED), Counter()
    members = ("name", "columns", "seconds", "life", "table", "script", "rate", "ack_delay", "privileges", "kinds")
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {emulator.control_token}"
        for _ in range(400):
            body = {chance.choice(members): odd_value(chance) for _ in range(chance.randrange(3))}
            data = json.dumps(odd_value(chance) if chance.random() < 0.2 else body).encode()
            method, path = chance.choice(("GET", "POST", "PUT", "DELETE")), chance.choice(PATHS)
            seen[session.request(method, emulator.workspace_url + path, data=data, timeout=60).status_code] += 1
    assert set(seen) <= {200, 400, 404}
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    emulator.faults = None
    table = emulator.create_table(TABLE, DDL)
    headers = {"Authorization": f"Bearer {emulator.issue_token(TABLE)}"}
    answer = requests.post(emulator.workspace_url + INSERT, json=[{"id": 1}], headers=headers, timeout=60)
    assert (answer.status_code, table.count_rows()) == (200, 1)


def test_a_body_that_ends_too_early_inserts_nothing(emulator: Emulator) -> None:
    table = emulator.create_table(TABLE, DDL)
    head = f"POST {INSERT} HTTP/1.1\r\nAuthorization: Bearer {emulator.issue_token(TABLE)}\r\n"
    for body, length in ((b'[{"id": 1}]', 99), (b'[{"id": 2}', 11), (b"", 5)):
        with socket.create_connection(("127.0.0.1", port_of(emulator)), timeout=20) as connection:
            connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode() + body)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 400 ")
    assert table.count_rows() == 0


# TLS.


def drip(connection: Any, data: Iterator[bytes]) -> None:
    """Send a byte every twentieth of a second until the server closes the connection."""
    connection.settimeout(0.05)
    with suppress(ConnectionError, ssl.SSLError):
        for byte in data:
            connection.sendall(byte)
            with suppress(TimeoutError):
                if not connection.recv(1 << 16):
                    return
    return


@pytest.mark.hostile
@pytest.mark.parametrize("part", ["handshake", "body"])
def test_a_slow_client_over_tls_is_cut_off(secure: Emulator, part: str) -> None:
    context = ssl.create_default_context(cafile=str(secure.ca_file))
    client, server = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(client, server, server_hostname="127.0.0.1").do_handshake()
    hello = server.read()
    ended = threading.Event()

    def attack() -> None:
        with suppress(ConnectionError, ssl.SSLError):  # on a busy machine the whole handshake may be too slow
            send_slowly()
        ended.set()

    def send_slowly() -> None:
        with socket.create_connection(("127.0.0.1", port_of(secure)), timeout=20) as connection:
            if part == "handshake":
                drip(connection, (bytes([byte]) for byte in hello * 99))
            else:
                with context.wrap_socket(connection, server_hostname="127.0.0.1") as encrypted:
                    encrypted.sendall(b"POST /oidc/v1/token HTTP/1.1\r\nContent-Length: 100000\r\n\r\n")
                    drip(encrypted, (b"a" for _ in range(100_000)))

    thread = threading.Thread(target=attack, daemon=True)
    thread.start()
    assert ended.wait(60)  # a server that waits for the whole handshake or body would need an hour and more


# Secrets.


@pytest.mark.hostile
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("canary", [LATIN, NOT_LATIN], ids=["latin", "not-latin"])
def test_no_secret_of_the_emulator_is_logged(canary: str, tls: bool, log: Callable[[], str]) -> None:
    control_token = "c4nary-of-Control"  # a header can hold ASCII only
    with Emulator(
        memory=True, client_id="the-id", client_secret=canary, control_token=control_token, tls=tls
    ) as emulator:
        emulator.create_table(TABLE, "id BIGINT")
        token = emulator.issue_token(TABLE)
        verify = str(emulator.ca_file) if tls else False
        for path in ("/oidc/v1/token", INSERT, "/control/tables", "/control/x", "/nothing", "/%ff"):
            for secret in (canary, control_token, token, f"{canary}x"):
                headers = {"Authorization": f"Bearer {secret}".encode()}
                form = {"client_id": "the-id", "client_secret": secret, "grant_type": "client_credentials"}
                for body in (form, json.dumps([secret]), b"\xff"):
                    requests.post(
                        f"{emulator.workspace_url}{path}", data=body, headers=headers, timeout=20, verify=verify
                    )
        eventually(lambda: emulator.stats.streams_open == 0)
        for hidden in (canary, control_token):
            assert_hidden(hidden, repr(emulator), log())
        assert token not in log()
