"""Dead letters: whatever an element held comes back from its letter, corrected or not."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import json
import math
import typing
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.utils.timestamp import Duration, Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus.batching import element_converter
from beam_zerobus.schema import Conformer, TableSchema
from beam_zerobus.sink.dead_letters import RawText, loads, to_element, to_json, to_record
from beam_zerobus.sink.dead_letters.readable import plain
from beam_zerobus.sink.dead_letters.typed_values import exact, restored
from beam_zerobus.sink.dead_letters.values import OtherValue
from beam_zerobus.sink.single_rows import single_row
from tests.sink.test_single_rows import COLUMNS as ARROW_COLUMNS

YEAR_10_000 = 253_402_300_800_000_000
here = settings(deadline=None, max_examples=150)


class Colour(enum.Enum):
    RED = "rot"


class Other(enum.Enum):
    RED, ONE = "rot", 1


class Level(enum.IntEnum):
    ONE = 1
    HIGH = 3


class Pair(NamedTuple):
    a: Any
    b: Any


@dataclasses.dataclass(frozen=True)
class Data:
    i: Any
    x: Any


class Tuple(NamedTuple):
    i: Any
    x: Any


integers = st.integers() | st.integers(-(2**31), 2**31 - 1) | st.sampled_from([-(2**63), 2**63])
decimals = st.decimals() | st.decimals(allow_nan=False, allow_infinity=False, places=2)
zones = st.timezones() | st.just(dt.UTC) | st.just(dt.timezone(dt.timedelta(hours=-3, minutes=-7, seconds=-5)))
texts = (
    st.text() | st.text(st.characters(categories=["Cs"])) | st.sampled_from(["1.5", "2024-02-29", "AAA=", '{"a": 1}'])
)
numpy_values = st.one_of(
    st.integers(-(2**31), 2**31 - 1).map(np.int32),
    st.integers(0, 2**64 - 1).map(np.uint64),
    st.floats(width=32).map(np.float32),
    st.floats().map(np.float64),
    st.floats(width=16).map(np.float16),
    st.booleans().map(np.bool_),
    st.integers(-(2**62), 2**62).map(lambda nanos: np.datetime64(nanos, "ns")),
    st.integers(-(2**40), 2**40).map(lambda days: np.datetime64(days, "D")),
    st.just(np.datetime64("NaT")),
    st.just(np.timedelta64(1, "s")),
    st.text(max_size=3).map(np.str_),
    st.binary(max_size=3).map(np.bytes_),
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    st.floats(),
    texts,
    st.binary(),
    st.binary().map(RawText),
    st.binary().map(bytearray),
    decimals,
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=zones),
    st.times(),
    st.uuids(),
    st.integers(-(2**62), 2**62).map(lambda micros: Timestamp(micros=micros)),
    st.integers(0, 2**40).map(lambda micros: Duration(micros=micros)),
    st.integers(-(2**60), 2**60).map(lambda nanos: pd.Timestamp(nanos, tz="Europe/Berlin")),
    st.integers(-(2**60), 2**60).map(pd.Timestamp),
    st.sampled_from([Colour.RED, Level.HIGH, pd.NA, pd.NaT, {1, 2}, 1j, fractions.Fraction(1, 3), dt.timedelta(1)]),
    st.sampled_from([range(3), np.array(5), object, pd.Timestamp(np.datetime64("10000-01-01", "s"))]),
    numpy_values,
)
names = st.text(max_size=4) | st.sampled_from(["$map", "$bytes", "a", "b"])
equal_to_the_sink = st.sampled_from([Colour.RED, Other.RED, "rot", Other.ONE, Level.ONE, 1, "1", None, pd.NA, pd.NaT])
keys = names | st.integers() | st.dates() | st.tuples(st.integers()) | st.just(Level.HIGH) | equal_to_the_sink
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.lists(st.floats(), max_size=3).map(np.array),
        st.dictionaries(names, inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3),
        st.dictionaries(equal_to_the_sink, inner, min_size=2, max_size=4),
        st.builds(Pair, inner, inner),
        st.builds(lambda a, b: beam.Row(a=a, b=b), inner, inner),
    ),
    max_leaves=6,
)
TYPES = [
    *("BOOLEAN", "TINYINT", "INT", "BIGINT", "FLOAT", "DOUBLE", "DECIMAL(20,2)", "STRING", "BINARY", "DATE"),
    *("TIMESTAMP", "TIMESTAMP_NTZ", "VARIANT", "ARRAY<DOUBLE>", "ARRAY<STRING>", "ARRAY<BINARY>"),
    *("MAP<STRING, BIGINT>", "MAP<BIGINT, STRING>", "MAP<DATE, ARRAY<DECIMAL(9,2)>>"),
    *("STRUCT<a: BINARY, b: DOUBLE>", "STRUCT<a: TIMESTAMP, b: STRUCT<a: STRING, b: DECIMAL(5,1)>>"),
]
ELEMENTS: dict[str, typing.Callable[[Any, Any], Any]] = {
    "dict": lambda i, x: {"i": i, "x": x},
    "Row": lambda i, x: beam.Row(i=i, x=x),
    "NamedTuple": Tuple,
    "dataclass": Data,
}


def letter(element: Any, file_format: str = "jsonl") -> dict[str, Any]:
    failed = beam.Row(element=element, error_type="wrong_type", timestamp=Timestamp(0))
    return loads(to_json(failed).encode()) if file_format == "jsonl" else to_record(failed)


def outcome(element: Any, schema: TableSchema) -> str:
    """Return the row that the sink makes of an element, or the kind of its rejection."""
    if isinstance(element, pa.RecordBatch | pa.Table):
        (batch,) = element.to_batches() if isinstance(element, pa.Table) else [element]
    else:
        kind = "json" if isinstance(element, str | bytes) else "row"
        converted = element_converter(kind, schema)([element])
        if converted.rejected:
            return converted.rejected[0].error_type
        batch = converted.batch
    conformed = Conformer(schema).conform(batch)
    if conformed.rejected:
        return conformed.rejected[0].error_type
    return str(conformed.batch.to_pylist())


@here
@given(values, st.sampled_from(TYPES), st.sampled_from([*ELEMENTS.values()]), st.sampled_from(["jsonl", "parquet"]))
def test_any_value_has_the_same_outcome_after_keep_correct_replay(value, kind, make, file_format):
    schema = TableSchema.from_ddl(f"i INT, x {kind}")
    kept = letter(make("bad", value), file_format)
    for i, correction in (("bad", {}), (1, {"correct": lambda row: row | {"i": 1}})):
        again, first = outcome(to_element(kept, schema, **correction), schema), outcome(make(i, value), schema)
        # Of keys that are equal to the sink, all but one may come back as keys that fit no column.
        assert again in {first, "wrong_type" if first in ("duplicate_key", "invalid_json") else first}


@here
@given(values)
def test_exact_forms_are_restored(value):
    again = restored(json.loads(json.dumps(exact(value))))
    assert json.dumps(exact(again)) == json.dumps(exact(value))
    assert json.dumps(plain(again)) == json.dumps(plain(value))


@here
@given(st.binary(max_size=30) | st.text(max_size=30).map(str.encode), st.sampled_from(["jsonl", "parquet"]))
def test_json_bytes_are_sent_as_they_were(element, file_format):
    sent = to_element(letter(element, file_format))
    assert (sent.encode() if isinstance(sent, str) else sent) == element


def test_a_corrected_row_keeps_the_exact_values_of_all_other_columns():
    element = {"id": "x", "v": decimal.Decimal("1.10"), "inner": {"raw": b"\xff", "x": math.inf}, "tags": [b"a", b"b"]}
    kept = letter(element, "jsonl")
    assert kept["element"] == {
        "id": "x",
        "v": "1.10",
        "inner": {"raw": "/w==", "x": "Infinity"},
        "tags": ["YQ==", "Yg=="],
    }
    kept["element"] |= {"id": 1, "inner": {"raw": "AA==", "x": "Infinity"}, "tags": ["YQ==", "c"], "new": True}
    schema = TableSchema.from_ddl("id INT, v DECIMAL(9,2), inner STRUCT<raw: BINARY, x: DOUBLE>, tags ARRAY<STRING>")
    assert to_element(kept, schema) == {
        "id": 1,
        "v": decimal.Decimal("1.10"),
        "inner": {"raw": b"\x00", "x": math.inf},
        "tags": [b"a", "c"],
        "new": True,
    }


def test_a_row_of_a_batch_comes_back_as_it_was_also_without_a_column():
    batch = pa.RecordBatch.from_pydict(
        {
            "at": pa.array([253_402_300_800_000_000], pa.timestamp("us", "UTC")),
            "day": pa.array([3_000_000], pa.date32()),
            "fine": pa.array([1], pa.timestamp("ns")),
            "id": pa.array([bytes(16)], pa.uuid()),
            "view": pa.array(["x"], pa.string_view()),
            "colour": ["red"],
        }
    )
    for element in (batch, pa.Table.from_batches([batch])):
        kept = letter(element, "jsonl")
        assert kept["element"]["at"] == 253_402_300_800_000_000
        assert to_element(kept).equals(batch)
        del kept["element"]["colour"]
        assert to_element(kept) == {
            "at": 253_402_300_800_000_000,
            "day": 3_000_000,
            "fine": "1970-01-01T00:00:00.000000001",
            "id": bytes(16),
            "view": "x",
        }


def test_letters_of_earlier_versions_are_sent_as_json():
    assert to_element({"element": {"id": 1, "v": 1.5}}) == '{"id":1,"v":1.5}'
    assert to_element(loads('{"element": {"v": 12345678901234567.89}}')) == '{"v":12345678901234567.89}'
    assert to_element({"element": '{"v": 12345678901234567.89}'}) == '{"v": 12345678901234567.89}'
    assert to_element({"element": "no JSON"}) == "no JSON"


@pytest.mark.parametrize("name", sorted(set(ARROW_COLUMNS) - {"nulls", "list_of_dictionaries"}))
def test_a_corrected_row_of_a_batch_has_the_outcome_of_a_good_one(name):
    column = ARROW_COLUMNS[name]
    schema = TableSchema.from_arrow(pa.schema([pa.field("i", pa.int64(), nullable=False), pa.field("x", column.type)]))
    for row in (0, 1, 7, 250):
        bad, good = (
            single_row(pa.RecordBatch.from_arrays([pa.array([i] * len(column)), column], ["i", "x"]), row)
            for i in (None, 1)
        )
        bad = bad.set_column(0, "i", pa.array([None], pa.int64()))
        for file_format in ("jsonl", "parquet"):
            kept = letter(bad, file_format)
            assert to_element(kept, schema).equals(bad)
            assert outcome(to_element(kept, schema, correct=lambda row: row | {"i": 1}), schema) == outcome(
                good, schema
            )


BEYOND = {
    "at": pa.array([YEAR_10_000], pa.timestamp("us", "UTC")),
    "seconds": pa.array([YEAR_10_000 // 1_000_000], pa.timestamp("s")),
    "early": pa.array([-YEAR_10_000], pa.timestamp("us")),
    "day": pa.array([3_000_000], pa.date32()),
    "milliseconds": pa.array([3_000_000 * 86_400_000], pa.date64()),
    "nanoseconds": pa.array([1], pa.timestamp("ns", "Europe/Berlin")),
    "length": pa.array([2**62], pa.duration("s")),
    "time": pa.array([86_399_999_999_999], pa.time64("ns")),
    "list": pa.array([[YEAR_10_000]], pa.list_(pa.timestamp("us"))),
    "dictionary": pa.array([YEAR_10_000], pa.timestamp("us")).dictionary_encode(),
}


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", BEYOND)
def test_a_value_beyond_pythons_types_is_kept(name, file_format):
    batch = pa.RecordBatch.from_arrays([BEYOND[name]], ["x"])
    kept = letter(batch, file_format)
    assert to_element(kept).equals(batch)
    assert to_element(kept, correct=lambda row: row | {"i": 1})["i"] == 1


@pytest.mark.parametrize(
    "value",
    [10**5_000, -(10**5_000), Timestamp(micros=YEAR_10_000), pd.Timestamp(np.datetime64("10000-01-01", "s"))],
    ids=["positive", "negative", "of Beam", "of pandas"],
)
def test_a_large_value_is_kept(value):
    again = to_element(letter({"x": value}))["x"]
    assert again == value
    assert type(again) is type(value)


def test_a_value_that_no_column_takes_is_rejected_again_until_it_is_corrected():
    kept = letter({"x": {1}})
    assert kept["element"] == {"x": "{1}"}
    again = to_element(kept, TEXT)["x"]
    assert isinstance(again, OtherValue)
    assert outcome({"x": again}, TEXT) == "wrong_type"
    assert to_element(letter({"x": again}), TEXT, correct=lambda row: {"x": "one"}) == {"x": "one"}


TEXT = TableSchema.from_ddl("x STRING")


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"x": ' + "1" * 10_000 + "}", '{"x": 1e400}', '{"x": NaN}', '"\\ud800"'],
    ids=["deep", "digits", "large", "NaN", "half a pair"],
)
def test_odd_json_text_comes_back_as_it_was(text):
    for file_format in ("jsonl", "parquet"):
        assert to_element(letter(text, file_format)) == text
        assert to_element(letter(text.encode(), file_format)) == text
        assert to_element(letter(bytearray(text.encode()), file_format)) == text


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
@pytest.mark.parametrize("element", ["half a pair: \ud800", b"\xff", bytearray(b"\xff"), RawText(b"1,\xe9")])
def test_text_that_is_not_utf8_comes_back_as_it_was(tmp_path, element, file_format):
    kept = letter(element, file_format)
    if file_format == "parquet":
        pq.write_table(pa.Table.from_pylist([kept]), tmp_path / "letters.parquet")
        (kept,) = pq.read_table(tmp_path / "letters.parquet").to_pylist()
    assert to_element(kept) == element
    assert to_element(kept, correct=lambda _: {"id": 1}) == {"id": 1}


def test_corrected_numbers_keep_their_digits():
    schema = TableSchema.from_ddl("i INT, v DECIMAL(20,2), d DOUBLE, j VARIANT, tags ARRAY<DECIMAL(9,3)>")
    kept = letter({"i": "x", "v": "?", "d": "?", "j": None, "tags": []})
    kept["element"] |= loads('{"i": 1, "v": 12345678901234567.89, "d": 1e-7, "j": {"a": 0.10}, "tags": [0.100]}')
    corrected = to_element(kept, schema)
    assert corrected == {"i": 1, "v": "12345678901234567.89", "d": 1e-7, "j": '{"a":0.10}', "tags": ["0.100"]}
    assert "12345678901234567.89" in outcome(corrected, schema)


def test_a_corrected_number_is_never_rounded_nor_infinite():
    schema = TableSchema.from_ddl("x INT")
    kept = letter({"x": "?"})
    for text, expected in {
        "5.0": "[{'x': 5}]",
        "5e0": "[{'x': 5}]",
        "5.00000000000000000001": "wrong_type",
        "5.5": "inexact",
        "1e400": "wrong_type",
    }.items():
        corrected = to_element(kept | {"element": loads(f'{{"x": {text}}}')}, schema)
        assert outcome(corrected, schema) == expected
    doubles = TableSchema.from_ddl("x DOUBLE, m MAP<INT, DOUBLE>")
    assert outcome(to_element(kept | {"element": loads('{"x": -1e400}')}, doubles), doubles) == "wrong_type"
    assert to_element(kept | {"element": loads('{"m": {"5": 0.5}}')}, doubles) == {"m": {5: 0.5}}
