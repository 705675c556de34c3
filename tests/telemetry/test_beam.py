"""Metrics and spans from the worker processes of a Beam pipeline."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_zerobus import Batching, OAuthClientCredentials, Telemetry, WriteToZerobus
from beam_zerobus.emulator import Emulator
from tests.telemetry.receiver import Receiver

TABLE = "main.iot.air"
SEND = f"send {TABLE}"
ROWS = 10_000


@pytest.mark.parametrize("mode", ["in_memory", pytest.param("multi_processing", marks=pytest.mark.slow)])
def test_workers_tell_of_every_batch(
    emulator: Emulator,
    receive: Callable[..., Receiver],
    mode: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # Beam leaves the options of its workers where it stands
    receiver = receive()
    emulator.create_table(TABLE, "id BIGINT NOT NULL")
    options = PipelineOptions(
        ["--job_name=flights", *(["--direct_num_workers=2", f"--direct_running_mode={mode}"] * (mode != "in_memory"))]
    )
    with beam.Pipeline(runner=FnApiRunner(), options=options) as pipeline:
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
                telemetry=Telemetry(endpoint=receiver.endpoint, flush_timeout=10.0),
            )
        )
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
    processes = {span.resource["process.pid"] for span in seen.spans}
    assert processes == {int(point.resource["process.pid"]) for point in seen.points["beam_zerobus.rows"].values()}
    if mode == "multi_processing":
        assert os.getpid() not in processes
