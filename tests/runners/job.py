"""The one job that every runner runs: `rows` rows with ids from 0, so that a missing row is always noticed.

It is a program, so that runners start it as users do, and a module, so that tests apply the same transforms.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.periodicsequence import PeriodicImpulse, RebaseMode

from beam_zerobus import WriteToZerobus

TABLE = "main.runners.events"
COLUMNS = "id BIGINT NOT NULL, name STRING, value DOUBLE, worker INT NOT NULL"


def rows_between(start: int, stop: int, seconds: float = 0.0) -> Iterator[dict[str, Any]]:
    """Yield the rows of a range, in that many seconds at least; `worker` is the process that made them."""
    worker = os.getpid()
    time.sleep(seconds)
    for number in range(start, stop):
        name = f"row {number}" if number % 10 else None
        yield {"id": number, "name": name, "value": number / 8, "worker": worker}


def generate(pipeline: beam.Pipeline, *, rows: int, ranges: int = 40, seconds: float = 0.0) -> Any:
    """Make rows in `ranges` pieces spread over the workers; each takes `seconds` at least."""
    edges = [rows * i // ranges for i in range(ranges + 1)]
    return (
        pipeline
        | "Ranges" >> beam.Create(list(pairwise(edges)))
        | beam.Reshuffle()
        | "Rows" >> beam.FlatMapTuple(rows_between, seconds=seconds)
    )


def tick(pipeline: beam.Pipeline, *, rows: int, rows_per_tick: int, interval: float) -> Any:
    """Make the same rows with an unbounded source: some at each tick of a clock, spread over the workers."""

    def rows_of(number: int) -> Iterator[dict[str, Any]]:
        yield from rows_between(number * rows_per_tick, (number + 1) * rows_per_tick)

    numbers = range(rows // rows_per_tick)
    return (
        pipeline
        | PeriodicImpulse(data=numbers, fire_interval=interval, rebase=RebaseMode.REBASE_ALL)
        | beam.Reshuffle()
        | "Rows" >> beam.FlatMap(rows_of)
    )


def without_every_hundredth_id(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row as it is, or one that the table rejects: its id is NOT NULL."""
    return {**row, "id": None if row["id"] % 100 == 0 else row["id"]}


def as_line(failed: Any) -> str:
    """Return a failed row as a line of JSON."""
    return json.dumps({"element": failed.element, "error_type": failed.error_type, "message": failed.message})


def copies(table: pa.Table, rows: int) -> Counter[int]:
    """Return how many rows are in the table once, twice and so on.

    Raises:
        AssertionError: A row is missing, an unknown row is there, or a value differs.
    """
    counts = pc.value_counts(table["id"])
    ids = counts.field("values")
    assert len(ids) == rows, f"{len(ids)} of {rows} rows arrived"
    assert pc.min_max(ids).as_py() == {"min": 0, "max": rows - 1}
    expected_value = pc.divide(pc.cast(table["id"], pa.float64()), 8.0)
    assert pc.all(pc.equal(table["value"], expected_value)).as_py()
    named = table.filter(pc.is_valid(table["name"]))
    expected_name = pc.binary_join_element_wise("row", pc.cast(named["id"], pa.string()), " ")
    assert pc.all(pc.equal(named["name"], expected_name)).as_py()
    nameless = table.filter(pc.is_null(table["name"]))["id"].to_pylist()
    assert all(number % 10 == 0 for number in nameless)
    return Counter(counts.field("counts").to_pylist())


def digest(table: pa.Table) -> str:
    """Return a digest of the rows, in any order and from any worker."""
    lines = io.BytesIO()
    pyarrow.csv.write_csv(table.drop_columns(["worker"]).sort_by("id"), lines)
    return hashlib.sha256(lines.getvalue()).hexdigest()


def expected_digest(rows: int) -> str:
    """Return the digest of the table that the job writes on any runner."""
    return digest(pa.Table.from_pylist(list(rows_between(0, rows))))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the rows; options that are not named here go to the runner."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--ranges", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.0, help="time that each range takes at least")
    parser.add_argument("--rows-per-tick", type=int, help="run as a stream with so many rows at a time")
    parser.add_argument("--interval", type=float, default=0.1, help="seconds between ticks")
    parser.add_argument("--rejected", help="make every hundredth row a bad one; write those to files of this prefix")
    job, runner_options = parser.parse_known_args(arguments)
    with beam.Pipeline(options=PipelineOptions(runner_options)) as pipeline:
        if job.rows_per_tick:
            rows = tick(pipeline, rows=job.rows, rows_per_tick=job.rows_per_tick, interval=job.interval)
        else:
            rows = generate(pipeline, rows=job.rows, ranges=job.ranges, seconds=job.seconds)
        if job.rejected:
            spoiled = rows | "Spoil" >> beam.Map(without_every_hundredth_id)
            written = spoiled | WriteToZerobus(TABLE, schema=COLUMNS, on_bad_rows="dead_letter")
            written.failed_rows | beam.Map(as_line) | beam.io.WriteToText(job.rejected)
        else:
            rows | WriteToZerobus(TABLE, schema=COLUMNS)


if __name__ == "__main__":
    # Workers import this module by its name: functions of __main__ would have to be sent with the job.
    from tests.runners import job

    job.main()
