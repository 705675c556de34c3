"""The writer under faults: what is sent again, what is not, when it gives up, and what it says then."""

import pickle
import threading
import time
from dataclasses import replace

import pyarrow as pa
import pytest

from beam_zerobus import (
    AuthenticationError,
    ClosedError,
    ConversionError,
    OAuthClientCredentials,
    Retry,
    TransientError,
)
from beam_zerobus.delivery.retry import Breaker
from beam_zerobus.emulator import Emulator, Faults, ScriptedFault
from beam_zerobus.encoding import ArrowEncoder
from beam_zerobus.writer import channel
from tests.delivery.readings import DDL, FORMATS, QUICK, ids, rows
from tests.emulator.sdk import eventually


def sent_ids(emulator):
    """Return the first id of each recorded protobuf call, in the order of arrival."""
    return [call.records[0] for call in emulator.stats.calls]


@pytest.fixture(autouse=True)
def table(emulator):
    return emulator.create_table("main.iot.air", DDL)


@FORMATS
@pytest.mark.parametrize(
    "code", ["UNAVAILABLE", "INTERNAL", "ABORTED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED"]
)
def test_a_transient_status_is_tried_again(emulator, connect, wire_format, code):
    emulator.faults = Faults(script=(ScriptedFault("status", at_call=2, code=code),))
    writer = connect(schema=DDL, wire_format=wire_format, retry=QUICK)
    assert writer.send_batch(rows(0)).attempts == 1
    assert writer.send_batch(rows(10)).attempts == 2
    assert ids(emulator) == list(range(20))
    assert writer.counters.retries == 1
    assert writer.counters.rows_replayed == 10


@FORMATS
def test_a_dropped_connection_resends_only_what_was_not_acknowledged(emulator, connect, wire_format):
    writer = connect(schema=DDL, wire_format=wire_format, retry=QUICK)
    for n in range(3):
        writer.send_batch(rows(n * 10))
    # No acknowledgement is on its way while the connection is cut: one that is lost there would be counted below.
    emulator.faults = Faults(script=(ScriptedFault("drop", at_call=2),), ack_delay=0.5)
    submissions = [writer.submit(rows(30 + n * 10)) for n in range(4)]
    assert all(submission.result(30).success for submission in submissions)
    assert sorted(set(ids(emulator))) == list(range(70))
    first = [call for call in emulator.stats.calls if call.stream_id == emulator.stats.streams[0].stream_id]
    second = [call for call in emulator.stats.calls if call.stream_id == emulator.stats.streams[1].stream_id]
    assert len(emulator.stats.streams) == 2
    assert len(first) + len(second) <= 3 + 4 + 4
    acknowledged_before = emulator.stats.streams[0].acknowledged_offset + 1
    assert len(second) == 7 - acknowledged_before  # what the first stream had acknowledged is not sent again


@FORMATS
def test_a_lost_acknowledgement_writes_twice_and_is_counted(emulator, connect, wire_format):
    emulator.faults = Faults(script=(ScriptedFault("status", at_call=1, after_storing=True),))
    writer = connect(schema=DDL, wire_format=wire_format, retry=QUICK)
    assert writer.send_batch(rows(0)).success
    assert len(ids(emulator)) == 20
    assert writer.counters.rows_replayed == 10


@FORMATS
def test_rotation_is_not_a_failure(emulator, connect, wire_format):
    emulator.faults = Faults(script=tuple(ScriptedFault("close", at_call=n, delay=0.1) for n in (1, 4, 7)))
    writer = connect(schema=DDL, wire_format=wire_format, retry=Retry(max_retries=0))
    for n in range(10):
        assert writer.send_batch(rows(n * 10)).success
        time.sleep(0.06)
    assert sorted(set(ids(emulator))) == list(range(100))
    assert writer.counters.retries == 0
    assert emulator.stats.streams_opened >= 3


@FORMATS
def test_an_expired_token_is_renewed_unnoticed(connect, wire_format):
    with Emulator() as emulator:
        emulator.create_table("main.iot.air", DDL)
        writer = connect(
            schema=DDL,
            wire_format=wire_format,
            retry=Retry(max_retries=0),
            endpoint=emulator.endpoint,
            workspace_url=emulator.workspace_url,
            credentials=OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
        )
        for n in range(4):
            assert writer.send_batch(rows(n * 10)).success
            emulator.advance_clock(emulator.token_life)
        assert sorted(set(ids(emulator))) == list(range(40))
        assert emulator.stats.tokens_issued >= 4


