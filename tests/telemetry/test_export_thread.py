"""A receiver that is absent, hangs, rejects or breaks off does not disturb the sender."""

from __future__ import annotations

import gc
import logging
import math
import os
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, Tracer

from beam_zerobus.options import Telemetry
from beam_zerobus.telemetry import Recorder, export_thread, open_recorder, providers
from tests.emulator.sdk import eventually
from tests.telemetry.receiver import Receiver
from tests.telemetry.test_recorder import TABLE, send

FAILURES = ("absent", "hang", "unavailable", "unauthenticated", "reject", "close")


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port at which nobody listens, and that nobody else gets meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [f"{r.name}: {r.getMessage()}" for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.fixture
def endpoint(mode: str, protocol: str, receive: Callable[..., Receiver], unused_port: int) -> str:
    """The address of a receiver that fails in the given mode."""
    return f"http://127.0.0.1:{unused_port}" if mode == "absent" else receive(protocol, mode).endpoint


def resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@pytest.mark.hostile
@pytest.mark.parametrize("mode", FAILURES)
def test_sender_is_not_disturbed(
    protocol: str, endpoint: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    options = Telemetry(endpoint=endpoint, protocol=protocol, flush_timeout=2.0, export_interval=0.2)
    recorder = open_recorder(options, table=TABLE, wire_format="proto")
    send(recorder)
    recorder.flush()  # the one wait
    started = time.perf_counter()
    waits = []
    while time.perf_counter() - started < 3.0:
        send(recorder)
        flushing = time.perf_counter()
        recorder.flush()
        waits.append(time.perf_counter() - flushing)
        time.sleep(0.005)
    assert max(waits) < 1.5  # none waits for the time that a flush may take, though a busy machine may hold one up
    assert sorted(waits)[len(waits) // 2] < 0.1
    recorder.close()
    warned = warnings_of(caplog)
    assert len(warned) == 1, warned
    assert "beam_zerobus.telemetry" in warned[0]
    assert endpoint.removeprefix("http://") in warned[0]


def test_a_receiver_that_rejects_is_left_alone_for_a_while_and_gets_the_rest_at_the_end(
    protocol: str, receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_thread, "PAUSE", 3600.0)
    receiver = receive(protocol, "unauthenticated")
    recorder = open_recorder(
        Telemetry(endpoint=receiver.endpoint, protocol=protocol, export_interval=0.1, flush_timeout=30.0),
        table=TABLE,
        wire_format="proto",
    )
    for _ in range(30):
        for _ in range(10):
            send(recorder)
        recorder.flush()
    eventually(lambda: receiver.seen.requests >= 2)
    for _ in range(3):
        recorder.flush()
    assert receiver.seen.requests == 2, "one try for spans, one for metrics"
    receiver.mode = "ok"
    providers.shutdown()
    eventually(lambda: receiver.seen.spans and receiver.seen.total("beam_zerobus.batches") == 300)
    assert len(receiver.seen.named(f"send {TABLE}")) > 200, "batches sent meanwhile were kept"


@pytest.mark.hostile
@pytest.mark.parametrize("mode", FAILURES)
def test_memory_is_bounded(protocol: str, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2048")
    recorder = recorder_that_hardly_waits(endpoint, protocol)
    tracemalloc.start()
    try:
        rounds = [memory_after(recorder, batches=700) for _ in range(3)]  # each more than the queue takes
    finally:
        tracemalloc.stop()
    (first, _), (second, resident), (third, resident_again) = rounds
    full = max(first, second)  # an export that fails loses its spans: the queue may have room at the end of a round
    assert full < 16 << 20
    assert third < full * 1.05 + (1 << 20)
    assert resident_again < resident + (32 << 20)  # what gRPC and protobuf hold is not Python's


@pytest.mark.hostile
def test_memory_of_a_full_queue(receive: Callable[..., Receiver]) -> None:
    recorder = recorder_that_hardly_waits(receive("grpc", "hang").endpoint, "grpc")
    tracemalloc.start()
    try:
        full, _ = memory_after(recorder, batches=2_500)
    finally:
        tracemalloc.stop()
    assert full < 64 << 20


def recorder_that_hardly_waits(endpoint: str, protocol: str) -> Recorder:
    options = Telemetry(endpoint=endpoint, protocol=protocol, flush_timeout=0.1, export_interval=0.2)
    return open_recorder(options, table=TABLE, wire_format="proto")


def memory_after(recorder: Recorder, *, batches: int) -> tuple[int, int]:
    """Return the bytes of Python's objects and of the process, after some batches."""
    for _ in range(batches):
        send(recorder)
        recorder.flush()
    gc.collect()
    return tracemalloc.get_traced_memory()[0], resident_bytes()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_metrics_catch_up_when_the_receiver_comes_back(
    protocol: str, receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setattr(export_thread, "PAUSE", 0.2)
    receiver = receive(protocol, "unavailable")
    options = Telemetry(endpoint=receiver.endpoint, protocol=protocol, flush_timeout=5.0, export_interval=0.2)
    recorder = open_recorder(options, table=TABLE, wire_format="proto")
    for _ in range(10):
        send(recorder)
    recorder.flush()
    receiver.mode = "ok"
    eventually(lambda: receiver.seen.total("beam_zerobus.batches") == 10)
    send(recorder)
    eventually(lambda: receiver.seen.total("beam_zerobus.batches") == 11)
    assert len(warnings_of(caplog)) == 1


def test_queue_keeps_every_span_of_a_burst(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    options = Telemetry(endpoint=receiver.endpoint, flush_timeout=30.0)
    recorder = open_recorder(options, table=TABLE, wire_format="proto")
    for _ in range(1_500):
        send(recorder)
    recorder.flush()
    assert len(receiver.seen.spans) == 6_000


def test_queue_keeps_to_the_environments_bound_while_a_receiver_rejects(
    receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_thread, "PAUSE", 3600.0)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "400")
    receiver = receive("grpc", "unauthenticated")
    recorder = open_recorder(Telemetry(endpoint=receiver.endpoint), table=TABLE, wire_format="proto")
    send(recorder)
    recorder.flush()
    for _ in range(300):
        send(recorder)
    receiver.mode = "ok"
    providers.shutdown()
    eventually(lambda: len(receiver.seen.named(f"send {TABLE}")) >= 100)
    recorder.flush(30.0)
    assert len(receiver.seen.named(f"send {TABLE}")) == 100


def test_a_flush_goes_on_where_the_sampler_wants_none_of_many_batches(
    receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    receiver = receive()
    options = Telemetry(endpoint=receiver.endpoint, flush_timeout=30.0)
    recorder = open_recorder(options, table=TABLE, wire_format="proto")
    for _ in range(300):
        send(recorder)
    caller = SpanContext(1, 1, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    with trace.use_span(NonRecordingSpan(caller)):
        send(recorder)
    recorder.flush()
    assert len(receiver.seen.named(f"send {TABLE}")) == 1


class Slow(InMemorySpanExporter):
    """Exports once it may, and remembers whether OpenTelemetry's instrumentations would trace the export."""

    def __init__(self) -> None:
        super().__init__()
        self.exporting, self.may_export = threading.Event(), threading.Event()
        self.is_traced = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.is_traced = not context.get_value("suppress_instrumentation")
        self.exporting.set()
        assert self.may_export.wait(60)
        return super().export(spans)


@pytest.fixture
def slow_queue() -> Iterator[tuple[Slow, export_thread.ExportThread, Tracer]]:
    exporter, thread, provider = Slow(), export_thread.ExportThread("spans", 60, lambda: None), TracerProvider()
    queue = export_thread.SpanQueue(exporter, thread, 16)
    provider.add_span_processor(queue)
    thread.start(queue.export, exporter.shutdown)
    yield exporter, thread, provider.get_tracer("app")
    exporter.may_export.set()
    thread.stop()
    thread.wait_until_stopped(60)


def test_a_flush_does_not_wait_for_what_is_queued_after_it(
    slow_queue: tuple[Slow, export_thread.ExportThread, Tracer],
) -> None:
    exporter, thread, tracer = slow_queue
    tracer.start_span("before").end()
    asked = thread.ask()
    assert exporter.exporting.wait(60)
    tracer.start_span("after").end()
    exporter.may_export.set()
    thread.wait(asked, 60)
    assert [span.name for span in exporter.get_finished_spans()] == ["before"]
    thread.wait(thread.ask(), 60)
    assert [span.name for span in exporter.get_finished_spans()] == ["before", "after"]


def test_a_full_export_is_not_left_for_the_next_interval(
    slow_queue: tuple[Slow, export_thread.ExportThread, Tracer],
) -> None:
    exporter, _, tracer = slow_queue
    for _ in range(2):  # an eighth of the queue
        tracer.start_span("send").end()
    assert exporter.exporting.wait(60)


def test_an_overdue_export_holds_up_one_flush_only(slow_queue: tuple[Slow, export_thread.ExportThread, Tracer]) -> None:
    exporter, thread, tracer = slow_queue
    tracer.start_span("send").end()
    thread.wait(thread.ask(), 0.1)
    thread.wait(thread.ask(), math.inf)
    exporter.may_export.set()
    eventually(exporter.get_finished_spans)


def test_exports_are_not_traced(slow_queue: tuple[Slow, export_thread.ExportThread, Tracer]) -> None:
    exporter, _, tracer = slow_queue
    for _ in range(2):
        tracer.start_span("send").end()
    assert exporter.exporting.wait(60)
    assert not exporter.is_traced


EXIT = """
import sys, time
from beam_zerobus.options import Telemetry
from beam_zerobus.telemetry import open_recorder
recorder = open_recorder(
    Telemetry(endpoint=sys.argv[1], protocol=sys.argv[2], flush_timeout=float(sys.argv[3])),
    table="a.b.c",
    wire_format="proto",
)
batch = recorder.batch(10, 80)
batch.finish(10)
print(time.time(), flush=True)
"""


@pytest.mark.hostile
@pytest.mark.parametrize("mode", FAILURES)
def test_process_ends_soon_whatever_the_receiver_does(protocol: str, endpoint: str) -> None:
    assert end_of_a_process(endpoint, protocol, flush_timeout=1.0) < 9.0  # an exporter's own timeout is 10 s


def test_a_process_that_ends_exports_the_rest(protocol: str, receive: Callable[..., Receiver]) -> None:
    receiver = receive(protocol)
    end_of_a_process(receiver.endpoint, protocol, flush_timeout=30.0, silent=True)
    assert receiver.seen.total("beam_zerobus.batches") == 1
    assert len(receiver.seen.spans) == 1


def end_of_a_process(endpoint: str, protocol: str, *, flush_timeout: float, silent: bool = False) -> float:
    """Run a process that records one batch and ends; return the seconds that its end took."""
    command = [sys.executable, "-c", EXIT, endpoint, protocol, str(flush_timeout)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    took = time.time() - float(process.stdout)
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    assert not (silent and process.stderr)
    return took
