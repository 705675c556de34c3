"""Metrics and spans from the worker processes of a Beam pipeline."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_zerobus import Batching, OAuthClientCredentials, Retry, Telemetry, WriteToZerobus
from beam_zerobus.emulator import Emulator, Faults
from tests.telemetry.receiver import Receiver

TABLE = "main.iot.air"
SEND = f"send {TABLE}"
ROWS = 10_000


MODES = pytest.mark.parametrize("mode", ["in_memory", pytest.param("multi_processing", marks=pytest.mark.hostile)])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # Beam writes the options of its workers to the current directory


def write(mode: str, emulator: Emulator, receiver: Receiver) -> dict[str, int]:
    """Write 10,000 rows; return Beam's counters."""
    emulator.create_table(TABLE, "id BIGINT NOT NULL")
    options = PipelineOptions(
        ["--job_name=flights", *(["--direct_num_workers=2", f"--direct_running_mode={mode}"] * (mode != "in_memory"))]
    )
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=options)
    (
        pipeline
        | beam.Create(range(0, ROWS, 100))
        | beam.Reshuffle()
        | beam.FlatMap(lambda start: [{"id": start + n} for n in range(100)])
        | "Write"
        >> WriteToZerobus(
            TABLE,
            endpoint=emulator.endpoint,
            workspace_url=emulator.workspace_url,
            credentials=OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
            schema="id BIGINT NOT NULL",
            batching=Batching(max_rows=500),
            retry=Retry(max_retries=50, initial_backoff=0.01, max_backoff=0.05),
            telemetry=Telemetry(endpoint=receiver.endpoint, flush_timeout=30.0),
        )
    )
    result = pipeline.run()
    result.wait_until_finish()
    counters = result.metrics().query(MetricsFilter().with_namespace(WriteToZerobus))["counters"]
    return {metric.key.metric.name: metric.committed for metric in counters}


@MODES
def test_workers_report_every_batch(emulator: Emulator, receive: Callable[..., Receiver], mode: str) -> None:
    receiver = receive()
    write(mode, emulator, receiver)
    seen = receiver.seen
    stored = emulator.table(TABLE).count_rows()
    assert stored == ROWS
    assert seen.total("messaging.client.sent.messages") == ROWS
    assert seen.total("beam_zerobus.rows") == ROWS
    batches = seen.total("beam_zerobus.batches")
    assert batches == len(seen.named(SEND)) == len(emulator.stats.calls) >= ROWS / 500
    assert sum(span.attributes["beam_zerobus.acknowledged_rows"] for span in seen.named(SEND)) == ROWS
    for span in seen.named(SEND):
        assert [child.name for child in seen.children(span)] == ["encode", "send", "wait"]
        assert span.resource["beam.step.name"] == "Write"
        assert span.resource["beam.job.name"] == "flights"
    processes = {span.resource["process.pid"] for span in seen.spans}
    assert processes == {int(point.resource["process.pid"]) for point in seen.points["beam_zerobus.rows"].values()}
    if mode == "multi_processing":
        assert os.getpid() not in processes


@MODES
def test_beam_and_opentelemetry_count_faults_alike(
    emulator: Emulator, receive: Callable[..., Receiver], mode: str
) -> None:
    receiver = receive()
    emulator.faults = Faults(seed=3, rate=0.2, kinds=("reject", "status", "drop", "token"))
    counters = write(mode, emulator, receiver)
    seen = receiver.seen
    assert counters["retries"] == seen.total("beam_zerobus.retries") > 0
    assert counters["rows_replayed"] == seen.total("beam_zerobus.replayed_rows")
    assert counters["streams_opened"] == seen.total("beam_zerobus.streams_opened")
    assert counters["batches_sent"] == seen.total("beam_zerobus.batches") == len(seen.named(SEND))
    assert counters["bytes_sent"] == seen.total("beam_zerobus.wire_bytes")
    assert counters["rows_written"] == seen.total("messaging.client.sent.messages") == ROWS
    retries = sum(name == "retry" for span in seen.named(SEND) for name, _ in span.events)
    assert retries >= counters["retries"]  # one for each batch that waits
    for span in seen.named(SEND):
        assert [child.name for child in seen.children(span)] == ["encode", "send", "wait"]
