"""What a recorder reports, as a real OTLP receiver sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from beam_zerobus.errors import RejectedError, RowError, TransientError
from beam_zerobus.options import Telemetry
from beam_zerobus.telemetry import Recorder, open_recorder
from tests.telemetry.receiver import Receiver

TABLE = "main.iot.air_quality"


def recorder_to(receiver: Receiver, **options: Any) -> Recorder:
    telemetry = Telemetry(
        endpoint=receiver.endpoint,
        protocol=receiver.protocol,
        **{"export_interval": 60.0, "flush_timeout": 10.0} | options,
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


def test_payloads_sent_after_the_end_count(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    recorder = recorder_to(receiver)
    batch = recorder.batch(10, 80)
    batch.sent(1, 30)
    batch.finish(0, ValueError())
    batch.sent(2, 50)
    recorder.flush()
    assert receiver.seen.total("beam_zerobus.payloads") == 3
    assert receiver.seen.total("beam_zerobus.wire_bytes") == 80


def test_failure_marks_the_span(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    recorder = recorder_to(receiver)
    error = TransientError("gave up", attempts=3, acknowledged_rows=40, unacknowledged_rows=60)
    batch = recorder.batch(100, 800)
    batch.event("retry", cause="UNAVAILABLE", wait_seconds=0.5)
    batch.event("retry", cause="Bearer abc def http://x", wait_seconds=0.5)
    batch.finish(0, error)
    batch.finish(100)  # too late
    recorder.flush()

    (span,) = receiver.seen.spans
    assert span.status == 2
    assert span.status_message == "gave up"
    assert span.attributes["error.type"] == "TransientError"
    assert span.attributes["beam_zerobus.outcome"] == "failed"
    (first, second, exception) = span.events
    assert first == ("retry", {"beam_zerobus.cause": "UNAVAILABLE", "beam_zerobus.wait_seconds": 0.5})
    assert second[1]["beam_zerobus.cause"] == "other"
    assert exception[0] == "exception"
    assert exception[1]["exception.type"] == "beam_zerobus.errors.TransientError"
    assert exception[1]["exception.message"] == "gave up"
    seen = receiver.seen
    assert seen.total("messaging.client.sent.messages", error__type="TransientError") == 60
    assert seen.total("messaging.client.sent.messages") == 100
    assert seen.total("beam_zerobus.batches", beam_zerobus__outcome="failed") == 1


def test_rejected_rows_are_counted_by_type_and_stage(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    recorder = recorder_to(receiver)
    batch = recorder.batch(10, 80)
    batch.rejected([RowError(1, "a", "m", "schema"), RowError(2, "a", "m", "schema"), RowError(3, "b", "m", "service")])
    batch.finish(7)
    recorder.flush()
    seen = receiver.seen
    assert seen.total("beam_zerobus.rejected_rows", error__type="a", beam_zerobus__stage="schema") == 2
    assert seen.total("beam_zerobus.rejected_rows", error__type="b", beam_zerobus__stage="service") == 1
    assert seen.total("messaging.client.sent.messages") == 10
    assert seen.total("messaging.client.sent.messages", error__type="a") == 2
    assert seen.total("beam_zerobus.batches", beam_zerobus__outcome="partial") == 1
    (span,) = seen.spans
    assert span.status == 0
    assert ("rows_rejected", {"error.type": "a", "beam_zerobus.stage": "schema", "beam_zerobus.rows": 2}) in span.events


def test_recovery_is_an_event(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    recorder = recorder_to(receiver)
    batch = recorder.batch(10, 80)
    batch.event("retry", cause="UNAVAILABLE", wait_seconds=0.5)
    batch.finish(10)
    recorder.flush()
    (span,) = receiver.seen.spans
    assert span.events[-1] == (
        "recovered",
        {"beam_zerobus.cause": "UNAVAILABLE", "beam_zerobus.retries": 1},
    )
    assert span.status == 0


def test_error_of_a_step_leaves_row_data_out(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    recorder = recorder_to(receiver)
    value = " ".join(["Alice", "Example"])  # not a literal: source lines are part of a stack trace
    batch = recorder.batch(10, 80)
    error: BaseException | None = None
    try:
        with batch.encoding():
            try:
                int(value)
            except ValueError as cause:
                raise TypeError(f"{value} is not a number") from cause
    except TypeError as caught:
        error = caught
    batch.finish(0, error)
    recorder.flush()
    by_name = {span.name: span for span in receiver.seen.spans}
    assert by_name["encode"].status == 2
    assert by_name[f"send {TABLE}"].status == 2
    exception = dict(by_name[f"send {TABLE}"].events)["exception"]
    assert exception["exception.type"] == "TypeError"
    assert "test_recorder.py" in exception["exception.stacktrace"]
    assert not any(value.encode() in raw for raw in receiver.seen.raw)


def test_reasons_of_a_service_are_counted_and_not_repeated(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    recorder = recorder_to(receiver)
    errors = [RowError(3, "rejected_by_service", "value 'Alice' is not an INT", "service")]
    batch = recorder.batch(10, 80)
    batch.finish(0, RejectedError("1 row rejected: value 'Alice' is not an INT", row_errors=errors))
    recorder.flush()
    (span,) = receiver.seen.spans
    assert span.status_message == "1 rows rejected: rejected_by_service (1)"
    assert not any(b"Alice" in raw for raw in receiver.seen.raw)


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
    threads = threading.active_count()
    for recorder in recorders[1:]:
        send(recorder)
    assert threading.active_count() == threads
    send(recorder_to(two))
    for recorder in (*recorders, recorder_to(two)):
        recorder.close()
    assert one.seen.total("beam_zerobus.batches") == 5
    assert two.seen.total("beam_zerobus.batches") == 1


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


def test_events_of_a_batch_are_bounded_and_the_error_is_kept(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    recorder = recorder_to(receiver)
    batch = recorder.batch(10, 80)
    for _ in range(1_000):
        batch.event("retry", cause="UNAVAILABLE", wait_seconds=0.1)
    batch.finish(0, ValueError())
    recorder.flush()
    (span,) = receiver.seen.spans
    assert len(span.events) == 101
    assert span.events[-1][0] == "exception"
