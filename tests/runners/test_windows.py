"""The sink in streams of small bundles, and with elements in several windows."""

from __future__ import annotations

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing import test_stream
from apache_beam.transforms.window import FixedWindows, SlidingWindows, TimestampedValue

from beam_zerobus import Batching, WriteToZerobus
from beam_zerobus.emulator import Emulator
from tests.runners import job
from tests.runners.support import workers_that_wrote_the_same_table

pytestmark = pytest.mark.usefixtures("worker_here")


def row(number: int) -> dict:
    return next(job.rows_between(number, number + 1))


def test_stream_of_many_small_bundles(zerobus: Emulator) -> None:
    stream = test_stream.TestStream()
    for start in range(0, 50, 5):
        stream.advance_watermark_to(start)
        stream.add_elements([TimestampedValue(number, number) for number in range(start, start + 5)])
    stream.advance_watermark_to_infinity()
    with beam.Pipeline(runner=BundleBasedDirectRunner(), options=PipelineOptions(["--streaming"])) as pipeline:
        (
            pipeline
            | stream
            | beam.Map(row)
            | beam.WindowInto(FixedWindows(10))
            | WriteToZerobus(job.TABLE, schema=job.COLUMNS)
        )
    workers_that_wrote_the_same_table(zerobus, 50)


def test_elements_in_several_windows_are_written_once(zerobus: Emulator) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        (
            pipeline
            | beam.Create(range(1_000))
            | beam.Map(lambda number: TimestampedValue(row(number), number))
            | beam.WindowInto(SlidingWindows(30, 10))
            | WriteToZerobus(job.TABLE, schema=job.COLUMNS, batching=Batching(max_rows=64))
        )
    workers_that_wrote_the_same_table(zerobus, 1_000)
