"""10,000 damaged calls on each way in: none ends the emulator, none hangs, none becomes a row that was not sent."""

from __future__ import annotations

import json
import logging
import os
import random
import resource
import socket
import ssl
from collections import Counter
from contextlib import suppress

import grpc
import pytest
import requests

from beam_zerobus.emulator import OTLP_COLUMNS, Emulator
from tests.emulator.otlp_calls import TRACE_ID, headers, request_of, span
from tests.emulator.sdk import eventually
from tests.hostile.mutated_requests import WAYS
from tests.hostile.mutations import DDL, ROWS, TABLE, damaged

SEED = int(os.environ.get("MUTATIONS_SEED", "20"))
MOST_MEGABYTES = 400
MANY = (pytest.mark.hostile, pytest.mark.timeout(900))


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("calls", [60, pytest.param(10_000, marks=MANY)])
def test_damaged_calls_are_rejected_or_mean_what_was_sent(
    way: str, calls: int, caplog: pytest.LogCaptureFixture
) -> None:
    chance, attempts, seen = random.Random(SEED), WAYS[way](), Counter()
    before = peak_megabytes()
    for number in range(calls):
        seen[attempts[number % len(attempts)](chance)] += 1
    assert peak_megabytes() - before < MOST_MEGABYTES
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert seen[False] > calls // 10
    if calls >= 10_000:
        assert seen[True] > 0, "some damage does no harm"


# The same over sockets: damaged HTTP, HTTP/2 and TLS, and a good call afterwards.


def address(url: str) -> tuple[str, int]:
    return "127.0.0.1", int(url.rpartition(":")[2])


def raw(method: str, path: str, body: bytes, **fields: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *(f"{name.replace('_', '-')}: {fields[name]}" for name in fields)]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def answer_to(connection: socket.socket, sent: bytes) -> bytes:
    """Send bytes and no more; return all that is answered until the server closes the connection."""
    answer = b""
    with suppress(ConnectionError, ssl.SSLError):
        connection.sendall(sent)
        with suppress(OSError):  # the server may have closed the connection
            connection.shutdown(socket.SHUT_WR)
        while chunk := connection.recv(1 << 16):
            answer += chunk
    return answer


def serves_on(emulator: Emulator) -> None:
    """Both ways in take a good call, and the table has what was acknowledged."""
    verify = True if emulator.ca_file is None else str(emulator.ca_file)
    url = f"{emulator.workspace_url}/zerobus/v1/tables/{TABLE}/insert"
    sent = {"Authorization": f"Bearer {emulator.issue_token(TABLE)}"}
    answer = requests.post(url, data=json.dumps(ROWS), headers=sent, timeout=20, verify=verify)
    assert answer.status_code == 200, answer.text
    request = request_of("traces", span())
    target = emulator.endpoint.partition("://")[2]
    if emulator.ca_file is None:
        channel = grpc.insecure_channel(target)
    else:
        channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(emulator.ca_file.read_bytes()))
    with channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        sent = headers(emulator, "main.otel.spans")
        export(request.SerializeToString(), metadata=list(sent.items()), timeout=20)
    for name in (TABLE, "main.otel.spans"):
        # Requests whose clients have left may still be stored.
        eventually(lambda: emulator.table(name).count_rows() == emulator.stats.tables[name].rows_acknowledged > 0)  # noqa: B023


def started(*, tls: bool) -> Emulator:
    emulator = Emulator(memory=True, tls=tls)
    emulator.create_table(TABLE, DDL)
    emulator.create_table("main.otel.spans", OTLP_COLUMNS["traces"])
    return emulator


def http_requests(emulator: Emulator) -> list[bytes]:
    bearer = f"Bearer {emulator.issue_token(TABLE)}"
    spans = headers(emulator, "main.otel.spans")
    form = f"grant_type=client_credentials&scope=all-apis&client_id={emulator.client_id}&client_secret=x".encode()
    return [
        raw("POST", f"/zerobus/v1/tables/{TABLE}/insert", b'[{"id": 1, "name": "a"}]', Authorization=bearer),
        raw(
            "POST",
            "/v1/traces",
            request_of("traces", span()).SerializeToString(),
            Content_Type="application/x-protobuf",
            Authorization=spans["authorization"],
            **{"x-databricks-zerobus-table-name": "main.otel.spans"},
        ),
        raw("POST", "/oidc/v1/token", form),
        raw("POST", "/api/2.0/sql/statements", b'{"statement": "DESCRIBE main.iot.air"}', Authorization=bearer),
        raw("GET", f"/control/tables/{TABLE}/rows", b"", Authorization=f"Bearer {emulator.control_token}"),
    ]


@pytest.mark.parametrize("calls", [20, pytest.param(1_500, marks=MANY)])
def test_damaged_http_is_answered(calls: int, capfd: pytest.CaptureFixture[str]) -> None:
    chance, seen = random.Random(SEED), Counter()
    with started(tls=False) as emulator:
        valid = http_requests(emulator)
        for number in range(calls):
            with socket.create_connection(address(emulator.workspace_url), timeout=30) as connection:
                answer = answer_to(connection, damaged(chance, valid[number % len(valid)]))
            assert answer[:9] in (b"", b"HTTP/1.1 "), answer[:200]
            seen[answer[9:12]] += 1
        serves_on(emulator)
    assert seen[b"500"] == 0, seen
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("calls", [20, pytest.param(600, marks=MANY)])
def test_damaged_grpc_is_answered_and_damaged_http2_ends_its_connection(
    calls: int, capfd: pytest.CaptureFixture[str]
) -> None:
    chance, codes = random.Random(SEED), Counter()
    with started(tls=False) as emulator:
        sent, request = list(headers(emulator, "main.otel.spans").items()), request_of("traces", span(), span())
        with grpc.insecure_channel(emulator.endpoint.removeprefix("http://")) as channel:
            export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
            for _ in range(calls):
                try:
                    export(damaged(chance, request.SerializeToString()), metadata=sent, timeout=30)
                    codes["OK"] += 1
                except grpc.RpcError as error:
                    codes[error.code().name] += 1
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000") + TRACE_ID * 3
        for _ in range(calls // 4):
            with socket.create_connection(address(emulator.endpoint), timeout=30) as connection:
                answer_to(connection, damaged(chance, preface))
        eventually(lambda: emulator.stats.streams_open == 0)
        serves_on(emulator)
    assert codes.keys() <= {"OK", "INVALID_ARGUMENT"}
    if calls >= 600:
        assert codes["OK"] > 0, "some damage does no harm"
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("calls", [10, pytest.param(200, marks=MANY)])
def test_damaged_tls_ends_its_connection(calls: int) -> None:
    chance = random.Random(SEED)
    with started(tls=True) as emulator:
        context = ssl.create_default_context(cafile=str(emulator.ca_file))
        client, server = ssl.MemoryBIO(), ssl.MemoryBIO()
        with suppress(ssl.SSLWantReadError):
            context.wrap_bio(client, server, server_hostname="127.0.0.1").do_handshake()
        hello, valid = server.read(), http_requests(emulator)
        for url in (emulator.endpoint, emulator.workspace_url):
            for _ in range(calls):
                with socket.create_connection(address(url), timeout=30) as connection:
                    answer_to(connection, damaged(chance, hello))
        for number in range(calls):
            plain = socket.create_connection(address(emulator.workspace_url), timeout=30)
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
                connection.sendall(valid[number % len(valid)])
                # Bytes that are not TLS, in the middle of the connection.
                with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as below:
                    below.sendall(damaged(chance, hello))
        serves_on(emulator)
