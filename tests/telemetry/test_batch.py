"""What a batch reports about its steps, its rejected rows and its end, as a real OTLP receiver sees it."""

from __future__ import annotations

from collections.abc import Callable

from beam_zerobus.errors import RejectedError, RowError, TransientError
from tests.telemetry.receiver import Receiver
from tests.telemetry.test_recorder import TABLE, recorder_to


def test_encoding_in_pieces_is_one_span_and_encoding_after_the_last_call_is_none(
    receive: Callable[..., Receiver],
) -> None:
    receiver = receive()
    recorder = recorder_to(receiver)
    batch = recorder.batch(10, 80)
    for steps in (2, 1):
        for _ in range(steps):
            with batch.encoding():
                pass
        with batch.sending():
            pass
    with batch.encoding():
        pass
    batch.finish(10)
    recorder.flush()
    (span,) = receiver.seen.named(f"send {TABLE}")
    assert [child.name for child in receiver.seen.children(span)] == ["encode", "send"] * 2
    assert receiver.seen.count("beam_zerobus.encode_duration") == 1
    assert receiver.seen.count("beam_zerobus.ack_latency") == 0  # it never waited


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
    assert "test_batch.py" in exception["exception.stacktrace"]
    assert not any(value.encode() in raw for raw in receiver.seen.raw)


def test_reasons_of_a_service_are_counted_and_not_repeated(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    recorder = recorder_to(receiver)
    errors = [RowError(3, "rejected_by_service", "value 'Alice' is not an INT", "service")]
    batch = recorder.batch(10, 80)
    batch.finish(0, RejectedError("1 row rejected: value 'Alice' is not an INT", row_errors=errors))
    recorder.flush()
    (span,) = receiver.seen.spans
    assert span.status_message == "1 row rejected: rejected_by_service (1)"
    assert not any(b"Alice" in raw for raw in receiver.seen.raw)


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
