"""A call that waits for its client too long ends, and makes room for others."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
import weakref
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import flight

from beam_zerobus.emulator import Faults
from beam_zerobus.gateway import connections, idle
from beam_zerobus.gateway.connections import address_of, end_connection
from beam_zerobus.gateway.idle import IdleTime, IdleWatch
from tests.emulator.sdk import eventually
from tests.gateway.conftest import COLUMNS, batch, path, put

IDLE_SECONDS = 3.0  # a busy machine may stop a client that is not idle for a second or two
NO_DESCRIPTORS = pytest.mark.skipif(sys.platform == "win32", reason="Windows does not list a process's descriptors")


def descriptors_of(*sockets: socket.socket) -> int:
    """Return how many descriptors refer to these sockets; other threads open and close others meanwhile."""
    wanted, found = {os.fstat(one.fileno()).st_ino for one in sockets}, 0
    for entry in list(Path("/dev/fd").iterdir()):
        with suppress(OSError):
            found += os.fstat(int(entry.name)).st_ino in wanted
    return found


def read(reader) -> dict:
    return json.loads(reader.read().to_pybytes())


def test_an_idle_client_reads_why_its_call_ends_and_goes_on_with_another(start, table):
    gateway = start(idle_timeout=IDLE_SECONDS)
    with flight.connect(gateway.location) as client:
        writer, reader = client.do_put(path(), batch(1).schema)
        writer.write_batch(batch(1))
        assert read(reader)["success"]
        last = read(reader)  # comes by itself
        assert (last["batch"], last["status"]) == (1, "UNAVAILABLE")
        assert last["error"] == "The call was idle for 3 s, the limit: make another one"
        with pytest.raises(flight.FlightUnavailableError, match="The call was idle for 3 s"):
            writer.close()
        assert put(client, [batch(2)])[0]["success"]  # over the same connection
    assert sorted(table.to_arrow()["id"].to_pylist()) == [1, 2]


@NO_DESCRIPTORS
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_client_that_hangs_makes_room(start, table, host):
    gateway = start(idle_timeout=IDLE_SECONDS, max_calls=1, host=host)
    with flight.connect(gateway.location) as hanging, flight.connect(gateway.location) as other:
        writer, reader = hanging.do_put(path(), batch(1).schema)
        writer.write_batch(batch(1))
        assert read(reader)["success"]
        with pytest.raises(flight.FlightUnavailableError, match="as many calls as it may"):
            put(other, [batch(2)])
        eventually(lambda: gateway.running_calls == 0)
        assert put(other, [batch(3)])[0]["success"]
        with pytest.raises((pa.ArrowException, flight.FlightError)):
            writer.close()
    assert sorted(table.to_arrow()["id"].to_pylist()) == [1, 3]


@NO_DESCRIPTORS
def test_a_client_that_reads_no_results_is_ended(start, table):
    gateway = start(idle_timeout=1)
    failing = batch(*[None] * 20_000)
    with flight.connect(gateway.location) as client:
        writer, _ = client.do_put(path(), failing.schema)
        for _ in range(4):
            writer.write_batch(failing)  # more reasons than fit the connection
        eventually(lambda: gateway.running_calls == 1)
        eventually(lambda: gateway.running_calls == 0)
        with pytest.raises((pa.ArrowException, flight.FlightError)):
            writer.close()


def test_a_slow_service_is_no_idle_client(start, table, emulator):
    emulator.faults = Faults(ack_delay=IDLE_SECONDS + 2)
    with flight.connect(start(idle_timeout=IDLE_SECONDS).location) as client:
        assert [result["success"] for result in put(client, [batch(1), batch(2)])] == [True, True]


def test_an_active_call_keeps_the_connection_that_it_shares(start, table, monkeypatch):
    monkeypatch.setattr(idle, "_GRACE", 0.2)
    gateway = start(idle_timeout=IDLE_SECONDS)
    sent = 0
    with flight.connect(gateway.location) as client:
        silent, _ = client.do_put(path(), batch(1).schema)
        active, reader = client.do_put(path(), batch(1).schema)
        end = time.monotonic() + 2 * IDLE_SECONDS  # longer than timeout and grace together
        while time.monotonic() < end:
            active.write_batch(batch(sent))
            assert read(reader)["success"]
            sent += 1
            time.sleep(0.1)
        active.close()
        with pytest.raises((pa.ArrowException, flight.FlightError)):
            silent.close()
    assert sorted(table.to_arrow()["id"].to_pylist()) == list(range(sent))


@NO_DESCRIPTORS
def test_an_action_keeps_the_connection_that_it_shares_with_an_idle_call(start, table, emulator, monkeypatch):
    monkeypatch.setattr(idle, "_GRACE", 0.2)
    gateway = start(idle_timeout=IDLE_SECONDS)
    emulator.create_table("main.iot.slow", COLUMNS)
    with flight.connect(gateway.location) as client, flight.connect(gateway.location) as other:
        silent, _ = client.do_put(path(), batch(1).schema)
        emulator.faults = Faults(ack_delay=2 * IDLE_SECONDS)
        slow, reader = other.do_put(path("main.iot.slow"), batch(1).schema)
        slow.write_batch(batch(1))
        eventually(lambda: emulator.stats.streams_opened == 1)  # the batch is accepted
        [flushed] = client.do_action(flight.Action("flush", b"main.iot.slow"))
        assert json.loads(flushed.body.to_pybytes())["flushed"]
        assert read(reader)["success"]
        slow.close()
        with pytest.raises((pa.ArrowException, flight.FlightError)):
            silent.close()


class FakeCall:
    """A call of one client that is idle, or becomes so later."""

    peer = "ipv4:192.0.2.1:1"

    def __init__(self, *, idle_after: float = 0.0) -> None:
        self._idle_at = time.monotonic() + idle_after
        self.notified_at: float | None = None

    @property
    def idle_seconds(self) -> float:
        return 3600.0 if time.monotonic() >= self._idle_at else 0.0

    def end_idle(self, seconds: float) -> None:
        assert self.notified_at is None
        self.notified_at = time.monotonic()


def test_each_call_of_a_connection_has_time_to_end_itself(monkeypatch):
    calls = [FakeCall(), FakeCall(idle_after=1.5)]
    ended = []
    monkeypatch.setattr(idle, "end_connection", lambda *_: ended.append(time.monotonic()) or True)
    with closing(IdleWatch(lambda: calls, list, port=1, timeout=0.1)):
        eventually(lambda: ended)
    assert ended[0] - calls[1].notified_at >= idle._GRACE


def test_a_closed_watch_keeps_no_call():
    calls = [FakeCall()]
    kept = weakref.ref(calls[0])
    with closing(IdleWatch(lambda: calls, list, port=1, timeout=0.1)) as watch:
        eventually(lambda: calls[0].notified_at)
    calls.clear()
    assert kept() is None, watch  # pyarrow never lets go of a server, and so of its watch


def test_the_watch_goes_on_after_an_error(caplog):
    call = FakeCall()
    faults = iter([OSError(errno.EMFILE, "Too many open files")])

    def calls():
        for fault in faults:
            raise fault
        return [call]

    with closing(IdleWatch(calls, list, port=1, timeout=0.1)):
        eventually(lambda: call.notified_at)
    assert "Idle calls could not be ended, the gateway tries again: OSError" in caplog.text


def test_one_more_client_than_the_limit_is_rejected(start, table):
    gateway = start(max_clients=1)
    with flight.connect(gateway.location) as first, flight.connect(gateway.location) as second:
        writer, reader = first.do_put(path(), batch(1).schema)
        writer.write_batch(batch(1))
        assert read(reader)["success"]
        assert put(first, [batch(2)])[0]["success"]  # of the same connection
        with pytest.raises(flight.FlightUnavailableError, match="wait, or have its operator raise max_cl"):
            put(second, [batch(3)])
        writer.close()
        eventually(lambda: gateway.running_calls == 0)
        assert put(second, [batch(4)])[0]["success"]


def test_a_call_waits_for_its_client_only_where_nothing_else_is_to_do():
    waits = IdleTime()
    with waits.reading:
        assert waits.seconds() == 0  # a batch waits for the service
        with waits.nothing_to_answer:
            time.sleep(0.05)
            assert waits.seconds() > 0.02
    with waits.nothing_to_answer:
        assert waits.seconds() == 0  # a batch is converted
    with waits.writing:
        time.sleep(0.05)
        assert waits.seconds() > 0.02
    assert waits.seconds() == 0


@NO_DESCRIPTORS
def test_only_the_connection_of_the_address_ends():
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        ends = []
        for _ in range(2):
            client = socket.create_connection(server.getsockname(), 5)
            ends.append((client, server.accept()[0]))
        port = ends[0][0].getsockname()[1]
        sockets = [server, *ends[0], *ends[1]]
        assert end_connection(f"ipv4:127.0.0.1:{port}", server.getsockname()[1])
        assert descriptors_of(*sockets) == len(sockets)
        assert ends[0][0].recv(1) == b""
        ends[1][1].sendall(b"x")
        assert ends[1][0].recv(1) == b"x"
        assert not end_connection("ipv4:192.0.2.1:1", 1)
        assert not end_connection("unix:/run/gateway", 1)
        for pair in ends:
            for one in pair:
                one.close()


@NO_DESCRIPTORS
def test_a_connection_of_the_same_address_to_another_port_stays():
    with ExitStack() as stack:
        pairs = []
        source = 0
        for _ in range(2):
            server = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))
            client = stack.enter_context(closing(socket.socket()))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind(("127.0.0.1", source))
            client.connect(server.getsockname())
            client.settimeout(5)
            source = client.getsockname()[1]
            pairs.append((client, stack.enter_context(closing(server.accept()[0])), server.getsockname()[1]))
        assert end_connection(f"ipv4:127.0.0.1:{source}", pairs[1][2])
        assert pairs[1][0].recv(1) == b""
        pairs[0][1].sendall(b"x")
        assert pairs[0][0].recv(1) == b"x"


@NO_DESCRIPTORS
def test_other_sockets_stay_as_they_are():
    ends = socket.socketpair()
    socket.setdefaulttimeout(5)
    try:
        assert not end_connection("ipv4:192.0.2.1:1", 1)
        assert os.get_blocking(ends[0].fileno())
    finally:
        socket.setdefaulttimeout(None)
        for end in ends:
            end.close()


def test_a_system_that_does_not_list_descriptors(monkeypatch, tmp_path):
    monkeypatch.setattr(connections, "_DESCRIPTORS", tmp_path / "none")
    assert not end_connection("ipv4:192.0.2.1:1", 1)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:50123", ("127.0.0.1", 50123)),
        ("ipv6:[::1]:50123", ("::1", 50123)),
        ("ipv6:%5B::1%5D:50123", ("::1", 50123)),
        ("ipv6:%5Bfe80::1%254%5D:50123", ("fe80::1", 50123)),
        ("ipv6:[::ffff:10.0.0.1]:50123", ("10.0.0.1", 50123)),
        ("unix:", None),
        ("", None),
    ],
)
def test_addresses_as_grpc_writes_them(peer, address):
    assert address_of(peer) == address
