"""Bundles: acknowledgements, the order of waits, and how elements reach the sink."""

from __future__ import annotations

import threading
import time

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.metrics.metric import Lineage, MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.testing import test_stream
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import FixedWindows, GlobalWindows, SlidingWindows, TimestampedValue
from apache_beam.typehints.arrow_type_compatibility import PyarrowBatchConverter
from apache_beam.typehints.row_type import RowTypeConstraint

from beam_zerobus import Batching, Retry, TransientError, WriteToZerobus
from beam_zerobus.emulator import Faults, ScriptedFault
from beam_zerobus.sink.dofns import WriteRows
from beam_zerobus.sink.settings import SinkSettings
from beam_zerobus.writer import shared
from tests.emulator.sdk import eventually

TABLE = "main.iot.air"
COLUMNS = "id BIGINT NOT NULL, name STRING"


@pytest.fixture
def table(emulator):
    return emulator.create_table(TABLE, COLUMNS)


def rows(count):
    return [{"id": i, "name": f"n{i}"} for i in range(count)]


def ids(table):
    return sorted(table.to_arrow()["id"].to_pylist())


def test_acknowledged_has_every_batch(table, sink, run):
    def build(pipeline):
        result = pipeline | beam.Create(rows(1_000), reshuffle=False) | sink(batching=Batching(max_rows=300))
        seen = result.acknowledged | beam.Map(
            lambda batch: (batch.table, batch.rows, batch.bytes > 0, batch.latency_ms > 0)
        )
        assert_that(seen, equal_to([(TABLE, 300, True, True)] * 3 + [(TABLE, 100, True, True)]))

    run(build)
    assert ids(table) == list(range(1_000))


def test_acknowledged_is_in_the_windows_of_its_rows(table, sink, run):
    def build(pipeline):
        result = (
            pipeline
            | beam.Create([TimestampedValue(row, row["id"]) for row in rows(25)], reshuffle=False)
            | beam.Map(lambda row: row)
            | beam.WindowInto(FixedWindows(10))
            | sink()
        )
        seen = result.acknowledged | beam.Map(
            lambda batch, window=beam.DoFn.WindowParam, at=beam.DoFn.TimestampParam: (
                int(window.start),
                batch.rows,
                int(at),
            )
        )
        assert_that(
            seen | "Unwindow" >> beam.WindowInto(GlobalWindows()), equal_to([(0, 10, 9), (10, 10, 19), (20, 5, 24)])
        )

    run(build)


def test_a_step_that_waits_for_acknowledged_starts_after_the_write(table, sink, run):
    def build(pipeline):
        result = pipeline | beam.Create(rows(500)) | sink()
        after = pipeline | "Signal" >> beam.Create([None]) | beam.WaitOn(result.acknowledged)
        there = after | beam.Map(_in_this_process(lambda _: table.count_rows()))
        assert_that(there, equal_to([500]))

    run(build)
    assert ids(table) == list(range(500))


def test_metrics_and_lineage(emulator, table, sink, run):
    result = run(
        lambda pipeline: pipeline | beam.Create(rows(1_000), reshuffle=False) | sink(batching=Batching(max_rows=250))
    )
    found = result.metrics().query(MetricsFilter().with_namespace(WriteToZerobus))
    counters = {metric.key.metric.name: metric.committed for metric in found["counters"]}
    assert counters["rows_written"] == 1_000
    assert counters["batches_sent"] == 4
    assert counters["streams_opened"] == 1
    assert counters["bytes_sent"] > 1_000
    assert (counters["rows_replayed"], counters["retries"], counters["cumulativeThrottlingSeconds"]) == (0, 0, 0)
    distributions = {metric.key.metric.name: metric.committed for metric in found["distributions"]}
    assert (distributions["batch_rows"].sum, distributions["batch_rows"].max) == (1_000, 250)
    assert distributions["ack_latency_ms"].count == distributions["encode_ms"].count == 4
    assert distributions["batch_bytes"].sum == counters["bytes_sent"]
    assert Lineage.query(result.metrics(), Lineage.SINK) == {f"databricks:{TABLE}"}


def test_an_empty_collection_opens_nothing(emulator, table, sink, run):
    result = run(lambda pipeline: pipeline | beam.Create([]) | sink())
    assert emulator.stats.streams_opened == 0
    assert Lineage.query(result.metrics(), Lineage.SINK) == set()


def test_tables_of_parquet_arrive_without_row_objects(table, sink, run, tmp_path, monkeypatch):
    path = tmp_path / "rows.parquet"
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("name", pa.string())])
    pq.write_table(pa.Table.from_pylist(rows(5_000), schema), path, row_group_size=1_000)
    monkeypatch.delattr(PyarrowBatchConverter, "explode_batch")
    run(lambda pipeline: pipeline | beam.io.ReadFromParquet(str(path), as_rows=True) | sink())
    assert ids(table) == list(range(5_000))


