"""Streams: rows are in the table while the pipeline runs; those of tiny bundles can be collected into few calls."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_stream import TestStream as Stream
from apache_beam.transforms.periodicsequence import PeriodicImpulse
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp

from beam_zerobus import Batching, Retry, WriteToZerobus
from beam_zerobus.emulator import Emulator
from beam_zerobus.emulator.tables.table import Table
from tests.runners.pages import commands
from tests.runners.support import ROOT, go_program, wait_until

TABLE = "main.runners.readings"
COLUMNS = "id BIGINT NOT NULL, made DOUBLE NOT NULL"

STREAMING = {
    "FnApiRunner": ["--runner=FnApiRunner", "--streaming"],
    "portable, LOOPBACK": [
        "--runner=PortableRunner",
        "--job_endpoint=embed",
        "--environment_type=LOOPBACK",
        "--streaming",
    ],
}


@pytest.fixture
def table(zerobus: Emulator, worker_here: None) -> Table:
    return zerobus.create_table(TABLE, COLUMNS)


@pytest.fixture
def prism() -> list[str]:
    location = go_program("go/cmd/prism", "prism")
    return ["--runner=PrismRunner", f"--prism_location={location}", "--environment_type=LOOPBACK", "--streaming"]


def reading(now: float, start: float, interval: float) -> dict[str, Any]:
    return {"id": round((float(now) - start) / interval), "made": time.time()}


def clock(pipeline: beam.Pipeline, *, ticks: int, interval: float) -> Any:
    """An unbounded source: a row at each tick of a clock, each in its own bundle."""
    start = Timestamp.now()
    impulses = PeriodicImpulse(start, start + ticks * interval, interval)
    return pipeline | impulses | "Reading" >> beam.Map(reading, start=float(start), interval=interval)


@contextmanager
def watched(table: Table) -> Iterator[dict[int, float]]:
    """Record for each row the seconds until it was seen in the table, while the pipeline runs."""
    delays: dict[int, float] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            rows = table.to_arrow().to_pylist()
            now = time.time()
            for row in rows:
                delays.setdefault(row["id"], now - row["made"])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield delays
    finally:
        ended.set()
        thread.join()


def check_rows_come_one_by_one(table: Table, options: list[str]) -> None:
    with watched(table) as delays, beam.Pipeline(options=PipelineOptions(options)) as pipeline:
        clock(pipeline, ticks=25, interval=0.2) | WriteToZerobus(TABLE, schema=COLUMNS)
    assert sorted(table.to_arrow()["id"].to_pylist()) == list(range(25))
    assert (
        len(delays) > 12
    )  # most were seen while the pipeline ran; on a slow machine the last may be seen only at its end


@pytest.mark.parametrize("options", STREAMING.values(), ids=STREAMING)
def test_rows_are_in_the_table_within_seconds_while_the_pipeline_runs(options, table):
    check_rows_come_one_by_one(table, options)


@pytest.mark.prism
def test_rows_are_in_the_table_within_seconds_on_prism(prism, table):
    check_rows_come_one_by_one(table, prism)


def test_a_stream_survives_an_outage_of_the_service(zerobus, table):
    def outage() -> None:
        wait_until(lambda: table.to_arrow().num_rows >= 5, "the first rows are there")
        zerobus.kill()
        time.sleep(1.5)
        zerobus.start()

    away = threading.Thread(target=outage)
    away.start()
    with beam.Pipeline(options=PipelineOptions(STREAMING["FnApiRunner"])) as pipeline:
        clock(pipeline, ticks=40, interval=0.1) | WriteToZerobus(
            TABLE, schema=COLUMNS, retry=Retry(max_retries=20, max_backoff=0.5)
        )
    away.join()
    assert set(table.to_arrow()["id"].to_pylist()) == set(range(40))


@dataclass(frozen=True, slots=True)
class Sight:
    """The rows in the table, and the calls so far, when a row reached the sink."""

    row: int
    rows: int
    calls: int


# The runner is in this process, and functions are pickled by name, so both find these.
_zerobus: list[Emulator] = []
_sights: list[Sight] = []


def look(row: int) -> dict[str, Any]:
    _sights.append(Sight(row, _zerobus[-1].table(TABLE).to_arrow().num_rows, _zerobus[-1].stats.tables[TABLE].calls))
    return {"id": row, "made": 0.0}


def sights_of(stream: Stream, zerobus: Emulator, batching: Batching) -> list[Sight]:
    """Run a stream on the one runner with a clock that a test controls; it waits for each bundle's end."""
    _zerobus[:], _sights[:] = [zerobus], []
    options = PipelineOptions(["--runner=BundleBasedDirectRunner", "--streaming"])
    with beam.Pipeline(options=options) as pipeline:
        pipeline | stream | beam.Map(look) | WriteToZerobus(TABLE, schema=COLUMNS, batching=batching)
    return list(_sights)


