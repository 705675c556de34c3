"""Rejected rows of a batch that are kept together have the letters that each would have alone."""

from __future__ import annotations

import datetime as dt
import json
import pickle

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus import KeepDeadLetters
from beam_zerobus.errors import RowError, RowErrors
from beam_zerobus.sink.dead_letters import RawText, loads, to_element
from beam_zerobus.sink.dead_letters.json_columns import each_as_json
from beam_zerobus.sink.dead_letters.json_text import dumps
from beam_zerobus.sink.dead_letters.letters import lines_of
from beam_zerobus.sink.dead_letters.readable import plain
from beam_zerobus.sink.dead_letters.typed_values import restored
from beam_zerobus.sink.failed_rows import FailedRows
from beam_zerobus.sink.rows_in_columns import FirstOf, RowsInColumns
from beam_zerobus.sink.rows_of_file import Places
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


@pytest.mark.parametrize("before", ["in.csv, line ", 'é "x"\\\ud800.csv, line '])
def test_messages_with_places_are_the_same_together_and_alone(before):
    rows = RowsInColumns(["n"], [pa.array(range(4))])
    places = Places(before, np.array([2, 3, 500, 7]), ": ")
    reasons = [RowError(0, "a", 'it is "a"', "reading"), RowError(0, "b", "it is \ud800", "schema")]
    failed = FailedRows.of(rows, RowErrors(np.arange(4), np.array([0, 1, 0, 0]), reasons), table="a.b.c", places=places)
    alone = list(failed.letters())
    assert alone[1]["message"] == f"{before}3: it is \ud800"
    for line, letter in zip(lines_of(pickle.loads(pickle.dumps(failed))).splitlines(), alone, strict=True):
        assert loads(line) | {"timestamp": None, "typed": None} == letter | {"timestamp": None, "typed": None}


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
    texts = each_as_json(values).to_pylist()
    assert texts == [text for value in values for text in each_as_json([value]).to_pylist()]
    assert [loads(text) for text in texts] == [loads(dumps(plain(value))) for value in values]
    numbers = [value for value in values if isinstance(value, int | float)]
    assert each_as_json(numbers).to_pylist() == [dumps(plain(value)) for value in numbers]


raw_texts = st.none() | st.text('",\\\n\x00é😀a', max_size=4).map(str.encode) | st.binary(max_size=4)


@st.composite
def arrays(draw, count):
    """A column as the CSV reader makes it: text that may not be UTF-8, below numbers where there are some."""

    def array(values, kind):
        return pa.array(draw(st.lists(st.none() | values, min_size=count, max_size=count)), kind)

    numbers = [(st.integers(-(2**63), 2**63 - 1), pa.int64()), (st.floats(), pa.float64()), (st.booleans(), pa.bool_())]
    above = [array(values, kind) for values, kind in draw(st.lists(st.sampled_from(numbers), max_size=2))]
    text = array(raw_texts, pa.binary())
    return FirstOf((*above, text)) if above else text


def lists(values):
    return lambda count: st.lists(values, min_size=count, max_size=count)


columns = st.sampled_from([lists(st.text(max_size=3)), lists(st.integers(0, 9) | st.none()), lists(cells), arrays])


@settings(max_examples=50)
@given(st.data(), st.integers(1, 4), st.lists(st.sampled_from(["a", "$b", "c%s", '"']), min_size=1, unique=True))
def test_rows_in_columns_have_the_same_letters_together_and_alone(data, count, names):
    rows = RowsInColumns(names, [data.draw(data.draw(columns)(count)) for _ in names])
    errors = [RowError(index, "wrong_type", f"line {index}: \ud800", "reading") for index in range(count)]
    together = lines_of(FailedRows.of(rows, errors, table="a.b.c")).splitlines()
    alone = [lines_of(FailedRows.of([row], [error], table="a.b.c")) for row, error in zip(rows, errors, strict=True)]
    for line, other, row in zip(together, alone, rows, strict=True):
        letter, expected = loads(line), loads(other)
        del letter["timestamp"], expected["timestamp"]
        assert letter == expected
        assert repr(to_element(letter)) == repr(row)
