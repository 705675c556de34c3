"""Clients that vanish, read nothing or send garbage: no leak, no end of the gateway, no memory without a bound."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import flight

from beam_zerobus.emulator import Faults, ScriptedFault
from tests.gateway.conftest import batch, path, put


def settled(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def open_files() -> int:
    """Return how many files and sockets this process has open; 0 where the system does not say."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) if Path("/proc/self/fd").exists() else 0


def test_clients_that_vanish_leave_nothing_behind(start, table):
    gateway = start()
    with flight.connect(gateway.location) as client:
        put(client, [batch(0)])
    threads, connections = threading.active_count(), open_files()
    for number in range(1, 101):
        client = flight.connect(gateway.location)
        writer, reader = client.do_put(path(), batch(1).schema)
        writer.write_batch(batch(number))
        if number % 2:
            reader.read()
        del writer, reader
        client.close()
        del client
    assert settled(lambda: gateway.running_calls == 0)
    assert settled(lambda: threading.active_count() <= threads + 2), threading.enumerate()
    assert settled(lambda: open_files() <= connections + 2)
    with flight.connect(gateway.location) as client:
        assert put(client, [batch(1_000)])[0]["success"]
    ids = table.to_arrow()["id"].to_pylist()
    assert len(ids) == len(set(ids))
    assert set(range(1, 101, 2)) <= set(ids)


def test_a_service_that_hangs_stops_the_client(start, table, emulator):
    emulator.faults = Faults(script=(ScriptedFault("hang", at_call=1),))
    gateway = start(max_batches_in_flight=4)
    large = pa.record_batch({"id": range(1_000), "device": ["x" * 1_000] * 1_000})  # 1 MB
    sent = 0

    def send() -> None:
        nonlocal sent
        client = flight.connect(gateway.location)
        writer, _ = client.do_put(path(), large.schema)
        try:
            for _ in range(500):
                writer.write_batch(large)
                sent += 1
        except (pa.ArrowException, flight.FlightError, OSError):
            return

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    assert settled(lambda: sent > 4)
    before = -1
    while before != sent:  # until the client waits
        before = sent
        time.sleep(1.5)
    assert sent < 100  # 4 MB without a result, and what the sockets hold
    emulator.faults = Faults()
    gateway.stop(0.1)


@pytest.mark.parametrize("seed", range(4))
def test_garbage_never_stops_the_gateway(start, table, seed):
    gateway = start()
    host, port = gateway.location.removeprefix("grpc://").split(":")
    chance = random.Random(seed)
    recorded = _recorded_call(gateway.location)
    for _ in range(60):
        content = bytearray(recorded)
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        if chance.random() < 0.3:
            content = content[: chance.randrange(len(content))]
        with socket.create_connection((host, int(port)), 5) as raw:
            raw.settimeout(0.2)
            try:
                raw.sendall(content)
                while raw.recv(65_536):
                    pass
            except OSError:
                continue
    assert settled(lambda: gateway.running_calls == 0)
    with flight.connect(gateway.location) as client:
        assert put(client, [batch(7)])[0]["success"]


def _recorded_call(location: str) -> bytes:
    """Return the bytes that a client sends for a good call, recorded between it and the gateway."""
    host, port = location.removeprefix("grpc://").split(":")
    sent = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def relay() -> None:
            near, _ = server.accept()
            far = socket.create_connection((host, int(port)))

            def back() -> None:
                while received := far.recv(65_536):
                    near.sendall(received)

            threading.Thread(target=back, daemon=True).start()
            while content := near.recv(65_536):
                sent.extend(content)
                far.sendall(content)
            far.close()

        relaying = threading.Thread(target=relay, daemon=True)
        relaying.start()
        with flight.connect(f"grpc://127.0.0.1:{server.getsockname()[1]}") as client:
            put(client, [batch(*range(1_000, 1_010))])
        relaying.join(10)
    return bytes(sent)
