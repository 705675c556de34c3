"""Rejected rows of a batch that are kept together have the letters that each would have alone."""

from __future__ import annotations

import datetime as dt
import json

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus import KeepDeadLetters
from beam_zerobus.errors import RowError
from beam_zerobus.sink.dead_letters import RawText, loads, to_element
from beam_zerobus.sink.dead_letters.json_columns import each_as_json
from beam_zerobus.sink.dead_letters.json_text import dumps
from beam_zerobus.sink.dead_letters.letters import lines_of
from beam_zerobus.sink.dead_letters.readable import plain
from beam_zerobus.sink.dead_letters.typed_values import restored
from beam_zerobus.sink.failed_rows import FailedRows
from beam_zerobus.sink.rows_in_columns import RowsInColumns
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
        mine, its = one.pop("typed"), other.pop("typed")
        assert one == other
        assert mine == its or restored(mine).equals(restored(its))
        if mine.keys() == its.keys() == {"$arrow"}:
            assert len(mine["$arrow"]) <= len(its["$arrow"]) + 200  # a bitmap of nulls, where other rows have some


def letters(directory, file_format):
    if file_format == "parquet":
        found = pq.read_table(directory).to_pylist()
        found = [row | {name: json.loads(row[name], parse_float=str) for name in ("element", "typed")} for row in found]
    else:
        lines = [line for file in directory.glob("*") for line in file.read_text().splitlines()]
        found = [json.loads(line, parse_float=str) for line in lines]
    return sorted(found, key=lambda letter: letter["message"])


cells = st.one_of(
    *(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.binary(max_size=4).map(RawText)),
    st.text('",\\\n\x00\x1f\x7fé😀 %a', max_size=6),
)


moments = st.datetimes() | st.datetimes(timezones=st.just(dt.UTC))


@given(st.lists(cells | st.decimals() | st.binary(max_size=4) | st.dates() | moments))
def test_a_column_has_the_text_of_each_value(values):
    assert each_as_json(values) == [text for value in values for text in each_as_json([value])]
    assert [loads(text) for text in each_as_json(values)] == [loads(dumps(plain(value))) for value in values]
    numbers = [value for value in values if isinstance(value, int | float)]
    assert each_as_json(numbers) == [dumps(plain(value)) for value in numbers]


columns = st.one_of(st.just(st.text(max_size=3)), st.just(st.integers(0, 9) | st.none()), st.just(cells))


@settings(max_examples=50)
@given(st.data(), st.integers(1, 4), st.lists(st.sampled_from(["a", "$b", "c%s", '"']), min_size=1, unique=True))
def test_rows_in_columns_have_the_same_letters_together_and_alone(data, count, names):
    kinds = [data.draw(columns) for _ in names]
    values = [data.draw(st.lists(kind, min_size=count, max_size=count)) for kind in kinds]
    rows = RowsInColumns(names, values)
    errors = [RowError(index, "wrong_type", f"line {index}: \ud800", "reading") for index in range(count)]
    together = lines_of(FailedRows.of(rows, errors, table="a.b.c"))
    alone = [lines_of(FailedRows.of([row], [error], table="a.b.c"))[0] for row, error in zip(rows, errors, strict=True)]
    for line, other, row in zip(together, alone, rows, strict=True):
        letter, expected = loads(line.encode()), loads(other)
        del letter["timestamp"], expected["timestamp"]
        assert letter == expected
        assert repr(to_element(letter)) == repr(row)
