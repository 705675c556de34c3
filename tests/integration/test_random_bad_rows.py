"""Random tables, random rows, a random part of them broken: exactly those come back, all others are in the table.

A row is broken before it is sent (a null, a value of the wrong type or out of range, a field that the table lacks,
anywhere inside a nested column), or fits and is rejected by the service. Each has to come back once for each window it
came in, at its timestamp, with the right reason and column; every other row has to be in the Delta table, whole.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import FixedWindows, GlobalWindows, SlidingWindows, TimestampedValue, WindowFn
from apache_beam.utils.timestamp import Timestamp
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from beam_zerobus import Batching, OAuthClientCredentials, WriteToZerobus
from beam_zerobus.emulator import Emulator, Faults, RejectRows
from beam_zerobus.writer.shared import close_all
from tests.integration.random_rows import Broken, Job, comparable, random_job

NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)  # an example takes a second, and is a seed anyway


class Placed(beam.DoFn):
    """Tell of each failed row which it is, what was wrong where, and where it came out."""

    def process(self, row, timestamp=beam.DoFn.TimestampParam, window=beam.DoFn.WindowParam):
        element = row.element
        if isinstance(element, pa.RecordBatch):
            (element,) = element.select(["number"]).to_pylist()
        number = element["number"] if isinstance(element, dict) else element.number
        (column,) = re.findall(r"column '([^']+)'", row.message)
        yield number, row.error_type, column, int(timestamp), str(window)


def expected_of(job: Job, windows: WindowFn) -> Iterator[tuple[int, str, str, int, str]]:
    rejected = {number: Broken("rejected_by_service", "number") for number in job.rejected}
    for number, why in (job.broken | rejected).items():
        at = job.element_of[number]
        for window in windows.assign(WindowFn.AssignContext(timestamp=Timestamp(at))):
            yield number, why.error_type, why.column, at, str(window)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


RUNNERS = {
    "FnApiRunner": lambda: beam.Pipeline(runner=FnApiRunner()),
    "PortableRunner": lambda: beam.Pipeline(
        runner=PortableRunner(), options=PipelineOptions(["--job_endpoint=embed", "--environment_type=LOOPBACK"])
    ),
    "BundleBased": lambda: beam.Pipeline(runner=BundleBasedDirectRunner()),
}
tables = (f"main.iot.t{number}" for number in itertools.count())
examples = given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(["dict", "Row", "RecordBatch"]),
    wire_format=st.sampled_from(["proto", "arrow", "json"]),
    windows=st.sampled_from([GlobalWindows(), FixedWindows(10), SlidingWindows(20, 10)]),
    count=st.integers(1, 120),
    rate=st.sampled_from([0.0, 0.05, 0.4, 1.0]),
    max_rows=st.integers(1, 150),
)


def check(emulator, runner, *, seed, kind, wire_format, windows, count, rate, max_rows):
    table = next(tables)
    job = random_job(random.Random(seed), kind=kind, wire_format=wire_format, count=count, rate=rate)
    stored = emulator.create_table(table, job.ddl)
    emulator.faults = Faults(
        reject_rows=tuple(RejectRows(column="number", value=n, table=table) for n in sorted(job.rejected))
    )
    sink = WriteToZerobus(
        table,
        endpoint=emulator.endpoint,
        workspace_url=emulator.workspace_url,
        credentials=OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
        schema=job.ddl,
        wire_format=wire_format,
        on_bad_rows="dead_letter",
        batching=Batching(max_rows=max_rows),
    )
    any_type = beam.typehints.Any
    with RUNNERS[runner]() as pipeline:
        result = (
            pipeline
            | beam.Create(list(enumerate(job.elements))).with_output_types(tuple[int, any_type])
            | beam.Map(lambda numbered: TimestampedValue(numbered[1], numbered[0])).with_output_types(any_type)
            | beam.WindowInto(windows)
            | sink
        )
        seen = result.failed_rows | beam.ParDo(Placed()) | "Unwindow" >> beam.WindowInto(GlobalWindows())
        assert_that(seen, equal_to(list(expected_of(job, windows))))
    close_all()
    written = {row["number"]: comparable(row) for row in stored.to_arrow().to_pylist()}
    assert stored.count_rows() == len(written)
    assert written == {
        n: comparable(row) for n, row in job.rows.items() if n not in job.broken | dict.fromkeys(job.rejected)
    }


@pytest.mark.hostile
@settings(max_examples=20, deadline=None, phases=NO_SHRINKING)
@examples
def test_exactly_the_broken_rows_come_back_on_the_fn_api_runner(emulator, **example):
    check(emulator, "FnApiRunner", **example)


@pytest.mark.hostile
@pytest.mark.parametrize("runner", ["PortableRunner", "BundleBased"])
@settings(max_examples=4, deadline=None, phases=NO_SHRINKING)
@examples
def test_exactly_the_broken_rows_come_back_on_other_runners(emulator, runner, **example):
    check(emulator, runner, **example)
