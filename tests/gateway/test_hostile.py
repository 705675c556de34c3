"""Clients that vanish, hang, read nothing or send garbage: no leak, no end of the gateway, no wrong row."""

from __future__ import annotations

import gc
import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pyarrow as pa
import pytest
from pyarrow import flight

from beam_zerobus.emulator import Faults, ScriptedFault
from beam_zerobus.gateway import Gateway
from tests.gateway import wire
from tests.gateway.conftest import TABLE, batch, path, put
from tests.gateway.mutations import EVERY_KIND, batch_of_every_kind, damaged, mutated

HOSTILE = (pytest.mark.hostile, pytest.mark.timeout(600))


def settled(condition: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def address(gateway: Gateway) -> tuple[str, int]:
    host, port = gateway.location.removeprefix("grpc://").split(":")
    return host, int(port)


@pytest.fixture
def channel(start: Callable[..., Gateway]) -> Iterator[grpc.Channel]:
    """A plain gRPC channel to a gateway."""
    with grpc.insecure_channel(":".join(map(str, address(start())))) as channel:
        yield channel


# Clients that come and go.


def entries(directory: str) -> int:
    """Return how many entries a directory of this process has; 0 where the system has no such directory."""
    path = Path("/proc/self") / directory
    return sum(1 for _ in path.iterdir()) if path.exists() else 0


def open_files() -> int:
    return entries("fd")


def threads() -> int:
    """Return the threads of the system, those of Arrow among them; Python lists some of these after their end."""
    return entries("task")


def resident_bytes() -> int:
    """Return the memory of this process; 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0


def well_behaved(gateway: Gateway, number: int) -> None:
    with flight.connect(gateway.location) as client:
        assert put(client, [batch(number)])[0]["success"]


def vanishing(gateway: Gateway, number: int) -> None:
    """Send a batch and go without a result; the connection is reset."""
    first, second = wire.messages([batch(number)])
    with socket.create_connection(address(gateway)) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    with grpc.insecure_channel(":".join(map(str, address(gateway)))) as channel:
        put = channel.stream_stream("/arrow.flight.protocol.FlightService/DoPut")
        put(wire.named([first, second]), timeout=10)


def hanging(gateway: Gateway, number: int) -> None:
    """Send a batch, read its result, keep the call open for a while, and go."""
    with flight.connect(gateway.location) as client:
        writer, reader = client.do_put(path(), batch(1).schema, flight.FlightCallOptions(timeout=30))
        writer.write_batch(batch(number))
        assert json.loads(reader.read().to_pybytes())["success"]
        time.sleep(0.2)
        del writer, reader


def slow(gateway: Gateway, number: int) -> None:
    """Send a batch in pieces, with waits between them."""

    def pieces() -> Iterator[bytes]:
        for piece in wire.named(wire.messages([batch(number)])):
            time.sleep(0.1)
            yield piece

    with grpc.insecure_channel(":".join(map(str, address(gateway)))) as channel:
        [_] = wire.call(channel, pieces(), timeout=30)


CLIENTS = (well_behaved, vanishing, hanging, slow)
SURE = (well_behaved, hanging, slow)  # these have a result


def run_clients(gateway: Gateway, numbers: range, at_once: int) -> None:
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda number: CLIENTS[number % len(CLIENTS)](gateway, number), numbers))


@pytest.mark.parametrize(
    ("clients", "at_once"),
    [(40, 8), pytest.param(1_000, 64, marks=HOSTILE)],
)
def test_clients_of_all_kinds_leave_nothing_behind(start, table, emulator, clients, at_once):
    gateway = start(max_calls=4 * at_once)
    warm = at_once * 2
    run_clients(gateway, range(warm), at_once)
    assert settled(lambda: gateway.running_calls == 0)
    gc.collect()
    before, files, memory = threads(), open_files(), resident_bytes()
    run_clients(gateway, range(warm, warm + clients), at_once)
    assert settled(lambda: gateway.running_calls == 0)
    assert settled(lambda: threads() <= before + 8), threads()
    assert not [thread for thread in threading.enumerate() if thread.name == f"gateway-{TABLE}"]
    assert settled(lambda: open_files() <= files + 2)
    gc.collect()
    assert resident_bytes() - memory < 64 << 20
    assert emulator.stats.streams_opened == 1
    ids = table.to_arrow()["id"].to_pylist()
    assert len(ids) == len(set(ids))
    assert {n for n in range(warm + clients) if CLIENTS[n % len(CLIENTS)] in SURE} <= set(ids)


@pytest.mark.parametrize("bound", [{"max_batches_in_flight": 4}, {"max_bytes_in_flight": 4 << 20}])
def test_a_service_that_hangs_stops_the_client(start, table, emulator, bound):
    emulator.faults = Faults(script=(ScriptedFault("hang", at_call=1),))
    gateway = start(**bound)
    large = pa.record_batch({"id": range(1_000), "device": ["x" * 1_000] * 1_000})  # 1 MB
    sent = 0

    def send() -> None:
        nonlocal sent
        while sent < 500:
            writer.write_batch(large)
            sent += 1

    with flight.connect(gateway.location) as client:
        writer, _ = client.do_put(path(), large.schema, flight.FlightCallOptions(timeout=4))
        for act in (send, writer.close):
            with pytest.raises((pa.ArrowException, flight.FlightError, OSError)):
                act()
    assert 4 <= sent < 100  # 4 MB without a result, and what the sockets hold
    emulator.kill()  # ends what hangs
    assert settled(lambda: gateway.running_calls == 0)


def test_flush_does_not_fail_because_of_another_client(start, table):
    failing = batch(*[None] * 20_000)
    with flight.connect(start().location) as client:
        writer, reader = client.do_put(path(), failing.schema)
        for _ in range(4):
            writer.write_batch(failing)  # more reasons than fit the connection, so results wait for the client
        for _ in range(20):  # the batches arrive meanwhile
            [flushed] = client.do_action(flight.Action("flush", TABLE.encode()))
            assert json.loads(flushed.body.to_pybytes())["flushed"]
            time.sleep(0.05)
        assert [len(json.loads(reader.read().to_pybytes())["failed_rows"]) for _ in range(4)] == [20_000] * 4
        writer.close()


# Garbage.


@pytest.mark.parametrize(("seed", "calls"), [(0, 60), *(pytest.param(n, 400, marks=HOSTILE) for n in range(1, 4))])
def test_damaged_bytes_never_stop_the_gateway(start, table, seed, calls):
    gateway = start()
    chance = random.Random(seed)
    with wire.recorder(address(gateway)) as (location, recorded), flight.connect(location) as client:
        put(client, [batch(*range(1_000, 1_010))])
        client.close()
        content = recorded()
    for _ in range(calls):
        with socket.create_connection(address(gateway), 10) as raw:
            try:
                raw.sendall(damaged(content, chance))
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(65_536):
                    pass
            except OSError:
                continue
    assert settled(lambda: gateway.running_calls == 0)
    well_behaved(gateway, 7)


def device_batch(first: int, chance: random.Random) -> pa.RecordBatch:
    devices = pa.array([f"device-{n}" for n in range(first, first + 8)])
    if chance.random() < 0.3:
        devices = devices.dictionary_encode()
    return pa.record_batch({"id": pa.array(range(first, first + 8), pa.int64()), "device": devices})


@pytest.mark.parametrize(("seed", "calls"), [(0, 50), *(pytest.param(n, 600, marks=HOSTILE) for n in range(1, 4))])
def test_damaged_messages_never_make_a_wrong_row(channel, table, seed, calls):
    chance = random.Random(seed)
    written = 0
    with wire.Oracle() as oracle, grpc.insecure_channel(f"127.0.0.1:{oracle.port}") as to_oracle:
        for number in range(calls):
            batches = [device_batch(number * 100 + 10 * n, chance) for n in range(3)]
            batches = [one.cast(batches[0].schema) for one in batches]
            sent = mutated(wire.messages(batches, chance.choice((None, "lz4", "zstd"))), chance)
            wire.call(to_oracle, wire.named(sent))
            for answer in wire.call(channel, wire.named(sent)):
                outcome = json.loads(answer[answer.index(b'{"') :])  # of a PutResult with one field
                written += outcome.get("written", 0)
        rows = [(row["id"], row["device"]) for row in table.to_arrow().to_pylist()]
        assert set(rows) <= oracle.rows
    assert len(rows) >= written > calls
    answers = wire.call(channel, wire.named(wire.messages([batch(7)])))
    assert b'"success":true' in answers[0]


@pytest.mark.parametrize(("seed", "calls"), [(0, 60), *(pytest.param(n, 600, marks=HOSTILE) for n in range(1, 4))])
def test_damaged_messages_of_every_kind_never_stop_the_gateway(channel, emulator, seed, calls):
    table = emulator.create_table(TABLE, EVERY_KIND)
    chance = random.Random(seed)
    written = 0
    for _ in range(calls):
        batches = [batch_of_every_kind(chance)] * 2
        sent = mutated(wire.messages(batches, chance.choice((None, "lz4", "zstd"))), chance)
        for answer in wire.call(channel, wire.named(sent)):
            written += json.loads(answer[answer.index(b'{"') :]).get("written", 0)
    assert table.count_rows() >= written > calls
    assert b'"success":true' in wire.call(channel, wire.named(wire.messages([batch(7)])))[0]


def test_a_batch_without_its_offsets(channel, table):
    schema, (header, body) = wire.messages([batch(*range(8))])
    offsets = (4 * 9).to_bytes(8, "little")  # the length of the buffer
    assert header.count(offsets) == 1
    sent = [schema, wire.Message(header.replace(offsets, bytes(8)), body)]
    [answer] = wire.call(channel, wire.named(sent))
    assert b"A RecordBatch is damaged" in answer
    assert table.count_rows() == 0


@pytest.mark.parametrize(
    "encoded",
    [
        [],
        [b""],
        [b"\xff" * 100],
        [wire.Message(b"", b"").encoded()],
        [wire.Message(b"", b"").encoded(table=TABLE)],
        [wire.messages([batch(1)])[0].encoded()],
        [wire.messages([batch(1)])[1].encoded(table=TABLE)],
    ],
    ids=["nothing", "empty", "noise", "no-header", "no-schema", "no-table", "no-schema-but-rows"],
)
def test_a_call_without_its_first_message(channel, table, encoded):
    assert wire.call(channel, encoded) == []
    assert table.count_rows() == 0


def test_a_message_with_metadata_only(client, table):
    writer, reader = client.do_put(path(), batch(1).schema)
    writer.write_metadata(b"x")
    last = json.loads(reader.read().to_pybytes())
    assert last["status"] == "INVALID_ARGUMENT"
    assert "no RecordBatch" in last["error"]
    with pytest.raises(pa.ArrowInvalid):
        writer.close()


def test_a_name_that_is_not_utf8_ends_the_call(channel, emulator):
    table = emulator.create_table(TABLE, "id BIGINT, device STRING, place STRUCT<device: STRING>")
    for rows in (batch(1), pa.record_batch({"id": [1], "place": [{"device": "attic"}]})):
        schema, content = wire.messages([rows])
        sent = [wire.Message(schema.header.replace(b"device", b"devi\xffe"), b""), content]
        [answer] = wire.call(channel, wire.named(sent))
        assert b'"status":"INVALID_ARGUMENT","error":"A name in the schema is not UTF-8' in answer
    assert table.count_rows() == 0
