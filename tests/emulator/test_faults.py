"""Faults: each kind as the real SDK sees it, and the rows in the table afterwards."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable

import pytest
from zerobus.sdk.sync import NonRetriableException, ZerobusException

from beam_zerobus.emulator import Emulator, Faults, ScriptedFault
from beam_zerobus.emulator.faults import FaultInjector

from .sdk import FORMATS, RawStream, Stream, eventually

TABLE = "main.iot.air"
DDL = "id BIGINT"


@pytest.fixture(autouse=True)
def table(emulator: Emulator) -> None:
    emulator.create_table(TABLE, DDL)


def inject(emulator: Emulator, *script: ScriptedFault, **settings) -> None:
    emulator.faults = Faults(script=script, **settings)


def ids(emulator: Emulator) -> list[int]:
    return sorted(emulator.table(TABLE).to_arrow().column("id").to_pylist())


def failure(action: Callable[[], object]) -> str:
    with pytest.raises(ZerobusException) as raised:
        action()
    return str(raised.value)


@pytest.mark.parametrize("wire_format", FORMATS)
@pytest.mark.parametrize("after_storing", [False, True])
@pytest.mark.parametrize("kind", ["status", "drop"])
def test_a_stream_ends_before_or_after_storing(
    emulator: Emulator, wire_format: str, kind: str, after_storing: bool
) -> None:
    inject(emulator, ScriptedFault(kind, at_call=2, code="ABORTED", after_storing=after_storing))
    stream = Stream(emulator, TABLE, DDL, wire_format)
    stream.wait(stream.send([{"id": 1}]))
    offset = stream.send([{"id": 2}])
    message = failure(lambda: stream.wait(offset))
    assert ("injected fault: ABORTED" in message) == (kind == "status")
    assert ids(emulator) == ([1, 2] if after_storing else [1])
    eventually(lambda: emulator.stats.streams[0].end == ("ABORTED" if kind == "status" else "gone"))
    assert emulator.stats.faults == {kind: 1}
    assert emulator.stats.tables[TABLE].rows_acknowledged == 1
    with Stream(emulator, TABLE, DDL, wire_format) as again:
        again.send([{"id": 3}])
        again.flush()


def test_a_dropped_connection_gets_no_status(emulator: Emulator) -> None:
    inject(emulator, ScriptedFault("drop", at_call=1))
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
        stream.create(TABLE)
        stream.receive()
        stream.send_json(0, "{}")
        code, details = stream.end()
    assert code.name == "UNAVAILABLE"
    assert "injected" not in details, "it was the connection that broke"


@pytest.mark.parametrize("wire_format", FORMATS)
def test_a_stream_can_be_rejected(emulator: Emulator, wire_format: str) -> None:
    inject(emulator, ScriptedFault("reject", at_stream=1, code="NOT_FOUND", message="moved away"))
    with pytest.raises(NonRetriableException, match="moved away"):
        Stream(emulator, TABLE, DDL, wire_format)
    Stream(emulator, TABLE, DDL, wire_format).close()
    assert emulator.stats.streams_opened == 1


@pytest.mark.parametrize("wire_format", FORMATS)
def test_the_answer_to_a_creation_can_be_wrong(emulator: Emulator, wire_format: str) -> None:
    inject(emulator, ScriptedFault("wrong_answer", at_stream=1))
    assert "Unexpected response" in failure(lambda: Stream(emulator, TABLE, DDL, wire_format))
    Stream(emulator, TABLE, DDL, wire_format).close()
    assert emulator.stats.streams_opened == 1
    assert emulator.stats.faults == {"wrong_answer": 1}


@pytest.mark.parametrize("wire_format", FORMATS)
def test_a_stream_can_end_without_an_error(emulator: Emulator, wire_format: str) -> None:
    inject(emulator, ScriptedFault("status", at_call=2, code="OK"))
    stream = Stream(emulator, TABLE, DDL, wire_format)
    stream.wait(stream.send([{"id": 1}]))
    assert "closed" in failure(lambda: stream.wait(stream.send([{"id": 2}])))
    assert ids(emulator) == [1]
    eventually(lambda: emulator.stats.streams[0].end == "OK")


@pytest.mark.parametrize("wire_format", FORMATS)
def test_an_acknowledgement_can_be_wrong(emulator: Emulator, wire_format: str) -> None:
    inject(emulator, ScriptedFault("wrong_ack", at_call=2))
    stream = Stream(emulator, TABLE, DDL, wire_format)
    stream.wait(stream.send([{"id": 1}]))
    text = "claims 1000001 records" if wire_format == "arrow" else "Invalid durability ACK offset 1000000"
    assert text in failure(lambda: stream.wait(stream.send([{"id": 2}])))
    eventually(lambda: emulator.stats.streams_open == 0)
    assert ids(emulator) == [1]


@pytest.mark.parametrize("wire_format", FORMATS)
def test_acknowledgements_are_late(emulator: Emulator, wire_format: str) -> None:
    inject(emulator, ScriptedFault("slow_ack", at_call=2, delay=0.6))
    with Stream(emulator, TABLE, DDL, wire_format) as stream:
        stream.wait(stream.send([{"id": 1}]))
        started = time.monotonic()
        late = stream.send([{"id": 2}])
        stream.send([{"id": 3}])
        eventually(lambda: len(ids(emulator)) == 3)
        stream.wait(late)
        assert time.monotonic() - started >= 0.6
        stream.flush()


def test_every_acknowledgement_can_wait(emulator: Emulator) -> None:
    inject(emulator, ack_delay=0.3)
    with Stream(emulator, TABLE, DDL) as stream:
        started = time.monotonic()
        for index in range(100):
            stream.send([{"id": index}])
        stream.flush()
        assert 0.3 <= time.monotonic() - started < 100 * 0.3, "they wait side by side"


def test_acknowledgements_can_be_coarse(emulator: Emulator) -> None:
    inject(emulator, ack_interval=0.5)
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
        stream.create(TABLE)
        stream.receive()
        started = time.monotonic()
        stream.send_json(0, "{}")
        offsets = [stream.receive().ingest_record_response.durability_ack_up_to_offset]  # at once
        for offset in range(1, 10):
            stream.send_json(offset, "{}")
        while offsets[-1] < 9:
            offsets.append(stream.receive().ingest_record_response.durability_ack_up_to_offset)
    elapsed = time.monotonic() - started
    assert elapsed >= 0.5
    assert len(offsets) <= elapsed / 0.5 + 1


@pytest.mark.parametrize("wire_format", FORMATS)
def test_an_acknowledgement_can_be_missing(emulator: Emulator, wire_format: str) -> None:
    inject(emulator, ScriptedFault("no_ack", at_call=1, times=2))
    stream = Stream(emulator, TABLE, DDL, wire_format, patience_ms=1000)
    offset = stream.send([{"id": 1}])
    assert "ack timeout" in failure(lambda: stream.wait(offset))
    eventually(lambda: ids(emulator) == [1])  # on a busy machine it may be stored after the client gave up
    with Stream(emulator, TABLE, DDL, wire_format) as again:
        again.send([{"id": 2}])
        again.send([{"id": 3}])
        again.flush()
    assert ids(emulator) == [1, 2, 3]


@pytest.mark.parametrize("wire_format", FORMATS)
def test_a_server_can_hang(emulator: Emulator, wire_format: str) -> None:
    inject(emulator, ScriptedFault("hang", at_call=1))
    stream = Stream(emulator, TABLE, DDL, wire_format, patience_ms=1000)
    offset = stream.send([{"id": 1}])
    assert "ack timeout" in failure(lambda: stream.wait(offset))
    eventually(lambda: emulator.stats.streams_open == 0)
    assert ids(emulator) == []


@pytest.mark.parametrize("wire_format", FORMATS)
def test_a_stream_is_rotated(emulator: Emulator, wire_format: str) -> None:
    inject(emulator, ScriptedFault("close", at_call=2, delay=0.5))
    stream = Stream(emulator, TABLE, DDL, wire_format)
    stream.wait(stream.send([{"id": 1}]))
    offset = stream.send([{"id": 2}])
    # What was sent before the signal may be acknowledged yet, or not; the stream is over in any case.
    with contextlib.suppress(ZerobusException):
        stream.wait(offset)
    eventually(lambda: emulator.stats.streams_open == 0)
    eventually(lambda: ids(emulator) == [1, 2])  # it may be stored after the stream has ended


def test_the_close_signal_says_when(emulator: Emulator) -> None:
    inject(emulator, ScriptedFault("close", at_call=1, delay=2.5))  # long enough to store and acknowledge the call
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
        stream.create(TABLE)
        stream.receive()
        stream.send_json(0, "{}")
        answers = [stream.receive(), stream.receive()]
        kinds = {answer.WhichOneof("payload"): answer for answer in answers}
        assert kinds["close_stream_signal"].close_stream_signal.duration.ToNanoseconds() == 2_500_000_000
        assert "ingest_record_response" in kinds
        code, message = stream.end()
    assert code.name == "UNAVAILABLE"
    assert message.startswith("Error 6002")


@pytest.mark.parametrize(("http_status", "times"), [(401, 1), (403, 1), (429, 9), (503, 9)])
def test_the_token_endpoint_fails(emulator: Emulator, http_status: int, times: int) -> None:
    inject(emulator, ScriptedFault("token", at_token=1, times=times, http_status=http_status))
    assert str(http_status) in failure(lambda: Stream(emulator, TABLE, DDL))
    assert emulator.stats.tokens_issued == 0
    emulator.faults = None
    Stream(emulator, TABLE, DDL).close()


def test_counts_start_anew_and_can_be_of_one_table(emulator: Emulator) -> None:
    emulator.create_table("main.iot.other", DDL)
    inject(emulator, ScriptedFault("status", at_call=2, table=TABLE))
    with Stream(emulator, "main.iot.other", DDL) as other, contextlib.closing(Stream(emulator, TABLE, DDL)) as stream:
        other.wait(other.send([{"id": 1}]))
        other.wait(other.send([{"id": 1}]))
        stream.wait(stream.send([{"id": 1}]))
        emulator.faults = emulator.faults
        stream.wait(stream.send([{"id": 2}]))
        offset = stream.send([{"id": 3}])
        assert "injected" in failure(lambda: stream.wait(offset))


def test_random_faults_follow_their_seed() -> None:
    def struck(seed: int, rate: float = 0.2) -> list:
        injector = FaultInjector(Faults(seed=seed, rate=rate))
        return [injector.on_call("a.b.c") for _ in range(500)]

    assert struck(1) == struck(1)
    assert struck(1) != struck(2)
    assert 50 < sum(fault is not None for fault in struck(1)) < 150
    assert {fault.kind for fault in struck(1) if fault} == {"status", "drop", "slow_ack", "close"}
    assert not any(struck(1, rate=0.0))
    assert all(struck(1, rate=1.0))
    injector = FaultInjector(Faults(rate=1, kinds=("hang",)))
    assert injector.on_stream("a.b.c") is None
    assert injector.on_token(None) is None


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: ScriptedFault("explode", at_call=1), "'explode': use one of reject"),
        (lambda: ScriptedFault("status"), "set at_call"),
        (lambda: ScriptedFault("status", at_stream=1), "set at_call"),
        (lambda: ScriptedFault("reject", at_call=1, at_stream=1), "set at_stream, and only it"),
        (lambda: ScriptedFault("status", at_call=0), "count from 1"),
        (lambda: ScriptedFault("status", at_call=1, code="BAD"), "'BAD': use one of CANCELLED"),
        (lambda: ScriptedFault("reject", at_stream=1, code="OK"), "'OK'"),
        (lambda: ScriptedFault("wrong_answer", at_call=1), "set at_stream"),
        (lambda: Faults(rate=2), r"rate=2: set a chance"),
        (lambda: Faults(ack_delay=-1), "ack_delay=-1"),
        (lambda: Faults(kinds=("status", "nothing")), "'nothing'"),
        (lambda: Faults(codes=("OK",)), "'OK'"),
    ],
)
def test_wrong_faults_are_rejected(make: Callable[[], object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make()


@pytest.mark.parametrize("wire_format", FORMATS)
def test_a_restart_keeps_ports_and_acknowledged_rows(emulator: Emulator, wire_format: str) -> None:
    endpoint, workspace = emulator.endpoint, emulator.workspace_url
    stream = Stream(emulator, TABLE, DDL, wire_format)
    stream.wait(stream.send([{"id": 1}]))
    emulator.kill()
    with pytest.raises(ZerobusException):
        stream.wait(stream.send([{"id": 2}]))
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2])), timeout=2)
    emulator.start()
    assert (emulator.endpoint, emulator.workspace_url) == (endpoint, workspace)
    with Stream(emulator, TABLE, DDL, wire_format) as again:
        again.send([{"id": 3}])
        again.flush()
    assert {1, 3} <= set(ids(emulator)) <= {1, 2, 3}


def test_a_killed_emulator_accepts_no_connection(emulator: Emulator) -> None:
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
        stream.create(TABLE)
        stream.receive()
        killer = threading.Thread(target=emulator.kill)
        killer.start()
        stream.end()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", int(emulator.endpoint.rpartition(":")[2])), timeout=2)
        killer.join()


def test_acknowledged_rows_outlive_kills_under_load(emulator: Emulator) -> None:
    acknowledged: list[int] = []
    stop = threading.Event()

    def load(worker: int) -> None:
        number = worker * 1_000_000
        while not stop.is_set():
            with contextlib.suppress(ZerobusException):
                stream = Stream(emulator, TABLE, DDL, FORMATS[worker % 3])
                while not stop.is_set():
                    number += 1
                    stream.wait(stream.send([{"id": number}]))
                    acknowledged.append(number)
                stream.close()

    threads = [threading.Thread(target=load, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        seen = len(acknowledged)
        eventually(lambda seen=seen: len(acknowledged) > seen + 20, seconds=60)
        emulator.restart(downtime=0.1)
    stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    stored = ids(emulator)
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored)), "nobody sent a row twice"
