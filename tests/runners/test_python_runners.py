"""The sink on Beam's runners in Python: every row arrives once, over one stream a process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner, DirectRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.testing import test_stream
from apache_beam.transforms.window import FixedWindows, SlidingWindows, TimestampedValue

from beam_zerobus import Batching, OAuthClientCredentials, WriteToZerobus
from beam_zerobus.registry import close_all

TABLE = "main.runners.readings"
COLUMNS = "id BIGINT NOT NULL, name STRING, worker INT NOT NULL"
ROWS = 24_000


def readings(start: int) -> Iterator[dict]:
    worker = os.getpid()
    for i in range(start, start + 1_000):
        yield {"id": i, "name": None if i % 7 == 0 else f"reading {i}", "worker": worker}


@pytest.fixture
def sink(emulator):
    emulator.create_table(TABLE, COLUMNS)

    def make(**settings):
        return WriteToZerobus(
            TABLE,
            endpoint=emulator.endpoint,
            workspace_url=emulator.workspace_url,
            credentials=OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
            **settings,
        )

    yield make
    close_all()


def write(pipeline, sink, *, reshuffle=True):
    rows = pipeline | beam.Create(range(0, ROWS, 1_000), reshuffle=reshuffle) | beam.FlatMap(readings)
    return rows | sink


def check(emulator, rows=ROWS):
    """Every row is there once, and each process that wrote had one stream; return the processes."""
    table = emulator.table(TABLE).to_arrow()
    assert sorted(table["id"].to_pylist()) == list(range(rows))
    workers = set(table["worker"].to_pylist())
    assert emulator.stats.tables[TABLE].streams_opened == len(workers)
    return workers


def test_fn_api_runner(emulator, sink):
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        write(pipeline, sink())
    assert check(emulator) == {os.getpid()}


def test_direct_runner(emulator, sink):
    with beam.Pipeline(runner=DirectRunner()) as pipeline:
        write(pipeline, sink())
    check(emulator)


def test_portable_runner_with_loopback_workers(emulator, sink):
    options = PipelineOptions(["--job_endpoint=embed", "--environment_type=LOOPBACK", "--sdk_worker_parallelism=2"])
    with beam.Pipeline(runner=PortableRunner(), options=options) as pipeline:
        write(pipeline, sink())
    assert check(emulator) == {os.getpid()}


def test_two_worker_processes_have_a_stream_each(emulator, sink, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # Beam leaves a file behind
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where the workers find `readings`
    options = PipelineOptions()
    options.view_as(DirectOptions).direct_num_workers = 2
    options.view_as(DirectOptions).direct_running_mode = "multi_processing"
    with beam.Pipeline(runner=DirectRunner(), options=options) as pipeline:
        write(pipeline, sink())
    workers = check(emulator)
    assert len(workers) == 2
    assert os.getpid() not in workers


def test_bundle_based_runner_sets_up_dofns_for_every_bundle(emulator, sink):
    with beam.Pipeline(runner=BundleBasedDirectRunner()) as pipeline:
        write(pipeline, sink())
    assert check(emulator) == {os.getpid()}


def test_stream_of_many_small_bundles(emulator, sink):
    stream = test_stream.TestStream()
    for start in range(0, 50, 5):
        stream.advance_watermark_to(start)
        stream.add_elements([TimestampedValue(i, i) for i in range(start, start + 5)])
    stream.advance_watermark_to_infinity()
    options = PipelineOptions()
    options.view_as(StandardOptions).streaming = True
    with beam.Pipeline(runner=BundleBasedDirectRunner(), options=options) as pipeline:
        (
            pipeline
            | stream
            | beam.Map(lambda i: {"id": i, "name": str(i), "worker": os.getpid()})
            | beam.WindowInto(FixedWindows(10))
            | sink()
        )
    assert check(emulator, rows=50) == {os.getpid()}


def test_elements_in_several_windows_are_written_once(emulator, sink):
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        (
            pipeline
            | beam.Create(range(1_000))
            | beam.Map(lambda i: TimestampedValue({"id": i, "name": None, "worker": os.getpid()}, i))
            | beam.WindowInto(SlidingWindows(30, 10))
            | sink(batching=Batching(max_rows=64))
        )
    check(emulator, rows=1_000)
