"""Rows of a file that are one element: each keeps its place and its number."""

from __future__ import annotations

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp

from beam_zerobus import Batching
from beam_zerobus.sink.rows_of_file import RowsOfFile
from beam_zerobus.sink.transform import noting_written
from tests.sink.conftest import TABLE

_noted: list[int] = []
_messages: list[str] = []


def note(numbers: np.ndarray) -> None:
    _noted.extend(numbers.tolist())


def keep(row) -> None:
    _messages.append(row.message)


def test_rows_that_fill_several_batches_keep_numbers_and_places(emulator, sink, run):
    table = emulator.create_table(TABLE, "id INT NOT NULL")
    _noted.clear()
    _messages.clear()
    lines = [b'{"id": %d}' % row if row != 17 else b'{"id": "x"}' for row in range(25)]
    element = TimestampedValue(RowsOfFile(lines, "in.jsonl", "line", range(1, 26)), Timestamp(micros=7_000_000))
    noting = noting_written(sink(batching=Batching(max_rows=10), on_bad_rows="dead_letter"), note)

    def build(pipeline):
        # Create encodes its elements without their timestamps.
        rows = pipeline | beam.Create([0], reshuffle=False) | beam.Map(lambda _: element).with_output_types(RowsOfFile)
        (rows | noting).failed_rows | beam.Map(keep)

    run(build)
    assert sorted(_noted) == [7_000 + row for row in range(25) if row != 17]
    assert sorted(table.to_arrow()["id"].to_pylist()) == [row for row in range(25) if row != 17]
    assert [message.split(", column")[0] for message in _messages] == ["in.jsonl, line 18"]
