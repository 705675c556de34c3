"""Bad rows: exactly these are dead letters, with timestamp, windows and reason; all others are in the table."""

from __future__ import annotations

import decimal
import logging
import time
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.error_handling import ErrorHandler
from apache_beam.transforms.window import FixedWindows, GlobalWindows, SlidingWindows, TimestampedValue
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_zerobus import Batching, ConversionError, OAuthClientCredentials, RejectedError, WriteToZerobus
from beam_zerobus.emulator import Emulator, Faults, RejectRows
from beam_zerobus.sink.failed_rows import failure_log
from beam_zerobus.writer.shared import close_all

TABLE = "main.iot.air"
COLUMNS = "id BIGINT NOT NULL, small SMALLINT, price DECIMAL(6, 2), name STRING"

BREAKS = {
    "null_in_not_null_column": lambda row: row | {"id": None},
    "out_of_range": lambda row: row | {"small": 70_000},
    "inexact": lambda row: row | {"price": decimal.Decimal("1.234")},
    "wrong_type": lambda row: row | {"name": 5},
    "unknown_field": lambda row: row | {"colour": "red"},
}


def good(i):
    return {"id": i, "small": i % 100, "price": None, "name": f"n{i}"}


@pytest.fixture
def table(emulator):
    return emulator.create_table(TABLE, COLUMNS)


def runners():
    portable = PipelineOptions(["--job_endpoint=embed", "--environment_type=LOOPBACK"])
    return {
        "FnApiRunner": lambda: beam.Pipeline(runner=FnApiRunner()),
        "PortableRunner": lambda: beam.Pipeline(runner=PortableRunner(), options=portable),
        "BundleBased": lambda: beam.Pipeline(runner=BundleBasedDirectRunner()),
    }


class Placed(beam.DoFn):
    """Emit each failed row with its timestamp and window."""

    def process(self, row, timestamp=beam.DoFn.TimestampParam, window=beam.DoFn.WindowParam):
        yield row.element["number"], row.error_type, row.stage, int(timestamp), str(window)


@pytest.mark.parametrize(
    "windows", [GlobalWindows(), FixedWindows(10), SlidingWindows(20, 10)], ids=lambda windows: type(windows).__name__
)
@pytest.mark.parametrize("runner", runners())
def test_failed_rows_keep_timestamp_and_windows(emulator, sink, runner, windows):
    emulator.create_table(TABLE, COLUMNS + ", number BIGINT")
    kinds = list(BREAKS)
    rows = [good(i) | {"number": i} for i in range(100)]
    broken = {i: kinds[i % len(kinds)] for i in range(0, 100, 9)}
    elements = [TimestampedValue(BREAKS[broken[i]](row) if i in broken else row, i) for i, row in enumerate(rows)]
    expected = [
        (i, kind, "schema" if kind == "null_in_not_null_column" else "batching", i, str(window))
        for i, kind in broken.items()
        for window in windows.assign(windows.AssignContext(timestamp=beam.utils.timestamp.Timestamp(i)))
    ]
    with runners()[runner]() as pipeline:
        result = (
            pipeline
            | beam.Create(elements)
            | beam.Map(lambda placed: placed)
            | beam.WindowInto(windows)
            | sink(on_bad_rows="dead_letter", batching=Batching(max_rows=32))
        )
        seen = result.failed_rows | beam.ParDo(Placed()) | "Unwindow" >> beam.WindowInto(GlobalWindows())
        assert_that(seen, equal_to(expected))
    ids = sorted(emulator.table(TABLE).to_arrow()["number"].to_pylist())
    assert ids == [i for i in range(100) if i not in broken]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("examples", [5, pytest.param(30, marks=pytest.mark.hostile)])
def test_exactly_the_broken_rows_fail(examples):
    settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))(exactly_the_broken_rows)()


@given(
    count=st.integers(1, 300),
    broken=st.dictionaries(st.integers(0, 299), st.sampled_from(sorted(BREAKS))),
    rejected=st.sets(st.integers(0, 299), max_size=5),
    max_rows=st.integers(1, 200),
    wire_format=st.sampled_from(["proto", "arrow", "json"]),
)
def exactly_the_broken_rows(count, broken, rejected, max_rows, wire_format):
    broken = {i: kind for i, kind in broken.items() if i < count}
    rejected = {i for i in rejected if i < count and i not in broken}
    expected = sorted([*broken.values(), *["rejected_by_service"] * len(rejected)])
    rejections = RejectRows(predicate=lambda row: row["id"] in rejected)
    with Emulator(faults=Faults(reject_rows=(rejections,))) as emulator:
        emulator.create_table(TABLE, COLUMNS)
        sink = WriteToZerobus(
            TABLE,
            endpoint=emulator.endpoint,
            workspace_url=emulator.workspace_url,
            credentials=OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
            on_bad_rows="dead_letter",
            wire_format=wire_format,
            batching=Batching(max_rows=max_rows),
        )
        elements = [BREAKS[broken[i]](good(i)) if i in broken else good(i) for i in range(count)]
        with beam.Pipeline(runner=FnApiRunner()) as pipeline:
            result = pipeline | beam.Create(elements) | sink
            assert_that(result.failed_rows | beam.Map(lambda row: row.error_type), equal_to(expected))
        ids = sorted(emulator.table(TABLE).to_arrow()["id"].to_pylist())
        close_all()
    assert ids == [i for i in range(count) if i not in broken and i not in rejected]


