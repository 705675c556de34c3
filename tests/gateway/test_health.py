"""The port of `/health`, which asks for no token: clients that are slow, many or malformed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
import requests

from beam_zerobus.gateway import health
from beam_zerobus.gateway.health import HealthServer
from tests.emulator.sdk import eventually


@pytest.fixture
def server() -> Iterator[HealthServer]:
    running = HealthServer("127.0.0.1", 0, lambda: {"status": "serving"})
    yield running
    running.close()


def works(server: HealthServer) -> bool:
    with suppress(requests.ConnectionError):
        answer = requests.get(f"http://127.0.0.1:{server.port}/health", timeout=20)
        return (answer.status_code, answer.json()) == (200, {"status": "serving"})
    return False


def test_a_slow_client_is_cut_off(server: HealthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "REQUEST_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.settimeout(0.02)

        def is_cut_off() -> bool:
            try:
                client.sendall(b"G")  # each byte alone would be in time
                return client.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        eventually(is_cut_off)
    eventually(lambda: works(server))  # this client too has only that time, on a machine that may be busy


def test_connections_are_bounded_and_the_next_one_works(server: HealthServer) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(64)]
        held[-1].settimeout(20)
        with suppress(ConnectionError):
            assert held[-1].recv(1) == b""  # closed at once
    eventually(lambda: works(server))


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
        b"GET " + b"/" * 70_000 + b"\r\n\r\n",
        b"POST /health HTTP/1.1\r\n\r\n",
        b"G",
    ],
)
def test_malformed_requests_print_no_traceback(
    server: HealthServer, request_bytes: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        with suppress(OSError):  # the server may have answered, and closed the connection, before it has read all
            client.sendall(request_bytes)
            client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            assert b" 200 " not in client.recv(1 << 16)
    assert works(server)
    assert "Traceback" not in capfd.readouterr().err
