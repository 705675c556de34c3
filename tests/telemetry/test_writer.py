"""What a real writer at a real emulator reports to a real OTLP receiver; also under faults."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_zerobus import DebugFiles, Retry, Telemetry, TransientError, ZerobusWriter
from beam_zerobus.emulator import Emulator, Faults, RejectRows, ScriptedFault
from tests.telemetry.receiver import Receiver, SpanSeen

TABLE = "main.iot.air"
SEND = f"send {TABLE}"
DDL = "id BIGINT NOT NULL, name STRING"
QUICK = Retry(initial_backoff=0.01, max_backoff=0.05)
FORMATS = pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])


def rows(start: int, count: int = 10) -> pa.RecordBatch:
    names = pa.array([f"name-{i}" for i in range(start, start + count)], pa.string())
    return pa.record_batch({"id": pa.array(range(start, start + count), pa.int64()), "name": names})


@pytest.fixture(autouse=True)
def table(emulator: Emulator) -> None:
    emulator.create_table(TABLE, DDL)


@pytest.fixture
def watched(connect: Callable[..., ZerobusWriter], receive: Callable[..., Receiver]) -> Callable[..., Any]:
    """Make a writer and the receiver of its telemetry."""

    def make(protocol: str = "grpc", **settings: Any) -> tuple[ZerobusWriter, Receiver]:
        receiver = receive(protocol)
        telemetry = Telemetry(endpoint=receiver.endpoint, protocol=receiver.protocol, flush_timeout=30.0)
        return connect(TABLE, **{"schema": DDL, "retry": QUICK, "telemetry": telemetry, **settings}), receiver

    return make


def events(span: SpanSeen, name: str) -> list[dict[str, Any]]:
    return [attributes for event, attributes in span.events if event == name]


@FORMATS
def test_numbers_agree_with_the_service(
    emulator: Emulator, watched: Callable[..., Any], wire_format: str, protocol: str
) -> None:
    writer, receiver = watched(protocol, wire_format=wire_format)
    batches = [rows(n * 10, 10 + n) for n in range(20)]
    wire_bytes = 0
    for batch in batches:
        wire_bytes += writer.send_batch(batch).batch_size_bytes
    writer.flush_telemetry()
    seen, stored = receiver.seen, emulator.table(TABLE).count_rows()

    assert stored == sum(batch.num_rows for batch in batches)
    assert seen.total("messaging.client.sent.messages") == stored
    assert seen.total("beam_zerobus.rows", beam_zerobus__wire_format=wire_format) == stored
    assert seen.total("beam_zerobus.batches", beam_zerobus__outcome="acknowledged") == 20
    assert seen.total("beam_zerobus.arrow_bytes") == sum(batch.nbytes for batch in batches)
    assert seen.total("beam_zerobus.wire_bytes") == wire_bytes > 0
    assert seen.total("beam_zerobus.payloads") == 20
    assert seen.total("beam_zerobus.streams_opened") == emulator.stats.streams_opened == 1
    assert seen.total("beam_zerobus.streams_open") == 1
    assert seen.total("beam_zerobus.token_refreshes") == emulator.stats.tokens_issued
    assert seen.total("beam_zerobus.in_flight_rows") == seen.total("beam_zerobus.in_flight_bytes") == 0
    assert seen.total("beam_zerobus.retries") == seen.total("beam_zerobus.replayed_rows") == 0
    assert seen.count("beam_zerobus.ack_latency") == seen.count("beam_zerobus.encode_duration") == 20

    assert sorted(span.attributes["messaging.batch.message_count"] for span in seen.named(SEND)) == list(range(10, 30))
    assert sum(span.attributes["beam_zerobus.wire_bytes"] for span in seen.named(SEND)) == wire_bytes
    for span in seen.named(SEND):
        assert [child.name for child in seen.children(span)] == ["encode", "send", "wait"]
    assert len(seen.spans) == 80

    writer.close()
    assert seen.total("beam_zerobus.streams_open") == 0
    assert seen.total("beam_zerobus.streams_closed") == 1


@FORMATS
def test_levels_in_flight_follow_the_batches(emulator: Emulator, watched: Callable[..., Any], wire_format: str) -> None:
    writer, receiver = watched(wire_format=wire_format)
    assert writer.send_batch(rows(100)).success
    writer.flush_telemetry()  # the exporters are imported and connected: the next export takes less than the delay
    emulator.faults = Faults(ack_delay=5.0)
    submissions = [writer.submit(rows(n * 10)) for n in range(3)]
    writer.flush_telemetry()
    assert receiver.seen.total("beam_zerobus.in_flight_rows") == 30
    assert receiver.seen.total("beam_zerobus.in_flight_bytes") == writer.in_flight_bytes > 0
    for submission in submissions:
        submission.result(30)
    writer.flush_telemetry()
    assert (
        receiver.seen.total("beam_zerobus.in_flight_rows") == receiver.seen.total("beam_zerobus.in_flight_bytes") == 0
    )


def test_a_large_batch_has_a_span_for_each_payload(watched: Callable[..., Any]) -> None:
    writer, receiver = watched()
    ids = pa.array(range(12_000), pa.int64())
    batch = pa.record_batch({"id": ids, "name": pa.array(["x" * 1_000] * 12_000)})
    assert writer.send_batch(batch).success
    writer.flush_telemetry()
    (span,) = receiver.seen.named(SEND)
    names = [child.name for child in receiver.seen.children(span)]
    assert names == ["encode", "send"] * 3 + ["wait"]
    assert receiver.seen.total("beam_zerobus.payloads") == 3 == span.attributes["beam_zerobus.payloads"]
    assert receiver.seen.count("beam_zerobus.encode_duration") == 1


def test_retries_and_replays(emulator: Emulator, watched: Callable[..., Any]) -> None:
    writer, receiver = watched()
    emulator.faults = Faults(script=(ScriptedFault("status", at_call=2), ScriptedFault("reject", at_stream=2)))
    for n in range(3):
        assert writer.send_batch(rows(n * 10)).success
    writer.flush_telemetry()
    seen, counted = receiver.seen, writer.counters
    assert counted.retries == 2
    assert seen.total("beam_zerobus.retries", beam_zerobus__cause="UNAVAILABLE") == 2
    assert seen.total("beam_zerobus.replayed_rows") == counted.rows_replayed == 10
    assert seen.total("beam_zerobus.streams_opened") == counted.streams_opened == 2
    assert seen.total("beam_zerobus.throttled_time") == pytest.approx(counted.throttled_seconds)
    assert seen.total("messaging.client.sent.messages") == 30
    assert seen.total("beam_zerobus.batches", beam_zerobus__outcome="acknowledged") == 3

    calm, troubled, calm_again = sorted(seen.named(SEND), key=lambda span: span.start)
    assert calm.events == calm_again.events == []
    assert [event["beam_zerobus.cause"] for event in events(troubled, "retry")] == ["UNAVAILABLE", "UNAVAILABLE"]
    assert events(troubled, "stream_lost") == [{"beam_zerobus.cause": "UNAVAILABLE"}]
    assert events(troubled, "replayed") == [{"beam_zerobus.rows": 10}]
    assert events(troubled, "recovered") == [{"beam_zerobus.cause": "UNAVAILABLE", "beam_zerobus.retries": 2}]
    assert troubled.status == 0


def test_random_faults(emulator: Emulator, watched: Callable[..., Any]) -> None:
    writer, receiver = watched(retry=Retry(max_retries=50, initial_backoff=0.01, max_backoff=0.05))
    emulator.faults = Faults(seed=7, rate=0.1, kinds=("reject", "status", "drop", "slow_ack", "token"), max_delay=0.05)
    submissions = [writer.submit(rows(n * 10)) for n in range(30)]
    assert all(submission.result(60).success for submission in submissions)
    writer.flush_telemetry()
    seen, counted = receiver.seen, writer.counters
    assert counted.retries > 0
    assert seen.total("messaging.client.sent.messages") == 300
    assert seen.total("beam_zerobus.batches") == len(seen.named(SEND)) == 30
    assert seen.total("beam_zerobus.retries") == counted.retries
    assert seen.total("beam_zerobus.replayed_rows") == counted.rows_replayed
    assert seen.total("beam_zerobus.streams_opened") == counted.streams_opened
    assert seen.total("beam_zerobus.streams_open") <= 1
    assert seen.total("beam_zerobus.in_flight_rows") == seen.total("beam_zerobus.in_flight_bytes") == 0
    assert max(len(span.events) for span in seen.named(SEND)) < 100  # beyond that some are left out
    replayed = sum(e["beam_zerobus.rows"] for span in seen.named(SEND) for e in events(span, "replayed"))
    assert replayed == counted.rows_replayed


def test_rejected_rows(emulator: Emulator, watched: Callable[..., Any]) -> None:
    emulator.faults = Faults(reject_rows=(RejectRows(column="name", value="name-7"),))
    writer, receiver = watched()
    result = writer.send_batch(rows(0))
    assert result.failed_count == 1
    writer.flush_telemetry()
    seen = receiver.seen
    (error,) = result.failed_rows
    assert (
        seen.total("beam_zerobus.rejected_rows", error__type=error.error_type, beam_zerobus__stage="service")
        == seen.total("beam_zerobus.rejected_rows")
        == 1
    )
    assert seen.total("messaging.client.sent.messages", error__type=error.error_type) == 1
    assert seen.total("messaging.client.sent.messages") == 10
    assert seen.total("beam_zerobus.batches", beam_zerobus__outcome="partial") == 1
    (span,) = seen.named(SEND)
    assert span.attributes["beam_zerobus.acknowledged_rows"] == 9
    assert events(span, "rows_rejected")[0]["error.type"] == error.error_type


def test_giving_up(emulator: Emulator, watched: Callable[..., Any]) -> None:
    writer, receiver = watched(retry=Retry(max_retries=1, initial_backoff=0.01))
    emulator.faults = Faults(script=(ScriptedFault("reject", at_stream=1, times=99),))
    with pytest.raises(TransientError):
        writer.send_batch(rows(0))
    writer.flush_telemetry()
    seen = receiver.seen
    (span,) = seen.named(SEND)
    assert span.status == 2
    assert span.attributes["error.type"] == "TransientError"
    assert events(span, "exception")[0]["exception.type"] == "beam_zerobus.errors.TransientError"
    assert seen.total("messaging.client.sent.messages", error__type="TransientError") == 10
    assert seen.total("beam_zerobus.batches", beam_zerobus__outcome="failed") == 1
    assert seen.total("beam_zerobus.in_flight_rows") == 0


def test_debug_files_are_counted(watched: Callable[..., Any], tmp_path: Path) -> None:
    writer, receiver = watched(debug_files=DebugFiles(output_dir=tmp_path))
    for n in range(5):
        writer.send_batch(rows(n * 10))
    writer.flush_telemetry()
    counted = receiver.seen.total("beam_zerobus.debug_file_bytes")
    writer.close()
    written = sum(path.stat().st_size for path in tmp_path.glob("zerobus/*/*") if path.suffix in (".arrow", ".proto"))
    assert 0 < counted <= written <= counted + 8  # the mark at the end of an Arrow stream


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not remove open files")
def test_debug_files_that_fail_are_counted_once(watched: Callable[..., Any], tmp_path: Path) -> None:
    writer, receiver = watched(debug_files=DebugFiles(output_dir=tmp_path / "debug"))
    writer.send_batch(rows(0))
    shutil.rmtree(tmp_path / "debug")
    deadline = time.monotonic() + 60
    while not writer.counters.debug_file_failures and time.monotonic() < deadline:  # noticed in 0.1 s
        assert writer.send_batch(rows(10)).success
    assert writer.send_batch(rows(20)).success
    writer.flush_telemetry()
    assert receiver.seen.total("beam_zerobus.debug_file_failures") == 1
    assert writer.counters.debug_file_failures == 1


def test_page_lists_all_that_arrives(emulator: Emulator, watched: Callable[..., Any]) -> None:
    rejected = (RejectRows(column="name", value="name-7"),)
    emulator.faults = Faults(script=(ScriptedFault("status", at_call=3),), reject_rows=rejected)
    writer, receiver = watched(retry=Retry(max_retries=1, initial_backoff=0.01))
    for n in reversed(range(4)):
        writer.send_batch(rows(n * 10))
    emulator.faults = Faults(script=(ScriptedFault("status", at_call=1), ScriptedFault("reject", at_stream=1, times=9)))
    with pytest.raises(TransientError):
        writer.send_batch(rows(0))
    writer.flush_telemetry()
    seen = receiver.seen
    reported = {SEND.replace(TABLE, "{table}"), *(span.name for span in seen.spans if span.name != SEND)}
    reported |= {name for span in seen.spans for name in (*span.attributes, *span.resource)}
    reported |= {name for span in seen.spans for event, attributes in span.events for name in (event, *attributes)}
    reported |= {name for series in seen.points.values() for point in series.values() for name in point.attributes}
    reported = {name for name in reported if not name.startswith("telemetry.sdk.")}
    page = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text()
    assert {name for name in reported if f"`{name}`" not in page} == set()
    assert {"stream_lost", "retry", "replayed", "recovered", "rows_rejected", "exception"} <= reported


@pytest.mark.parametrize("mode", ["hang", "unavailable"])
def test_a_receiver_that_fails_does_not_change_what_is_sent(
    emulator: Emulator, connect: Callable[..., ZerobusWriter], receive: Callable[..., Receiver], mode: str
) -> None:
    receiver = receive("grpc", mode)
    writer = connect(TABLE, schema=DDL, telemetry=Telemetry(endpoint=receiver.endpoint, flush_timeout=0.2))
    for n in range(50):
        assert writer.send_batch(rows(n * 10)).success
        writer.flush_telemetry()
    assert emulator.table(TABLE).count_rows() == 500
