"""`on_unknown_fields="add"` where not everything can be added: rows without room, names, depth, types."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from beam_zerobus.batching.new_fields import fields_to_add
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.additions import MAX_FIELDS, with_additions
from tests.tables.test_add_columns import COLUMNS, OLD, TABLE


def many(count: int, prefix: str = "c") -> dict[str, int]:
    return {f"{prefix}{number}": number for number in range(count)}


def nested(levels: int, inside: Any) -> Any:
    return {"n": nested(levels - 1, inside)} if levels else inside


@pytest.mark.hostile
def test_a_row_with_very_many_new_fields_is_rejected_alone(emulator, adding):
    table = emulator.create_table(TABLE, COLUMNS)
    rows = [OLD, {"id": 2, **many(40_000)}, {"id": 3, "note": "a"}, {"id": 4, "at": {"x": 1, **many(MAX_FIELDS)}}]
    failed = adding().send([json.dumps(row) for row in rows]).failed_rows
    assert [(error.index, error.error_type) for error in failed] == [(1, "unknown_field"), (3, "unknown_field")]
    assert all('as "add" cannot' in error.message for error in failed)
    assert table.schema.to_ddl() == f"{COLUMNS}, note STRING"
    assert table.count_rows() == 2


def test_rows_get_columns_while_there_is_room():
    table = TableSchema.from_ddl(COLUMNS)
    rows: list[dict[str, Any]] = [{"id": number, **many(900, f"p{number}_")} for number in range(3)]
    rows += [{"id": 3, **many(100)}, {"id": 4, **many(100), "P0_1": 1}]
    additions = fields_to_add(rows, "row", table)
    assert [added.field.name for added in additions] == [*many(900, "p0_"), *many(900, "p1_"), *many(100)]
    assert fields_to_add(rows, "row", with_additions(table, additions)) == []


def test_names_and_depths_at_the_limit(emulator, adding):
    table = emulator.create_table(TABLE, COLUMNS)
    longest = "n" * 255
    rows = [
        {"id": 1, longest: 1},
        {"id": 2, longest + "n": 1},
        {"id": 3, "deep": nested(20, 1)},
        {"id": 4, "deeper": nested(21, 1)},
    ]
    failed = adding().send(rows).failed_rows
    assert [(error.index, error.error_type) for error in failed] == [(1, "unknown_field"), (3, "unknown_field")]
    assert [column.name for column in table.schema.columns] == ["id", "at", longest, "deep"]
    assert sorted(row["id"] for row in table.to_arrow().to_pylist()) == [1, 3]


def test_a_field_below_others_that_would_nest_too_deep_is_not_added():
    empty = TableSchema.from_ddl("id BIGINT")
    table = with_additions(empty, fields_to_add([nested(10, {"n": 1})], "row", empty))
    rows = [nested(10, {"deep": nested(11, 1)}), nested(10, {"more": nested(10, 1)})]
    assert [added.field.name for added in fields_to_add(rows, "row", table)] == ["more"]


@pytest.mark.parametrize("wire_format", ["proto", "arrow"])
def test_unsigned_integers_of_64_bits_fit_their_new_columns(emulator, adding, wire_format):
    table = emulator.create_table(TABLE, "id BIGINT")
    largest = 2**64 - 1
    inside = pa.struct([("u", pa.uint64())])
    columns = {
        "u": pa.array([largest, None], pa.uint64()),
        "list": pa.array([[largest], [0]], pa.list_(pa.uint64())),
        "inside": pa.array([{"u": largest}, None], inside),
    }
    assert adding(wire_format=wire_format).send(pa.record_batch(columns)).success
    decimal = "DECIMAL(20,0)"
    assert [str(column.type) for column in table.schema.columns[1:]] == [
        decimal, f"ARRAY<{decimal}>", f"STRUCT<u: {decimal}>"
    ]  # fmt: skip
    assert {row["u"] for row in table.to_arrow().to_pylist()} == {largest, None}


def test_a_batch_with_a_column_without_type_finds_a_widened_one(emulator, adding):
    table = emulator.create_table(TABLE, "id BIGINT, size INT")
    writer = adding()
    batch = pa.record_batch({"id": pa.array([1, 2]), "size": pa.array([1, 2**40])})
    [failed] = writer.send(batch).failed_rows
    assert failed.index == 1
    table.widen_column("size", "BIGINT")
    assert writer.send(batch.append_column("none", pa.nulls(2))).success
    assert table.count_rows() == 3