def test_a_token_endpoint_that_is_overloaded_is_tried_again(emulator, connect):
    emulator.faults = Faults(
        script=(
            ScriptedFault("token", at_token=1, times=2, http_status=503),
            ScriptedFault("token", at_token=3, http_status=429),
        )
    )
    assert connect(schema=DDL, retry=QUICK).send_batch(rows(0)).success


def test_a_rejected_secret_is_final_at_once(emulator, connect):
    emulator.faults = Faults(script=(ScriptedFault("token", at_token=1, times=9, http_status=401),))
    with pytest.raises(AuthenticationError):
        connect(schema=DDL).send_batch(rows(0))
    assert emulator.stats.faults["token"] == 1


def test_retries_are_counted_anew_after_progress(emulator, connect):
    emulator.faults = Faults(script=tuple(ScriptedFault("status", at_call=n) for n in range(2, 20, 3)))
    writer = connect(schema=DDL, retry=Retry(max_retries=1, initial_backoff=0.01))
    for n in range(12):
        assert writer.send_batch(rows(n * 10)).success
    assert sorted(set(ids(emulator))) == list(range(120))
    assert writer.counters.retries == 6


def test_after_the_last_retry_the_error_says_what_is_not_written(emulator, connect):
    writer = connect(schema=DDL, retry=Retry(max_retries=2, initial_backoff=0.01))
    emulator.faults = Faults(script=(ScriptedFault("reject", at_stream=1, times=99),))
    with pytest.raises(TransientError) as raised:
        writer.send_batch(rows(0, 25))
    error = pickle.loads(pickle.dumps(raised.value))
    assert (error.attempts, error.acknowledged_rows, error.unacknowledged_rows) == (3, 0, 25)
    assert "UNAVAILABLE" in error.cause
    assert "main.iot.air" in str(error)
    assert "Retry(max_retries" in str(error)
    assert error.unacknowledged == (rows(0, 25),)
    assert ids(emulator) == []
    emulator.faults = Faults()
    assert writer.send_batch(error.unacknowledged[0]).success
    assert ids(emulator) == list(range(25))


def test_an_error_after_some_acknowledgements_counts_both(emulator, connect):
    emulator.create_table("main.iot.big", "id BIGINT, text STRING")
    writer = connect("main.iot.big", schema="id BIGINT, text STRING", retry=Retry(max_retries=0))
    batch = pa.record_batch({"id": range(30_000), "text": ["x" * 1000] * 30_000})
    # Payloads have 4 MiB, of which the window takes five: for the sixth to be called, the first must be acknowledged.
    emulator.faults = Faults(script=(ScriptedFault("status", at_call=6, times=99),))
    with pytest.raises(TransientError) as raised:
        writer.send_batch(batch)
    error = raised.value
    assert error.acknowledged_rows + error.unacknowledged_rows == 30_000
    assert 0 < error.acknowledged_rows <= emulator.table("main.iot.big").count_rows()
    assert [b["id"][0].as_py() for b in error.unacknowledged] == [error.acknowledged_rows]


def test_a_server_that_is_gone_and_back(emulator, connect):
    writer = connect(schema=DDL, retry=Retry(max_retries=1_000, initial_backoff=0.05, max_backoff=0.3))
    writer.send_batch(rows(0))
    emulator.kill()
    submission = writer.submit(rows(10))
    time.sleep(1)
    assert not submission.done
    emulator.start()
    assert submission.result(30).success
    assert sorted(set(ids(emulator))) == list(range(20))


def test_one_failure_that_hits_many_threads_is_recovered_once(emulator, connect):
    writer = connect(schema=DDL, retry=QUICK)
    writer.send_batch(rows(0))
    emulator.faults = Faults(script=(ScriptedFault("drop", at_call=20),))
    threads = [
        threading.Thread(target=lambda n=n: [writer.send_batch(rows(1000 + n * 100 + k * 10)) for k in range(5)])
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(ids(emulator))) == 10 + 16 * 50
    assert emulator.stats.streams_opened == 2
    # The SDK may notice the end while it sends: then a new stream is opened at once, which is no retry.
    assert writer.counters.retries <= 1


def test_close_gives_up_within_its_timeout(emulator, connect):
    emulator.faults = Faults(script=(ScriptedFault("hang", at_call=1),))
    writer = connect(schema=DDL)
    submission = writer.submit(rows(0))
    with pytest.raises(ClosedError, match="main.iot.air"):
        writer.close(0.5)
    with pytest.raises(ClosedError, match="main.iot.air"):
        submission.result(0)


