"""Attacks on the emulator's HTTP: malformed requests, odd forms, slow clients, many connections."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import requests

from beam_zerobus.emulator import Emulator

TABLE = "main.iot.air"


def ask(emulator: Emulator, request: bytes, seconds: float = 10) -> bytes:
    """Send bytes to the HTTP port; return all that is answered until the server closes the connection."""
    address = ("127.0.0.1", int(emulator.workspace_url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=seconds) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(65536):
                answer += chunk
        return answer


def post(*headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join(["POST /oidc/v1/token HTTP/1.1", "Host: x", *headers, "", ""]).encode("latin-1") + body


MALFORMED = {
    "no request": (b"nonsense\r\n\r\n", 400),
    "junk": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    "version": (b"GET / HTTP/9.9\r\n\r\n", 505),
    "path": (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
    "long line": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
    "length -1": (post("Content-Length: -1", body=b"a=b"), 400),
    "length text": (post("Content-Length: many", body=b"a=b"), 400),
    "length superscript": (post("Content-Length: \xb2", body=b"ab"), 400),
    "two lengths": (post("Content-Length: 3", "Content-Length: 4", body=b"a=b"), 400),
    "length huge": (post("Content-Length: " + "9" * 5000), 413),
    "length above the limit": (post(f"Content-Length: {(1 << 20) + 1}"), 413),
    "chunked": (post("Transfer-Encoding: chunked", body=b"3\r\na=b\r\n0\r\n\r\n"), 411),
    "body cut": (post("Content-Length: 100", body=b"a=b"), 400),
    "body not UTF-8": (post("Content-Length: 3", body=b"a=\xff"), 400),
    "many fields": (post("Content-Length: 3000", body=b"a=&" * 1000), 400),
    "method": (b"BREW / HTTP/1.1\r\n\r\n", 501),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_http_is_answered(emulator: Emulator, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    request, status = MALFORMED[name]
    answer = ask(emulator, request)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1, "one answer"
    assert "Traceback" not in capfd.readouterr().err
    assert requests.get(f"{emulator.workspace_url}/nothing", timeout=20).status_code == 404, "it serves on"


@pytest.mark.parametrize(
    "changes",
    [
        {"authorization_details": "[" * 100_000},
        {"authorization_details": '[{"object_type": []}]'},
        {"authorization_details": '{"object_type": 1}'},
        {"grant_type": "\udcff"},
        {"client_id": "é\0", "client_secret": "é"},
    ],
    ids=["deep", "unhashable", "no list", "surrogate", "no ASCII"],
)
def test_odd_forms_are_answered(emulator: Emulator, changes: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    form = {"grant_type": "client_credentials", "scope": "all-apis", "client_id": emulator.client_id}
    form |= {"client_secret": emulator.client_secret} | changes
    body = "&".join(f"{key}={requests.utils.quote(value, errors='surrogateescape')}" for key, value in form.items())
    answer = requests.post(f"{emulator.workspace_url}/oidc/v1/token", data=body, timeout=10)
    assert answer.status_code in (400, 401)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("authorization", ["Basic é", "Basic =", "Basic", "Bearer é", "Basic " + "A" * 60_000])
def test_odd_authorization_is_rejected(emulator: Emulator, authorization: str) -> None:
    body = b"grant_type=client_credentials&scope=all-apis"
    answer = ask(emulator, post(f"Authorization: {authorization}", f"Content-Length: {len(body)}", body=body))
    assert answer.startswith(b"HTTP/1.1 401 ")


@contextlib.contextmanager
def impatient(emulator: Emulator, seconds: float) -> Iterator[None]:
    emulator._servers._http.request_seconds = seconds
    yield


@pytest.mark.parametrize(
    "drip", [b"G", b"GET / HTTP/1.1\r\n", post("Content-Length: 1000")], ids=["line", "headers", "body"]
)
def test_a_slow_client_is_cut_off(emulator: Emulator, drip: bytes) -> None:
    address = ("127.0.0.1", int(emulator.workspace_url.rpartition(":")[2]))
    with impatient(emulator, 1.0), socket.create_connection(address, timeout=20) as connection:
        connection.sendall(drip)
        ended = threading.Event()

        def trickle() -> None:
            with contextlib.suppress(OSError):
                while not ended.wait(0.1):
                    connection.sendall(b"a")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            with contextlib.suppress(ConnectionError):
                assert connection.recv(1) == b"", "the server closes, however many bytes drip in"
        finally:
            ended.set()
            thread.join()


def test_connections_are_bounded(emulator: Emulator) -> None:
    address = ("127.0.0.1", int(emulator.workspace_url.rpartition(":")[2]))
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(address, timeout=20)) for _ in range(300)]
        with contextlib.suppress(ConnectionError):
            assert held[-1].recv(1) == b"", "one too many is closed"
        threads = [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]
        assert len(threads) <= 256
    deadline = time.monotonic() + 20
    while True:  # until the closed ones are noticed
        with contextlib.suppress(requests.ConnectionError):
            assert requests.get(f"{emulator.workspace_url}/nothing", timeout=20).status_code == 404
            break
        assert time.monotonic() < deadline
        time.sleep(0.1)
