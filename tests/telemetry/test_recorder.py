"""What a recorder reports, as a real OTLP receiver sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from beam_zerobus.errors import RowError
from beam_zerobus.options import Telemetry
from beam_zerobus.telemetry import Recorder, open_recorder
from tests.telemetry.receiver import Receiver

TABLE = "main.iot.air_quality"


def recorder_to(receiver: Receiver, **options: Any) -> Recorder:
    telemetry = Telemetry(
        endpoint=receiver.endpoint,
        protocol=receiver.protocol,
        **{"export_interval": 60.0, "flush_timeout": 30.0} | options,
    )
    return open_recorder(telemetry, table=TABLE, wire_format="proto")


def send(recorder: Recorder, rows: int = 100, error: BaseException | None = None, rejected: int = 0) -> None:
    batch = recorder.batch(rows, rows * 8)
    with batch.encoding():
        pass
    with batch.sending():
        pass
    batch.sent(1, rows * 5)
    with batch.encoding():
        pass  # finds that nothing is left
    batch.waiting_started()
    if rejected:
        batch.rejected([RowError(index, "null_in_not_null_column", "column 'id'") for index in range(rejected)])
    batch.finish(0 if error is not None else rows - rejected, error)


def test_what_arrives_is_what_was_sent(protocol: str, receive: Callable[..., Receiver]) -> None:
    receiver = receive(protocol)
    recorder = recorder_to(receiver, headers={"Api-Key": "s3cret"}, resource_attributes={"beam.step": "Write"})
    recorder.stream_opened()
    recorder.token_refreshed()
    for _ in range(50):
        send(recorder)
    recorder.retry("UNAVAILABLE", 0.25)
    recorder.replayed(100, 1)
    recorder.debug_file_bytes(1234)
    recorder.debug_files_failed()
    recorder.flush()

    seen = receiver.seen
    totals = {
        "messaging.client.sent.messages": 5000,
        "beam_zerobus.rows": 5000,
        "beam_zerobus.arrow_bytes": 40_000,
        "beam_zerobus.wire_bytes": 25_000,
        "beam_zerobus.payloads": 50,
        "beam_zerobus.batches": 50,
        "beam_zerobus.retries": 1,
        "beam_zerobus.throttled_time": 0.25,
        "beam_zerobus.replayed_rows": 100,
        "beam_zerobus.replayed_payloads": 1,
        "beam_zerobus.streams_opened": 1,
        "beam_zerobus.streams_open": 1,
        "beam_zerobus.token_refreshes": 1,
        "beam_zerobus.debug_file_bytes": 1234,
        "beam_zerobus.debug_file_failures": 1,
        "beam_zerobus.in_flight_rows": 0,
        "beam_zerobus.in_flight_bytes": 0,
    }
    assert {name: seen.total(name, messaging__destination__name=TABLE) for name in totals} == totals
    assert seen.total("beam_zerobus.batches", beam_zerobus__outcome="acknowledged") == 50
    assert seen.total("beam_zerobus.retries", beam_zerobus__cause="UNAVAILABLE") == 1
    for duration in ("messaging.client.operation.duration", "beam_zerobus.encode_duration", "beam_zerobus.ack_latency"):
        assert seen.count(duration) == 50
        assert seen.units[duration] == "s"
    assert not seen.monotonic["beam_zerobus.streams_open"]
    assert seen.monotonic["beam_zerobus.rows"]

    assert len(seen.named(f"send {TABLE}")) == 50
    for span in seen.named(f"send {TABLE}"):
        children = seen.children(span)
        assert [child.name for child in children] == ["encode", "send", "wait"]
        assert all(span.start <= child.start <= child.end <= span.end for child in children)
        assert {child.trace_id for child in children} == {span.trace_id}
        assert span.attributes["messaging.system"] == "zerobus"
        assert span.attributes["messaging.destination.name"] == TABLE
        assert span.attributes["messaging.operation.name"] == "send"
        assert span.attributes["messaging.batch.message_count"] == 100
        assert span.attributes["beam_zerobus.acknowledged_rows"] == 100
        assert span.attributes["beam_zerobus.wire_bytes"] == 500
        assert span.status == 0
    resource = seen.spans[0].resource
    assert resource["service.name"] == "beam_zerobus"
    assert resource["beam.step"] == "Write"
    assert resource["host.name"]
    assert resource["process.pid"] > 0
    assert all(headers["api-key"] == "s3cret" for headers in seen.headers)
    assert not any(b"s3cret" in raw for raw in seen.raw)


def test_what_is_in_flight_is_the_sum_of_all_streams(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    recorder = recorder_to(receiver)
    one, other = recorder.in_flight(), recorder_to(receiver).in_flight()
    one.bytes, one.rows, other.bytes, other.rows = 1_000, 10, 24, 2
    for expected in ((1_024, 12), (24, 2), (0, 0)):
        send(recorder)
        recorder.flush()
        names = ("beam_zerobus.in_flight_bytes", "beam_zerobus.in_flight_rows")
        assert tuple(receiver.seen.total(name) for name in names) == expected
        if expected == (24, 2):
            del other  # a stream that has ended
        one.bytes = one.rows = 0


def test_metrics_count_every_one_of_many_batches(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    recorder = recorder_to(receiver)
    for _ in range(2_000):
        send(recorder, rows=3)
    recorder.flush()
    assert receiver.seen.total("beam_zerobus.rows") == receiver.seen.total("messaging.client.sent.messages") == 6_000
    assert receiver.seen.count("messaging.client.operation.duration") == 2_000


def test_spans_join_the_callers_trace(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    recorder = recorder_to(receiver)
    tracer = TracerProvider().get_tracer("app")
    with tracer.start_as_current_span("request") as outer:
        send(recorder)
    recorder.flush()
    (span,) = receiver.seen.named(f"send {TABLE}")
    assert span.parent_id == format(outer.get_span_context().span_id, "016x")
    assert span.trace_id == format(outer.get_span_context().trace_id, "032x")


def test_many_threads(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    recorder = recorder_to(receiver)

    def work() -> None:
        for _ in range(100):
            send(recorder, rows=7)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.flush()
    assert len(receiver.seen.named(f"send {TABLE}")) == 800
    assert receiver.seen.total("messaging.client.sent.messages") == 5600
    assert len(receiver.seen.spans) == 3200


def test_writers_share_providers_and_configurations_do_not(receive: Callable[..., Receiver]) -> None:
    one, two = receive(), receive("http/protobuf")
    recorders = [recorder_to(one) for _ in range(5)]
    send(recorders[0])
    threads = export_threads()
    for recorder in recorders[1:]:
        send(recorder)
    assert export_threads() == threads
    send(recorder_to(two))
    for recorder in (*recorders, recorder_to(two)):
        recorder.close()
    assert one.seen.total("beam_zerobus.batches") == 5
    assert two.seen.total("beam_zerobus.batches") == 1


def export_threads() -> set[threading.Thread]:
    """Return the threads that export; those of earlier tests and of receivers come and go."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("beam_zerobus telemetry")}


def test_sampler_decides_about_spans_not_about_metrics(
    monkeypatch: pytest.MonkeyPatch, receive: Callable[..., Receiver]
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    receiver = receive()
    recorder = recorder_to(receiver)
    send(recorder)
    recorder.flush()
    assert receiver.seen.spans == []
    assert receiver.seen.total("beam_zerobus.batches") == 1
    assert receiver.seen.count("beam_zerobus.ack_latency") == 1
