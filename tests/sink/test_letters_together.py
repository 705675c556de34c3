"""Rejected rows of a batch that are kept together have the letters that each would have alone."""

from __future__ import annotations

import json

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_zerobus import KeepDeadLetters
from beam_zerobus.errors import RowError
from beam_zerobus.sink.dead_letters.arrow_values import from_base64
from beam_zerobus.sink.failed_rows import FailedRows
from beam_zerobus.sink.single_rows import SingleRows
from tests.sink.test_letters_come_back import ARROW_COLUMNS, BEYOND

NOT_UTF8 = pa.array([b"\xff", b"a"]).view(pa.string())
ARRAYS = [*ARROW_COLUMNS.values(), *BEYOND.values(), NOT_UTF8, pa.array([float("nan"), -0.0, 1e300])]


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_rows_of_a_batch_have_the_same_letters_together_and_alone(run, tmp_path, file_format):
    together = []
    for array in ARRAYS:
        batch = pa.RecordBatch.from_arrays(
            [array, pa.array(["a"] * len(array))], ["x", "$name" if len(array) < 3 else "y"]
        )
        chosen = range(0, len(array), 50)
        for rows in (batch, pa.Table.from_batches([batch])):
            if (elements := SingleRows.of(rows, chosen)) is not None:
                errors = [RowError(index, "wrong_type", f"{len(together):03} {index:03}") for index in chosen]
                together.append(FailedRows.of(elements, errors, table="a.b.c"))
    assert len(together) > 30
    alone = [beam.Row(**letter) for failed in together for letter in failed.letters()]

    def build(pipeline):
        for name, failed in (("together", together), ("alone", alone)):
            kept = KeepDeadLetters(str(tmp_path / name), file_format)
            (
                pipeline
                | f"Failed {name}" >> beam.Create([0])
                | f"Of {name}" >> beam.FlatMap(lambda _, f=failed: f)
                | name >> kept
            )

    run(build)
    kept_together, kept_alone = (letters(tmp_path / name, file_format) for name in ("together", "alone"))
    assert len(kept_together) == len(kept_alone) == len(alone)
    for one, other in zip(kept_together, kept_alone, strict=True):
        mine, its = one.pop("typed")["$arrow"], other.pop("typed")["$arrow"]
        assert one == other
        assert mine == its or from_base64(mine).equals(from_base64(its))
        assert len(mine) <= len(its) + 200  # a bitmap of nulls, where other rows have some


def letters(directory, file_format):
    if file_format == "parquet":
        found = pq.read_table(directory).to_pylist()
        found = [row | {name: json.loads(row[name], parse_float=str) for name in ("element", "typed")} for row in found]
    else:
        lines = [line for file in directory.glob("*") for line in file.read_text().splitlines()]
        found = [json.loads(line, parse_float=str) for line in lines]
    return sorted(found, key=lambda letter: letter["message"])
