"""A job that every runner runs: rows into many tables, few of which have most rows, and some rows that have none.

It is a program, so that runners start it as users do, and a module, so that tests know what it writes.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from beam_zerobus import WriteToZerobus
from beam_zerobus.emulator import Emulator, Faults
from tests.benchmarks.sink_cases import highest_memory

COLUMNS = "id BIGINT NOT NULL, place BIGINT, name STRING"
TEMPLATE = "main.zipf.t{number}"
BAD = {500: "null_in_not_null_column", 501: "invalid_table", 502: "unknown_table"}
"""What is wrong with some of each thousand rows."""


def rows_between(start: int, stop: int, tables: int = 200, bad: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the rows of a range; `number` says the table."""
    weights = 1 / np.arange(1, tables + 1)
    numbers = np.random.default_rng(start).choice(tables, stop - start, p=weights / weights.sum()).tolist()
    for place, number in enumerate(numbers, start):
        row = {"id": place, "place": place, "name": f"row {place}", "number": number}
        match BAD.get(place % 1000) if bad else None:
            case "null_in_not_null_column":
                row["id"] = None
            case "invalid_table":
                row["number"] = "no name"
            case "unknown_table":
                row["number"] = tables + place % 7
        yield row


def ranges(rows: int) -> list[tuple[int, int]]:
    """Return the pieces in which rows are made."""
    edges = [rows * i // 40 for i in range(41)]
    return list(pairwise(edges))


def create_tables(emulator: Emulator, tables: int) -> None:
    """Make the tables of the job."""
    for number in range(tables):
        emulator.create_table(TEMPLATE.format(number=number), COLUMNS)


@contextmanager
def trouble(emulator: Emulator) -> Iterator[None]:
    """One percent of faults, and streams that the service closes again and again."""
    emulator.faults = Faults(seed=1, rate=0.01, max_delay=0.1)
    ended = threading.Event()

    def rotate() -> None:
        while not ended.wait(2.0):
            emulator.rotate_streams()

    thread = threading.Thread(target=rotate)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        emulator.faults = Faults()


def check(emulator: Emulator, rows: int, tables: int, *, rejected: Path | None = None, repeated: bool = False) -> None:
    """Check that every row is in its table, or in the files of rejected rows with its reason.

    Args:
        emulator: Has the tables.
        rows: The rows that the job made.
        tables: Their number.
        rejected: The prefix of the files; None where no row was bad.
        repeated: A row may be there more than once, as after a lost acknowledgement.
    """
    expected: defaultdict[int, Counter[int]] = defaultdict(Counter)
    letters: Counter[tuple[int, str]] = Counter()
    for start, stop in ranges(rows):
        for row in rows_between(start, stop, tables=tables, bad=rejected is not None):
            reason = BAD.get(row["place"] % 1000) if rejected is not None else None
            if reason is None:
                expected[row["number"]][row["id"]] += 1
            else:
                letters[row["place"], reason] += 1
    for number in range(tables):
        stored = Counter(emulator.table(TEMPLATE.format(number=number)).to_arrow()["id"].to_pylist())
        if repeated:
            assert stored.keys() == expected[number].keys(), f"table {number}"
        else:
            assert stored == expected[number], f"table {number}"
    if rejected is not None:
        lines = [line for file in rejected.parent.glob(f"{rejected.name}*") for line in file.read_text().splitlines()]
        found = Counter(map(tuple, map(json.loads, lines)))
        assert found.keys() == letters.keys() if repeated else found == letters


def keep(failed: Any, prefix: str = "") -> None:
    """Add a failed row to the file of this process; Beam's own files need more of Flink's buffers than a test has."""
    with Path(f"{prefix}-{os.getpid()}").open("a") as file:
        file.write(json.dumps([failed.element["place"], failed.error_type]) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the rows; options that are not named here go to the runner."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--tables", type=int, default=200, help="with 1, the table is named; else a template is")
    parser.add_argument("--max_open_tables", type=int, default=20)
    parser.add_argument(
        "--rejected", help="make three of each thousand rows bad ones; write those to files of this prefix"
    )
    parser.add_argument("--peak", help="write the highest memory of this process, in bytes, to this file")
    job, runner_options = parser.parse_known_args(arguments)
    sink = WriteToZerobus(
        TEMPLATE if job.tables > 1 else TEMPLATE.format(number=0),
        schema=COLUMNS,
        drop=["number"],
        max_open_tables=job.max_open_tables,
        on_bad_rows="dead_letter" if job.rejected else "raise",
    )
    with beam.Pipeline(options=PipelineOptions(runner_options)) as pipeline:
        written = (
            pipeline
            | "Ranges" >> beam.Create(ranges(job.rows))
            | beam.Reshuffle()
            | "Rows" >> beam.FlatMapTuple(rows_between, tables=job.tables, bad=bool(job.rejected))
            | sink
        )
        if job.rejected:
            written.failed_rows | beam.Map(keep, job.rejected)
    if job.peak:
        Path(job.peak).write_text(str(highest_memory()))


if __name__ == "__main__":
    # Workers import this module by its name: functions of __main__ would have to be sent with the job.
    from tests.runners import tables_job

    tables_job.main()
