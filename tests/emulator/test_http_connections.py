"""HTTP connections that idle end with the emulator, as those of a process do."""

import http.client
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
import requests

from beam_zerobus.emulator import Emulator, Faults

from .sdk import eventually
from .test_rest import insert

TABLE = "main.iot.air"


def connected(emulator: Emulator) -> http.client.HTTPConnection:
    """Return a connection that has had an answer and stays open."""
    where = urlsplit(emulator.workspace_url)
    if emulator.ca_file is None:
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=20)
    else:
        trusted = ssl.create_default_context(cafile=str(emulator.ca_file))
        connection = http.client.HTTPSConnection(where.hostname or "", where.port, timeout=20, context=trusted)
    connection.request("GET", "/health")
    assert connection.getresponse().read() == b'{"status": "ok"}'
    assert connection.sock is not None
    return connection


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("end", [Emulator.kill, Emulator.stop])
def test_an_idle_connection_ends_with_the_emulator(end: Callable[[Emulator], None], tls: bool) -> None:
    with Emulator(memory=True, tls=tls) as emulator:
        connection = connected(emulator)
        end(emulator)
        with suppress(ConnectionError, ssl.SSLError):  # ends without TLS's own farewell
            assert connection.sock.recv(1) == b""
        connection.close()
        emulator.start()
        connected(emulator).close()


@pytest.mark.parametrize(("end", "delay", "expected"), [(Emulator.kill, 20.0, 0), (Emulator.stop, 0.2, 200)])
def test_a_request_in_flight_is_broken_by_a_kill_and_answered_by_a_stop(
    end: Callable[[Emulator], None], delay: float, expected: int
) -> None:
    with Emulator(memory=True) as emulator:
        emulator.create_table(TABLE, "id BIGINT")
        emulator.faults = Faults(ack_delay=delay)
        statuses: list[int] = []

        def send() -> None:
            try:
                statuses.append(insert(emulator, [{"id": 1}]).status_code)
            except requests.ConnectionError:
                statuses.append(0)

        sending = threading.Thread(target=send)
        sending.start()
        eventually(lambda: emulator.stats.tables[TABLE].calls)
        end(emulator)
        sending.join(20)
        assert statuses == [expected]


@pytest.mark.parametrize("tls", [False, True])
def test_a_client_that_still_sends_receives_the_answer(tls: bool) -> None:
    """A connection that is closed with unread bytes is reset, and a client that sends sees nothing but that."""
    with Emulator(memory=True, tls=tls) as emulator:
        connection = connected(emulator)
        connection.sock.sendall(b"POST /oidc/v1/token HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n")
        assert connection.sock.recv(1 << 16).startswith(b"HTTP/1.1 413 ")
        for _ in range(200):
            connection.sock.sendall(bytes(1 << 16))
        connection.close()
