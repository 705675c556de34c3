"""Nulls in NOT NULL fields that a null around them hides: Arrow's library for Rust, and so the SDK, looks at them."""

import pyarrow as pa
import pytest

from beam_zerobus.schema import TableSchema

DDL = (
    "id BIGINT, s STRUCT<t: STRUCT<x: INT NOT NULL>>, a ARRAY<STRUCT<x: INT NOT NULL>>, "
    "m MAP<STRING, STRUCT<x: INT NOT NULL>>, sm STRUCT<m: MAP<STRING, STRUCT<x: INT NOT NULL>>>, "
    "sa STRUCT<a: ARRAY<STRUCT<x: INT NOT NULL>>>, aa ARRAY<STRUCT<t: STRUCT<x: INT NOT NULL>>>"
)
HIDDEN = pa.array([True, False])
ONE_EACH = pa.array([0, 1, 2], pa.int32())


def struct(name: str, child: pa.Array, mask: pa.Array | None = None) -> pa.Array:
    return pa.StructArray.from_arrays([child], names=[name], mask=mask)


def batch() -> pa.RecordBatch:
    x = struct("x", pa.array([None, 1], pa.int32()))
    keys = pa.array(["k", "k"])
    return pa.record_batch(
        {
            "id": [0, 1],
            "s": struct("t", x, HIDDEN),
            "a": pa.ListArray.from_arrays(ONE_EACH, x, mask=HIDDEN),
            "m": pa.MapArray.from_arrays(ONE_EACH, keys, x, mask=HIDDEN),
            "sm": struct("m", pa.MapArray.from_arrays(ONE_EACH, keys, x), HIDDEN),
            "sa": struct("a", pa.ListArray.from_arrays(ONE_EACH, x), HIDDEN),
            "aa": pa.ListArray.from_arrays(ONE_EACH, struct("t", x, HIDDEN)),
        }
    )


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
def test_rows_that_hide_nulls_are_written(emulator, connect, wire_format):
    table = emulator.create_table("main.iot.air", DDL)
    sent = batch().select([*range(6 if wire_format == "proto" else 7)])  # protobuf holds no null in a list
    writer = connect(wire_format=wire_format)
    for rows in (sent, sent.slice(0, 1), sent.slice(1)):
        assert writer.send(rows).failed_rows == ()
    written = sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])
    assert [row["id"] for row in written] == [0, 0, 1, 1]
    for row in written:
        assert {name: row[name] or None for name in sent.schema.names} == {
            name: value or None for name, value in sent.slice(row["id"], 1).to_pylist()[0].items()
        }


def test_a_batch_of_the_streams_own_types_that_hides_nulls_is_written(emulator, connect):
    table = emulator.create_table("main.iot.air", DDL)
    schema = TableSchema.from_ddl(DDL).to_arrow()
    columns = [with_type(column, field.type) for column, field in zip(batch().columns, schema, strict=True)]
    assert connect(wire_format="arrow").send(pa.RecordBatch.from_arrays(columns, schema=schema)).failed_rows == ()
    assert table.count_rows() == 2


def with_type(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Return an array with another nullability, and what it hides."""
    mask = array.is_null() if array.null_count else None
    if pa.types.is_struct(target):
        children = [with_type(array.field(i), field.type) for i, field in enumerate(target)]
        return pa.StructArray.from_arrays(children, fields=list(target), mask=mask)
    if pa.types.is_map(target):
        items = with_type(array.items, target.item_type)
        return pa.MapArray.from_arrays(array.offsets, array.keys.cast(target.key_type), items, type=target, mask=mask)
    if pa.types.is_list(target):
        return pa.ListArray.from_arrays(
            array.offsets, with_type(array.values, target.value_type), type=target, mask=mask
        )
    return array.cast(target)