def rows_one_by_one(stream: Stream, start: int, stop: int) -> Stream:
    for row in range(start, stop):
        stream.advance_watermark_to(row).add_elements([TimestampedValue(row, row)])
    return stream


def test_each_bundle_is_in_the_table_before_the_next_begins(zerobus, table):
    stream = rows_one_by_one(Stream(), 0, 30).advance_watermark_to_infinity()
    sights = sights_of(stream, zerobus, Batching())
    assert sights == [Sight(row, rows=row, calls=row) for row in range(30)]


def test_bundles_of_one_row_become_calls_of_many(zerobus, table):
    stream = rows_one_by_one(Stream(), 0, 100).advance_watermark_to_infinity()
    sights = sights_of(stream, zerobus, Batching(max_rows=25, max_delay=10, across_bundles=True))
    assert sights[:25] == [Sight(row, rows=0, calls=0) for row in range(25)]
    assert sights[-1].rows >= 25
    assert sorted(table.to_arrow()["id"].to_pylist()) == list(range(100))
    assert zerobus.stats.tables[TABLE].calls <= 10  # each of the runner's threads fills its own batches


def test_rows_that_do_not_fill_a_batch_are_sent_after_the_delay(zerobus, table):
    stream = Stream().advance_processing_time(
        int(time.time())
    )  # Beam's batching reads the machine's clock for its timers
    stream = rows_one_by_one(stream, 0, 7).advance_processing_time(500)
    stream = rows_one_by_one(stream, 7, 8).advance_processing_time(1_000)
    stream = rows_one_by_one(stream, 8, 10).advance_watermark_to_infinity()
    sights = sights_of(stream, zerobus, Batching(max_rows=1_000, max_delay=1_000, across_bundles=True))
    assert [sight.rows for sight in sights[:8]] == [0] * 8
    assert sights[-1].rows >= 8
    assert sorted(table.to_arrow()["id"].to_pylist()) == list(range(10))
    assert zerobus.stats.tables[TABLE].calls <= 6


@pytest.mark.prism
def test_rows_are_collected_for_the_delay_and_no_longer_on_prism(prism, zerobus, table):
    batching = Batching(max_rows=1_000, max_delay=1, across_bundles=True)
    with watched(table) as delays, beam.Pipeline(options=PipelineOptions(prism)) as pipeline:
        clock(pipeline, ticks=60, interval=0.1) | WriteToZerobus(TABLE, schema=COLUMNS, batching=batching)
    assert sorted(table.to_arrow()["id"].to_pylist()) == list(range(60))
    assert zerobus.stats.tables[TABLE].calls <= 30  # rows were collected: 60 bundles, at most half as many calls
    assert len(delays) >= 30  # and no longer than the delay: most were seen while the pipeline ran


@pytest.mark.hostile
def test_the_page_measures_what_collecting_costs():
    [command] = commands("runners/streaming.md", "What `across_bundles` costs")
    shown = subprocess.check_output(
        [sys.executable, *command.split()[1:], "--rows=2000", "--rounds=1"], cwd=ROOT, text=True
    )
    assert re.search(r"^ratio +[\d.]+$", shown, re.MULTILINE)