def test_bad_rows_of_parquet_are_dead_letters_as_rows(emulator, table, sink, run, tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"id": pa.array([1, None, 3]), "name": ["a", "b", "c"]}), path)

    def build(pipeline):
        result = (
            pipeline
            | beam.io.ReadFromParquet(str(path), as_rows=True)
            | sink(schema=COLUMNS, on_bad_rows="dead_letter")
        )
        assert_that(result.failed_rows | beam.Map(lambda row: tuple(row.element)), equal_to([(None, "b")]))

    run(build)
    assert ids(table) == [1, 3]


def test_a_bad_row_of_parquet_that_python_cannot_hold_is_a_dead_letter(emulator, sink, run, tmp_path):
    emulator.create_table(TABLE, "id BIGINT NOT NULL, at TIMESTAMP")
    path = tmp_path / "rows.parquet"
    year_10_000 = pa.array([253_402_300_800_000_000, 0], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"id": pa.array([1, None]), "at": year_10_000}), path)

    def build(pipeline):
        tables = pipeline | beam.Create([pq.read_table(path)], reshuffle=False) | beam.ParDo(AsTables())
        result = tables | sink(schema="unity_catalog", on_bad_rows="dead_letter")
        shown = result.failed_rows | beam.Map(lambda row: (isinstance(row.element, pa.Table), row.error_type))
        assert_that(shown, equal_to([(True, "out_of_range"), (False, "null_in_not_null_column")]))

    run(build)


class AsTables(beam.DoFn):
    """Emits Tables as batches of rows; Beam has no type for the timestamps in them."""

    @beam.DoFn.yields_batches
    def process(self, element):
        yield element

    def get_output_batch_type(self, _):
        return pa.Table

    def infer_output_type(self, _):
        return RowTypeConstraint.from_fields([("id", int), ("at", int)])


def test_max_delay_sends_rows_that_wait_in_an_open_bundle(emulator, table, sink, run):
    """The bundle ends only when its first row is in the table, which only max_delay can achieve."""

    def wait_for_the_first(i):
        if i == 1:
            deadline = time.monotonic() + 60
            while not table.count_rows():
                assert time.monotonic() < deadline, "the first row was not sent while the bundle was open"
                time.sleep(0.05)
        return {"id": i, "name": None}

    run(
        lambda pipeline: (
            pipeline
            | beam.Create([0, 1], reshuffle=False)
            | beam.Map(_in_this_process(wait_for_the_first))
            | sink(batching=Batching(max_delay=0.2))
        )
    )
    assert ids(table) == [0, 1]
    assert not [thread for thread in threading.enumerate() if thread.name == "zerobus-max-delay"]


_functions = {}


class _in_this_process:  # noqa: N801 - used as a function
    """A function that is pickled by its name, so that it keeps its closure."""

    def __init__(self, function):
        self.name = function.__qualname__
        _functions[self.name] = function

    def __call__(self, element):
        return _functions[self.name](element)


@pytest.mark.parametrize(
    "windows", [GlobalWindows(), SlidingWindows(20, 10)], ids=lambda windows: type(windows).__name__
)
def test_small_bundles_are_collected_across_bundles(emulator, table, sink, windows):
    stream = test_stream.TestStream()
    for start in range(0, 60, 2):
        stream.advance_watermark_to(start)
        stream.add_elements([TimestampedValue(row, row["id"]) for row in rows(60)[start : start + 2]])
    stream.advance_processing_time(100)
    stream.advance_watermark_to_infinity()
    options = PipelineOptions()
    options.view_as(StandardOptions).streaming = True
    with beam.Pipeline(runner=BundleBasedDirectRunner(), options=options) as pipeline:
        result = (
            pipeline
            | stream
            | beam.WindowInto(windows)
            | sink(batching=Batching(max_rows=20, max_delay=10, across_bundles=True))
        )
        assert_that(
            result.failed_rows | "Unwindow" >> beam.WindowInto(GlobalWindows()), equal_to([]), label="no failed rows"
        )
    assert ids(table) == list(range(60))
    assert emulator.stats.tables[TABLE].calls < 15


def test_batches_are_sent_while_others_are_unacknowledged(emulator, table, sink, run):
    emulator.faults = Faults(ack_delay=1.5)
    started = time.monotonic()
    run(lambda pipeline: pipeline | beam.Create(rows(2_000), reshuffle=False) | sink(batching=Batching(max_rows=100)))
    assert time.monotonic() - started < 20 * 1.5
    assert ids(table) == list(range(2_000))


def test_a_bundle_that_failed_leaves_no_rows_in_the_writer(emulator, table, sink):
    emulator.faults = Faults(script=(ScriptedFault("status", at_call=1, times=99),))
    config = sink(retry=Retry(max_retries=0))._config
    dofn = WriteRows(SinkSettings(config=config, batching=Batching(max_rows=10), dead_letters=False, namespace="sink"))
    dofn.setup()
    with shared.acquire(config) as lease:
        for _ in range(3):  # the runner tries it again
            dofn.start_bundle()
            for row in rows(50):
                dofn.process(row)
            eventually(lambda: not lease.writer.in_flight_rows)  # all five batches have failed, and one will be raised
            with pytest.raises(TransientError):
                list(dofn.finish_bundle())
        assert not lease.writer.has_unreported_failures
