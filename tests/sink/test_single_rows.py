"""One row of a batch is itself in every Arrow type, and nothing but itself."""

from __future__ import annotations

import datetime as dt
import decimal
import pickle

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from apache_beam.testing.util import assert_that, equal_to

from beam_zerobus.sink.elements import Elements, Origin
from beam_zerobus.sink.single_rows import single_row
from tests.schema.odd_values import null_view

COUNT = 600
TEXT = pa.array([None if number % 5 == 0 else f"{number} is a longer text" for number in range(COUNT)])
VIEW = TEXT.cast(pa.string_view())
WORDS = pa.array([f"word {number}" for number in range(COUNT)])
NUMBERS = pa.array(range(COUNT), pa.int32())
EACH = pa.array(range(COUNT + 1), pa.int32())  # offsets of lists with one value each
ONES = pa.array([1] * COUNT, pa.int32())
EMPTY = pa.array([number % 7 == 0 for number in range(COUNT)])  # the mask of nested columns
DICTIONARY = TEXT.dictionary_encode()
RUNS = pc.run_end_encode(TEXT)
NOON = dt.datetime(2024, 2, 29, 12)

COLUMNS = {
    "numbers": NUMBERS,
    "decimals": pa.array([decimal.Decimal(number) for number in range(COUNT)], pa.decimal128(38, 10)),
    "timestamps": pa.array([NOON] * COUNT, pa.timestamp("ns", "Europe/Berlin")),
    "nulls": pa.nulls(COUNT),
    "text": TEXT,
    "large_text": TEXT.cast(pa.large_string()),
    "text_view": VIEW,
    "binary_view": TEXT.cast(pa.binary()).cast(pa.binary_view()),
    "dictionary": DICTIONARY,
    "ordered": pa.DictionaryArray.from_arrays(NUMBERS.cast(pa.int16()), WORDS, ordered=True),
    "dictionary_of_views": pa.DictionaryArray.from_arrays(NUMBERS, VIEW),
    "runs": RUNS,
    "long_runs": pa.RunEndEncodedArray.from_arrays(pa.array([250, 251, COUNT], pa.int32()), pa.array(["a", None, "c"])),
    "runs_of_views": pa.RunEndEncodedArray.from_arrays(EACH.slice(1), VIEW),
    "list": pa.ListArray.from_arrays(EACH, WORDS, mask=EMPTY),
    "list_of_views": pa.ListArray.from_arrays(EACH, VIEW, mask=EMPTY),
    "list_of_dictionaries": pa.ListArray.from_arrays(EACH, DICTIONARY, mask=EMPTY),
    "large_list_of_runs": pa.LargeListArray.from_arrays(EACH.cast(pa.int64()), RUNS),
    "list_view": pa.ListViewArray.from_arrays(NUMBERS, ONES, TEXT, mask=EMPTY),
    "large_list_view": pa.LargeListViewArray.from_arrays(NUMBERS.cast(pa.int64()), ONES.cast(pa.int64()), VIEW),
    "list_of_list_views": pa.ListArray.from_arrays(EACH, pa.ListViewArray.from_arrays(NUMBERS, ONES, TEXT)),
    "fixed_size_list": pa.FixedSizeListArray.from_arrays(VIEW, 1, mask=EMPTY),
    "struct": pa.StructArray.from_arrays([VIEW, DICTIONARY, RUNS], ["view", "dictionary", "runs"], mask=EMPTY),
    "map": pa.MapArray.from_arrays(EACH, WORDS, VIEW, mask=EMPTY),
    "uuid": pa.array([bytes([number % 256]) * 16 for number in range(COUNT)], pa.uuid()),
    "json": pa.ExtensionArray.from_storage(pa.json_(pa.string_view()), WORDS.cast(pa.string_view())),
}


@pytest.mark.parametrize("kind", ["RecordBatch", "slice", "Table"])
@pytest.mark.parametrize("name", COLUMNS)
def test_a_row_of_each_type(name, kind):
    batch = pa.RecordBatch.from_arrays([COLUMNS[name], NUMBERS], schema=schema_of(name))
    rows = {
        "RecordBatch": batch,
        "slice": batch.slice(100),
        "Table": pa.Table.from_batches([batch.slice(0, 0), batch.slice(0, 250), batch.slice(250)]),
    }[kind]
    for index in (0, 1, 7, 249, 250, 350, rows.num_rows - 1):
        row = single_row(rows, index)
        row.validate(full=True)
        assert type(row) is type(rows)
        assert row.schema.equals(rows.schema, check_metadata=True)
        assert str(row.to_pylist()) == str(rows.slice(index, 1).to_pylist())
        assert len(pickle.dumps(row)) < 4_000  # the batch has more than 10,000 bytes
        assert pickle.loads(pickle.dumps(row)).equals(row)


def schema_of(name: str) -> pa.Schema:
    field = pa.field(name, COLUMNS[name].type, metadata={"a": "b"})
    return pa.schema([field, pa.field("number", pa.int32())], metadata={"c": "d"})


WORD_VIEWS = WORDS.cast(pa.string_view())


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        ("STRING", WORD_VIEWS),
        ("BINARY", WORDS.cast(pa.binary()).cast(pa.binary_view())),
        ("STRING", RUNS),
        ("STRING", DICTIONARY),
        ("ARRAY<STRING>", pa.ListArray.from_arrays(EACH, WORD_VIEWS)),
        ("ARRAY<STRING>", pa.ListViewArray.from_arrays(NUMBERS, ONES, WORDS)),
        ("MAP<STRING, STRING>", pa.MapArray.from_arrays(EACH, WORDS, WORD_VIEWS)),
        ("STRUCT<x: STRING>", pa.StructArray.from_arrays([WORD_VIEWS], ["x"])),
    ],
    ids=lambda value: str(getattr(value, "type", value)),
)
def test_a_bad_row_beside_such_a_column_is_a_failed_row_alone(emulator, sink, run, kind, column):
    table = emulator.create_table("main.iot.air", f"id INT NOT NULL, x {kind}")
    ids = pa.array([None if number == 3 else number for number in range(COUNT)], pa.int32())
    batch = pa.RecordBatch.from_arrays([ids, column], names=["id", "x"])
    expected = str([{"id": None, "x": column.slice(3, 1).to_pylist()[0]}])

    def build(pipeline):
        result = pipeline | beam.Create([batch], reshuffle=False) | sink(on_bad_rows="dead_letter")
        assert_that(result.failed_rows | beam.Map(lambda row: str(row.element.to_pylist())), equal_to([expected]))

    run(build)
    assert table.count_rows() == COUNT - 1


def test_an_origin_gives_rows_of_a_table_in_many_chunks():
    table = pa.Table.from_batches([pa.RecordBatch.from_pydict({"id": [number]}) for number in range(100)])
    origin = Origin(Elements([table]), holds_rows=True)
    assert [origin.element(number).to_pylist() for number in (0, 57, 99)] == [[{"id": n}] for n in (0, 57, 99)]


@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view()])
def test_the_view_of_a_null_is_not_followed(kind):
    assert single_row(pa.record_batch({"x": null_view(kind)}), 1).to_pylist() == [{"x": None}]