def test_a_cancelled_submission_is_not_sent_again(emulator, connect):
    emulator.faults = Faults(rate=1.0, kinds=("reject",))  # no stream can be opened before the batch is cancelled
    writer = connect(schema=DDL, retry=Retry(initial_backoff=0.05, max_backoff=0.1, max_retries=1_000))
    dropped, kept = writer.submit(rows(0)), writer.submit(rows(10))
    writer.cancel(dropped)
    emulator.faults = Faults()
    with pytest.raises(ClosedError, match="cancelled"):
        dropped.result(0)
    assert kept.result(30).success
    assert ids(emulator) == list(range(10, 20))


def test_callers_wait_for_room(emulator, connect, monkeypatch):
    monkeypatch.setattr("beam_zerobus.delivery.limits.MAX_IN_FLIGHT_BYTES", 1000)
    emulator.faults = Faults(ack_delay=0.2)
    writer = connect(schema=DDL)
    for n in range(10):
        writer.submit(rows(n * 100, 100))
        assert writer.in_flight_bytes <= 2000
    writer.flush(30)
    assert writer.in_flight_bytes == 0
    assert len(ids(emulator)) == 1000


@pytest.mark.parametrize(("wire_format", "most"), [("proto", 400), ("arrow", 1000)])
def test_rows_that_the_sdk_keeps_one_by_one_count_for_more_than_their_bytes(
    emulator, connect, monkeypatch, wire_format, most
):
    monkeypatch.setattr("beam_zerobus.delivery.limits.MAX_IN_FLIGHT_BYTES", 24_000)
    # So long that all batches that need not wait for room are submitted meanwhile.
    emulator.faults = Faults(ack_delay=4.0 if wire_format == "arrow" else 1.0)
    writer = connect(schema=DDL, wire_format=wire_format)
    in_flight = []
    for n in range(10):
        writer.submit(rows(n * 100, 100))
        in_flight.append(writer.in_flight_rows)
    assert max(in_flight) == most
    writer.flush(30)
    assert len(ids(emulator)) == 1000


def test_an_idle_stream_is_closed_and_opened_again_on_demand(emulator, connect, monkeypatch):
    monkeypatch.setattr("beam_zerobus.delivery.limits.IDLE_CLOSE", 0.2)
    writer = connect(schema=DDL)
    writer.send_batch(rows(0))
    eventually(lambda: not emulator.stats.streams_open)
    assert emulator.stats.streams[0].end == "closed"
    assert writer.send_batch(rows(10)).success
    assert emulator.stats.streams_opened == 2
    assert writer.counters.retries == 0


def test_a_stream_that_was_lost_while_idle_is_replaced_without_counting_as_a_failure(emulator, connect):
    writer = connect(schema=DDL, retry=Retry(max_retries=0))
    writer.send_batch(rows(0))
    emulator.restart()
    assert writer.send_batch(rows(10)).success
    assert ids(emulator) == list(range(20))


def test_while_most_calls_fail_all_threads_pause_and_the_pause_is_counted(emulator, connect, monkeypatch):
    moment = [0.0]
    monkeypatch.setattr(channel, "Breaker", lambda: Breaker(clock=lambda: moment[0]))
    emulator.faults = Faults(script=(ScriptedFault("reject", at_stream=1, times=12),))
    writer = connect(schema=DDL, retry=Retry(max_retries=20, initial_backoff=0.001, max_backoff=0.01))
    first = writer.submit(rows(0))
    eventually(lambda: writer.counters.throttled_seconds >= 1.0)
    waiting = threading.Thread(target=lambda: writer.submit(rows(10)))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()  # until the moment when the pause is over
    moment[0] += 1.0
    waiting.join(30)
    assert not waiting.is_alive()
    assert first.result(30).success
    writer.flush(30)
    assert ids(emulator) == list(range(20))


def test_what_the_sdk_itself_rejects_is_an_error_at_once(connect, monkeypatch):
    def renamed(encoder, batch):
        for payload in real(encoder, batch):
            yield replace(payload, records=payload.records.rename_columns(["id", "nom"]))

    real = ArrowEncoder.encode
    monkeypatch.setattr(ArrowEncoder, "encode", renamed)
    with pytest.raises(ConversionError, match=r"main\.iot\.air: RecordBatch schema does not match stream schema"):
        connect(schema=DDL, wire_format="arrow").send_batch(rows(0))
