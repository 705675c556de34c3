"""What the service receives of rows whose keys are equal once written: nothing of them, and all other rows."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import uuid

import pyarrow as pa
import pytest

TABLE = "main.iot.settings"
DDL = "id INT, v VARIANT, m MAP<STRING, INT>, days MAP<DATE, INT>, s STRUCT<m: MAP<STRING, INT>>"
ID = uuid.UUID(int=5)
FORMATS = pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])


class Colour(enum.Enum):
    RED = "rot"


BAD = [
    ({"v": {Colour.RED: 1, "rot": 2}}, "invalid_json", "column 'v'"),
    ({"v": [{"a": {1: 1, "1": 2}}]}, "invalid_json", "column 'v'"),
    ({"m": {Colour.RED: 1, "rot": 2}}, "duplicate_key", "column 'm'"),
    ({"m": {ID: 1, str(ID): 2}}, "duplicate_key", "column 'm'"),
    ({"m": {b"a": 1, "b": 2, "a": 3}}, "duplicate_key", "column 'm'"),
    ({"m": [("a", 1), ("a", 1)]}, "duplicate_key", "column 'm'"),
    ({"m": {1: 1, "1": 2}}, "wrong_type", "column 'm.key'"),
    ({"days": {dt.date(2026, 1, 31): 1, "2026-01-31": 2}}, "duplicate_key", "column 'days'"),
    ({"s": {"m": [("a", 1), ("a", 2)]}}, "duplicate_key", "column 's.m'"),
    ({"s": {"m": {}, "M": {}}}, "unknown_field", "column 's.M'"),
    ({"rot": 1, Colour.RED: 2}, "unknown_field", "columns 'Colour.RED', 'rot'"),
]


def rows_of(table):
    return sorted(table.to_arrow().column("id").to_pylist())


@FORMATS
def test_dicts_with_a_key_twice_are_rejected_alone(emulator, connect, wire_format):
    table = emulator.create_table(TABLE, DDL)
    rows = [{"id": number} | bad for number, (bad, _, _) in enumerate(BAD)]
    good = [{"id": 100, "v": {"rot": 1, "Rot": 2}, "m": {"a": 1, "A": 2}}, {"id": 101, "m": {}}]
    result = connect(TABLE, wire_format=wire_format).send([*rows, *good])
    assert [error.error_type for error in result.failed_rows] == [kind for _, kind, _ in BAD]
    for error, (_, _, column) in zip(result.failed_rows, BAD, strict=True):
        assert column in error.message
        assert error.stage != "service"
    assert rows_of(table) == [100, 101]
    maps = {row["id"]: dict(row["m"] or ()) for row in table.to_arrow().to_pylist()}
    assert maps == {100: {"a": 1, "A": 2}, 101: {}}


@FORMATS
def test_json_with_a_key_twice_is_rejected_alone(emulator, connect, wire_format):
    table = emulator.create_table(TABLE, DDL)
    bad = ['"id": 1', '"v": {"a": 1, "a": 2}', '"m": {"a": 1, "a": 2}', '"s": {"m": {"a": 1, "a": 1}}']
    rows = [f'{{"id": {number}, {each}}}' for number, each in enumerate(bad)]
    result = connect(TABLE, wire_format=wire_format).send([*rows, '{"id": 100, "m": {"a": 1, "A": 2}}'])
    assert [error.error_type for error in result.failed_rows] == ["invalid_json"] * len(bad)
    assert rows_of(table) == [100]


@FORMATS
def test_json_text_for_a_variant_with_a_key_twice_is_rejected_alone(emulator, connect, wire_format):
    table = emulator.create_table(TABLE, DDL)
    texts = ['{"a":1,"a":2}', '[{"b":{"a":1,"a":1}}]', '{"a":1,"A":2}']
    for rows in (
        [{"id": number, "v": text} for number, text in enumerate(texts)],
        [json.dumps({"id": number, "v": text}) for number, text in enumerate(texts)],
        pa.table({"id": range(3), "v": texts}),
    ):
        result = connect(TABLE, wire_format=wire_format).send(rows)
        kind = "invalid_json" if wire_format == "arrow" else "rejected_by_service"
        assert [(error.index, error.error_type) for error in result.failed_rows] == [(0, kind), (1, kind)]
        assert all("column 'v'" in error.message and "same key twice" in error.message for error in result.failed_rows)
    assert rows_of(table) == [2, 2, 2]


@FORMATS
@pytest.mark.parametrize("key_type", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_maps_of_arrow_with_a_key_twice_are_rejected_alone(emulator, connect, wire_format, key_type):
    table = emulator.create_table(TABLE, DDL)
    maps = [[("z", 0)], [("a", 1), ("b", 2), ("a", 3)], [("b", 1), ("a", 2)], None, [], [("c", 1), ("c", 1)]]
    keys = pa.array([key for each in maps[1:] for key, _ in each or ()]).cast(key_type)
    items = pa.array([item for each in maps[1:] for _, item in each or ()], pa.int32())
    column = pa.MapArray.from_arrays(pa.array([0, 3, 5, None, 5, 7], pa.int32()), keys, items)
    batch = pa.record_batch({"id": pa.array([0, 1, 2, 3, 4], pa.int32()), "m": column})
    with_slice = pa.concat_batches([batch, batch]).slice(3, 6)  # numbers 3, 4, 0, 1, 2, 3
    result = connect(TABLE, wire_format=wire_format).send(batch)
    assert [(error.index, error.error_type) for error in result.failed_rows] == [
        (0, "duplicate_key"),
        (4, "duplicate_key"),
    ]
    result = connect(TABLE, wire_format=wire_format).send(with_slice)
    assert [error.index for error in result.failed_rows] == [1, 2]
    assert rows_of(table) == [1, 1, 2, 2, 3, 3, 3]


@FORMATS
@pytest.mark.parametrize("arrow", [False, True])
def test_a_map_with_a_key_twice_is_rescued_with_both(emulator, connect, wire_format, arrow):
    table = emulator.create_table(TABLE, "id INT, m MAP<STRING, INT>, rest STRING")
    rows = [{"id": 1, "m": [("a", 1), ("a", 2)]}, {"id": 2, "m": [("a", 1)]}]
    if arrow:
        rows = pa.RecordBatch.from_pylist(
            rows, schema=pa.schema({"id": pa.int32(), "m": pa.map_(pa.string(), pa.int32())})
        )
    options = {"on_unknown_fields": "rescue", "rescue_column": "rest"}
    assert connect(TABLE, wire_format=wire_format, **options).send(rows).success
    first, second = sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])
    assert (first["m"] or None, json.loads(first["rest"])) == (None, {"m": [["a", 1], ["a", 2]]})
    assert (second["m"], second["rest"]) == ([("a", 1)], None)


def test_keys_that_a_column_makes_equal(emulator, connect):
    table = emulator.create_table(TABLE, "id INT, m MAP<DECIMAL(4, 2), INT>, t MAP<TIMESTAMP, INT>")
    noon = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
    rows = [
        {"id": 1, "m": {"1.5": 1, decimal.Decimal("1.50"): 2}},
        {"id": 2, "t": {noon: 1, "2026-01-31T13:00:00+01:00": 2}},
        {"id": 3, "m": {"1.5": 1, "1.51": 2}},
    ]
    texts = ['{"id": 4, "m": {"1.5": 1, "1.50": 2}}', '{"id": 5, "m": {"1.5": 1, "15": 2}}']
    writer = connect(TABLE, wire_format="json")
    for sent, bad in ((rows, [0, 1]), (texts, [0])):
        failed = writer.send(sent).failed_rows
        assert [(error.index, error.error_type) for error in failed] == [(index, "duplicate_key") for index in bad]
    assert rows_of(table) == [3, 5]


def test_zeros_and_nans_are_each_one_key(emulator, connect):
    table = emulator.create_table(TABLE, "id INT, m MAP<DOUBLE, INT>, f MAP<FLOAT, INT>")
    rows = [
        {"id": 1, "m": [(0.0, 1), (-0.0, 2)]},
        {"id": 2, "f": [(-0.0, 1), (1.5, 2), (0, 3)]},
        {"id": 3, "m": {float("nan"): 1, float("-nan"): 2}},
        {"id": 4, "m": {-0.0: 1, float("nan"): 2}, "f": {0.0: 1}},
    ]
    texts = ['{"id": 5, "m": [[0, 1], [-0.0, 2]]}', '{"id": 6, "m": [[0, 1], [1, 2]]}']
    writer = connect(TABLE, wire_format="json")
    for sent, bad in ((rows, [0, 1, 2]), (texts, [0])):
        failed = writer.send(sent).failed_rows
        assert [(error.index, error.error_type) for error in failed] == [(index, "duplicate_key") for index in bad]
    assert rows_of(table) == [4, 6]
    kept = next(row for row in table.to_arrow().to_pylist() if row["id"] == 4)
    assert str(kept["m"]) == "[(-0.0, 1), (nan, 2)]"
