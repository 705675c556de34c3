"""Dead letters of rows with a key or name twice: both values are kept, and none of them is sent alone by a replay."""

from __future__ import annotations

import json
import pickle

import pyarrow as pa
import pytest

from beam_zerobus.batching.elements import element_converter
from beam_zerobus.schema import Conformer, TableSchema
from beam_zerobus.sink.dead_letters import loads, to_element
from tests.sink.test_letters_come_back import Colour, Other, letter, outcome


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_a_row_of_a_batch_with_a_name_twice_comes_back_with_both_values(file_format):
    twice = pa.StructArray.from_arrays([pa.array([1]), pa.array(["b"])], names=["a", "a"])
    for batch, readable in (
        (pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), [["a", 1], ["a", 2]]),
        (pa.RecordBatch.from_arrays([twice], names=["s"]), {"s": [["a", 1], ["a", "b"]]}),
    ):
        kept = letter(batch, file_format)
        assert (loads(kept["element"]) if file_format == "parquet" else kept["element"]) == readable
        assert to_element(kept).equals(batch)
        schema = TableSchema.from_ddl("a INT, s STRUCT<a: INT>")
        corrected = to_element(kept, schema, correct=lambda _: {"a": 1, "s": {"a": 2}})
        assert outcome(corrected, schema) == "[{'a': 1, 's': {'a': 2}}]"


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    "value", [{Colour.RED: 1, "rot": 2}, {"rot": 1, Other.RED: 2, Colour.RED: 3}, {Other.ONE: 1, 1: 2}]
)
@pytest.mark.parametrize("kind", ["VARIANT", "MAP<STRING, INT>", "MAP<INT, INT>", "STRUCT<rot: INT>"])
def test_keys_that_are_equal_to_the_sink_are_kept_and_rejected_again(file_format, value, kind):
    schema = TableSchema.from_ddl(f"x {kind}")
    kept = letter({"x": value}, file_format)
    readable = loads(kept["element"]) if file_format == "parquet" else kept["element"]
    assert [number for _, number in readable["x"]] == [*value.values()]
    assert outcome(to_element(kept, schema), schema) in {"invalid_json", "duplicate_key", "wrong_type", "unknown_field"}
    if kind != "STRUCT<rot: INT>":
        corrected = to_element(kept, schema, correct=lambda row: {"x": {"7": row["x"][0][1]}})
        assert outcome(corrected, schema) in ("[{'x': '{\"7\":1}'}]", "[{'x': [('7', 1)]}]", "[{'x': [(7, 1)]}]")


@pytest.mark.parametrize("kind", ["VARIANT", "MAP<STRING, INT>", "STRUCT<rot: INT>"])
@pytest.mark.parametrize("value", [{Colour.RED: 1, "rot": 2}, {"rot": 1, Colour.RED: 2, Other.RED: 3}])
def test_a_replay_has_the_reason_of_the_first_time(kind, value):
    schema = TableSchema.from_ddl(f"x {kind}")
    assert reason({"x": to_element(letter({"x": value}))["x"]}, schema) == reason({"x": value}, schema)


def test_values_of_other_types_are_named_by_these():
    again = pickle.loads(pickle.dumps(to_element(letter({"x": {1}}))))  # as between the steps of a pipeline
    said = "column 'x' is STRING: a value of Python type set does not fit; pass a str"
    assert reason(again, TableSchema.from_ddl("x STRING")) == said


def test_members_of_an_enum_travel_between_steps():
    again = to_element(letter({Colour.RED: 1, "rot": 2}))
    assert letter(pickle.loads(pickle.dumps(again))) == letter({Colour.RED: 1, "rot": 2})


def reason(element: object, schema: TableSchema) -> str:
    converted = element_converter("row", schema)([element])
    (rejected,) = converted.rejected or Conformer(schema).conform(converted.batch).rejected
    return rejected.message


def test_keys_that_a_correction_makes_equal_are_an_error():
    kept = letter({"x": "not a map"})
    with pytest.raises(ValueError, match="an object has the key '0' twice"):
        to_element(kept, TableSchema.from_ddl("x MAP<INT, INT>"), correct=lambda _: {"x": {"0": 1, "-0": 2}})


@pytest.mark.parametrize(
    ("variant", "corrected", "expected"),
    [
        ({1: "a", "1": "b"}, [["1", "b"]], {"1": "b"}),
        ({1: "a", "1": "b"}, [["1", "b"], ["2", "a"]], {"1": "b", "2": "a"}),
        ({"in": {1: "a", "1": ["b"]}}, {"in": [["1", ["b"]]]}, {"in": {"1": ["b"]}}),
        ([{1: "a", "1": "b"}], [[["1", "b"]]], [{"1": "b"}]),
        ([["1", "b"]], [["1", "c"]], [["1", "c"]]),
    ],
)
def test_corrected_pairs_of_a_variant_are_an_object_again(variant, corrected, expected):
    """People drop one of the pairs that stand for two equal keys, as the message advises."""
    kept = letter({"v": variant}, "jsonl")
    found = to_element(kept, TableSchema.from_ddl("v VARIANT"), correct=lambda _: {"v": corrected})["v"]
    assert (json.loads(found) if isinstance(found, str) else found) == expected