def test_on_bad_rows_raise_fails_the_bundle_with_count_and_reasons(emulator, table, sink, run):
    rows = [BREAKS["wrong_type"](good(i)) if i in (3, 7) else good(i) for i in range(50)]
    with pytest.raises(ConversionError, match=r"2 of 50 rows rejected for table main\.iot\.air: row 3: column 'name'"):
        run(lambda pipeline: pipeline | beam.Create(rows, reshuffle=False) | sink())
    rows[5] = BREAKS["null_in_not_null_column"](good(5))
    with pytest.raises(ConversionError, match=r"3 of 50 rows .* \(2 wrong_type, 1 null_in_not_null_column\): row 3: "):
        run(lambda pipeline: pipeline | beam.Create(rows, reshuffle=False) | sink())
    emulator.faults = Faults(reject_rows=(RejectRows(column="id", value=9),))
    with pytest.raises(RejectedError, match=r"1 of 50 rows rejected for table main\.iot\.air: row 9: "):
        run(lambda pipeline: pipeline | beam.Create([good(i) for i in range(50)], reshuffle=False) | sink())


def test_an_error_handler_receives_the_bad_rows(emulator, table, sink, run):
    def build(pipeline):
        with ErrorHandler(beam.Map(lambda row: (row.error_type, row.table, row.attempts))) as handler:
            _ = pipeline | beam.Create([good(1), BREAKS["wrong_type"](good(2))]) | sink().with_error_handler(handler)
        assert_that(handler.output(), equal_to([("wrong_type", TABLE, 0)]))

    run(build)
    assert table.count_rows() == 1


def test_rows_of_batches_fail_singly_and_batches_that_cannot_fit_as_a_whole(emulator, table, sink, run):
    fitting = pa.record_batch({"id": pa.array([1, None, 3], pa.int64()), "name": ["a", "b", "c"]})
    foreign = pa.table({"id": pa.array([4], pa.int64()), "day": pa.array([0], pa.time32("s"))})

    def build(pipeline):
        result = (
            pipeline
            | beam.Create([fitting, foreign], reshuffle=False)
            | sink(schema=COLUMNS, on_bad_rows="dead_letter")
        )
        seen = result.failed_rows | beam.Map(lambda row: (row.element.to_pylist(), row.error_type, row.stage))
        assert_that(
            seen,
            equal_to(
                [
                    ([{"id": None, "name": "b"}], "null_in_not_null_column", "schema"),
                    (foreign.to_pylist(), "unknown_field", "schema"),
                ]
            ),
        )

    run(build)
    assert sorted(table.to_arrow()["id"].to_pylist()) == [1, 3]


def test_failed_rows_that_nobody_reads_are_counted_and_logged(table, sink, run, caplog):
    failure_log.forget()
    rows = [BREAKS["wrong_type"](good(i)) if i % 2 else good(i) for i in range(10)]
    with caplog.at_level(logging.WARNING, logger="beam_zerobus"):
        result = run(lambda pipeline: pipeline | beam.Create(rows, reshuffle=False) | sink(on_bad_rows="dead_letter"))
    metrics = result.metrics().query(beam.metrics.MetricsFilter().with_namespace(WriteToZerobus))
    counters = {found.key.metric.name: found.committed for found in metrics["counters"]}
    assert (counters["rows_written"], counters["rows_failed"]) == (5, 5)
    assert metrics["string_sets"][0].committed == {"wrong_type"}
    assert f"5 rows rejected for table {TABLE} went to failed_rows" in caplog.text
    assert "column 'name'" in caplog.text
    assert "n1" not in caplog.text


class Typed(NamedTuple):
    id: int
    small: int | None


def test_a_row_that_violates_its_own_type_is_a_dead_letter_too(emulator, sink, run):
    emulator.create_table(TABLE, "id BIGINT NOT NULL, small BIGINT")

    def build(pipeline):
        rows = (
            pipeline
            | beam.Create([1, 2])
            | beam.Map(lambda i: Typed(id=i if i == 1 else None, small=0)).with_output_types(Typed)
        )
        result = rows | sink(on_bad_rows="dead_letter")
        assert_that(
            result.failed_rows | beam.Reshuffle() | beam.Map(lambda row: tuple(row.element)), equal_to([(None, 0)])
        )

    run(build)
    assert emulator.table(TABLE).count_rows() == 1


def test_rows_that_a_failed_bundle_has_not_sent_are_never_sent(emulator, table, sink, run):
    emulator.faults = Faults(rate=1.0, kinds=("reject",))  # no stream can be opened, so everything stays in the ledger
    rows = [*(good(i) for i in range(2_000)), BREAKS["wrong_type"](good(2_000))]
    with pytest.raises(ConversionError):
        run(lambda pipeline: pipeline | beam.Create(rows, reshuffle=False) | sink(batching=Batching(max_rows=500)))
    emulator.faults = Faults()
    time.sleep(1.5)
    assert emulator.stats.tables[TABLE].rows_received == 0
    run(lambda pipeline: pipeline | beam.Create([good(1)]) | sink())
    assert table.count_rows() == 1
