"""Values that Python's types cannot hold are rescued as text, exactly, and fail no batch."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from apache_beam.utils.timestamp import Timestamp

from beam_zerobus.batching.rescue import RescuingConverter
from beam_zerobus.encoding.rescue import RescuingConformer
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.time_rules import TimeRules

SCHEMA = TableSchema.from_ddl("id INT, rest STRING")
YEAR_10_000 = 253_402_300_800_000_000
TEXT = "10000-01-01 00:00:00.000000"
NAIVE = pa.timestamp("us")
NOT_UTF8 = pa.array([b"\xff"]).view(pa.string())
TWICE = pa.StructArray.from_arrays([pa.array([1]), pa.array(["b"])], names=["a", "a"])
ARRAYS = {
    "time": (pa.array([YEAR_10_000], pa.timestamp("us", "UTC")), f"{TEXT}Z"),
    "day": (pa.array([3_000_000], pa.date32()), "10183-09-21"),
    "of a list": (pa.array([[YEAR_10_000, None]], pa.list_(NAIVE)), [TEXT, None]),
    "of a list of structs": (pa.array([[{"a": YEAR_10_000}]], pa.list_(pa.struct({"a": NAIVE}))), [{"a": TEXT}]),
    "of a map": (pa.array([[(YEAR_10_000, 1)]], pa.map_(NAIVE, pa.int8())), {TEXT: 1}),
    "of a dictionary": (pa.array([YEAR_10_000], NAIVE).dictionary_encode(), TEXT),
    "time of day in nanoseconds": (pa.array([86_399_999_999_999], pa.time64("ns")), "23:59:59.999999999"),
    "duration": (pa.array([[2**62]], pa.list_(pa.duration("s"))), [str(2**62)]),
    "unknown zone": (pa.array([1], pa.timestamp("us", "Nowhere/None")), 1),
    "names twice": (TWICE, [["a", 1], ["a", "b"]]),
    "names twice in a list": (pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), TWICE), [[["a", 1], ["a", "b"]]]),
    "keys twice": (pa.array([[("a", 1), ("a", 1)]], pa.map_(pa.string(), pa.int8())), [["a", 1], ["a", 1]]),
    "keys of a struct": (pa.array([[({"a": 1}, 1)]], pa.map_(pa.struct({"a": pa.int8()}), pa.int8())), [[{"a": 1}, 1]]),
    "keys of a list": (
        pa.array([[([("b", YEAR_10_000)], 1)]], pa.map_(pa.map_(pa.string(), NAIVE), pa.int8())),
        [[{"b": TEXT}, 1]],
    ),
    "not UTF-8": (NOT_UTF8, "/w=="),
    "not UTF-8 in a list": (pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), NOT_UTF8), ["/w=="]),
}


@pytest.mark.parametrize("name", ["new", "id"])
@pytest.mark.parametrize(("array", "expected"), ARRAYS.values(), ids=ARRAYS)
def test_a_value_of_a_batch_is_rescued_exactly(name, array, expected):
    conformer = RescuingConformer(SCHEMA, "rest", TimeRules(), inner_nulls=True)
    (row,) = conformer.conform(pa.RecordBatch.from_arrays([array], [name])).batch.to_pylist()
    assert (row["id"], json.loads(row["rest"])) == (None, {name: expected})


def test_a_timestamp_of_beam_is_rescued_exactly():
    converted = RescuingConverter("row", SCHEMA, "rest", TimeRules())([{"at": Timestamp(micros=YEAR_10_000)}])
    assert converted.batch["rest"].to_pylist() == [f'{{"at":"{TEXT}Z"}}']


@pytest.mark.parametrize("rest", ["STRING", "VARIANT"])
def test_json_text_with_a_key_twice_stays_text_also_if_it_is_sent_again(rest):
    schema = TableSchema.from_ddl(f"id INT, v VARIANT, rest {rest}")
    conformer = RescuingConformer(schema, "rest", TimeRules(), inner_nulls=True)
    once = conformer.conform(pa.record_batch({"id": [1], "v": ['{"a":1,"a":2}']})).batch
    assert once.to_pylist() == [{"id": 1, "v": None, "rest": '{"v":"{\\"a\\":1,\\"a\\":2}"}'}]
    without = RescuingConformer(TableSchema.from_ddl(f"v VARIANT, rest {rest}"), "rest", TimeRules(), inner_nulls=True)
    (again,) = without.conform(once).batch.to_pylist()
    assert json.loads(again["rest"]) == {"id": 1, "v": '{"a":1,"a":2}'}
