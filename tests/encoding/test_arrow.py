"""Batches for Arrow Flight: exact types, no needless copy, bounded size."""

from __future__ import annotations

import json
import math
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus.encoding import ArrowEncoder
from beam_zerobus.schema import Array, DeltaType, Map, Primitive, Struct, TableSchema
from beam_zerobus.variant import VARIANT_TYPE, decode_variants

sys.path.insert(0, str(Path(__file__).parent))

from strategies import random_batch, tables


def encode(schema: TableSchema, batch: pa.RecordBatch, **options: int) -> list[pa.RecordBatch]:
    payloads = list(ArrowEncoder(schema, **options).encode(batch))
    assert [payload.rows for payload in payloads] == [
        range(sum(p.records.num_rows for p in payloads[:i]), sum(p.records.num_rows for p in payloads[: i + 1]))
        for i in range(len(payloads))
    ]
    return [payload.records for payload in payloads]


def plain(value: object, delta_type: DeltaType) -> object:
    """Decimals as the text that is sent, JSON as its value, at any depth, and NaN as a word, to compare."""
    if value is None:
        return None
    match delta_type:
        case Struct(fields):
            return {field.name: plain(value[field.name], field.type) for field in fields}
        case Array(element, _):
            return [plain(part, element) for part in value]
        case Map(key, inner, _):
            return [(plain(name, key), plain(part, inner)) for name, part in value]
        case _:
            return _plain_leaf(value, delta_type)


def _plain_leaf(value: object, delta_type: DeltaType) -> object:
    if delta_type is Primitive.VARIANT:
        text = value if isinstance(value, str) else decode_variants(pa.array([value], VARIANT_TYPE))[0].as_py()
        return ("JSON", json.loads(text, parse_float=Decimal))
    if isinstance(value, Decimal):
        return format(value, "f")
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


@settings(max_examples=60, deadline=None)
@given(tables(), st.sampled_from([1, 7, 33]), st.integers(0, 1 << 32))
def test_every_value_arrives_in_the_type_of_the_stream(schema: TableSchema, rows: int, seed: int) -> None:
    batch = random_batch(schema, rows, seed)
    sent = encode(schema, batch)
    assert all(part.schema.equals(schema.to_arrow(), check_metadata=True) for part in sent)
    arrived = [row for part in sent for row in part.to_pylist()]
    row_type = Struct(schema.columns)
    assert [plain(row, row_type) for row in arrived] == [plain(row, row_type) for row in batch.to_pylist()]


def test_rows_whose_json_has_no_variant_are_rejected_alone() -> None:
    schema = TableSchema.from_ddl(
        "id INT NOT NULL, v VARIANT, s STRUCT<x: VARIANT NOT NULL>, a ARRAY<VARIANT>, m MAP<STRING, VARIANT>"
    )
    good = {"v": '{"a":1}', "s": {"x": "[1.50]"}, "a": ["null", None], "m": [("k", "2")]}
    wrong = [
        ({"v": "{"}, "invalid_json", "column 'v' is VARIANT: the JSON text in the row is not valid JSON"),
        ({"v": '{"a":1,"a":2}'}, "invalid_json", "column 'v' is VARIANT: the JSON text in the row has an object with"),
        ({"v": "[" * 129 + "]" * 129}, "invalid_json", "use at most 128 arrays and objects inside each other"),
        ({"s": {"x": "1e999"}}, "inexact", "column 's.x' is VARIANT"),
        ({"a": ["1", "2", "nul"]}, "invalid_json", "column 'a.element' is VARIANT"),
        ({"m": [("a", "1"), ("b", '"\\udfff"')]}, "invalid_utf8", "column 'm.value' is VARIANT"),
    ]
    rows = [good | {"id": index} | (wrong[index // 10][0] if index % 10 == 7 else {}) for index in range(60)]
    batch = pa.RecordBatch.from_pylist(rows, schema.to_canonical_arrow())
    for limit in (100, 1 << 20):
        payloads = list(ArrowEncoder(schema, max_payload_bytes=limit).encode(batch))
        rejected = [error for payload in payloads for error in payload.rejected]
        assert [(error.index, error.error_type) for error in rejected] == [
            (index * 10 + 7, error_type) for index, (_, error_type, _) in enumerate(wrong)
        ]
        for error, (_, _, reason) in zip(rejected, wrong, strict=True):
            assert reason in error.message
            assert error.stage == "encoding"
        sent = [(payload, row) for payload in payloads for row in payload.rows]
        assert [row for _, row in sent] == [index for index in range(60) if index % 10 != 7]
        for payload in payloads:
            if isinstance(payload.records, pa.RecordBatch):
                assert payload.records["id"].to_pylist() == list(payload.rows)
                payload.records.validate(full=True)


def test_json_under_a_null_is_not_read() -> None:
    schema = TableSchema.from_ddl("s STRUCT<v: VARIANT>, a ARRAY<VARIANT>")
    texts = pa.array(["{", "1", "{"], pa.large_string())
    null = pa.array([True, False, True])
    struct = pa.StructArray.from_arrays([texts], names=["v"], mask=null)
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), texts, mask=null)
    (payload,) = ArrowEncoder(schema).encode(pa.RecordBatch.from_arrays([struct, lists], ["s", "a"]))
    assert payload.rejected == ()
    assert [row["s"] is None for row in payload.records.to_pylist()] == [True, False, True]


def test_names_that_arrow_does_not_compare_are_those_of_the_stream() -> None:
    schema = TableSchema.from_ddl("m MAP<STRING, TINYINT>, a ARRAY<INT>")
    for named in (pa.map_(pa.large_string(), pa.int8()), schema.to_arrow().field("m").type):
        columns = [pa.array([[("x", 1)]], named), pa.array([[1]], pa.list_(pa.field("element", pa.int32())))]
        batch = pa.RecordBatch.from_arrays(columns, ["m", "a"]).replace_schema_metadata({"pandas": "{}"})
        (sent,) = encode(schema, batch)
        assert sent.schema.equals(schema.to_arrow(), check_metadata=True)
        assert [sent.schema.field("m").type.key_field.name, sent.schema.metadata] == ["keys", None]


def test_columns_that_fit_are_not_copied() -> None:
    schema = TableSchema.from_ddl("n BIGINT, s STRING, t TIMESTAMP, tags ARRAY<STRING>")
    kinds = [pa.int64(), pa.large_string(), pa.timestamp("us", "UTC"), pa.list_(pa.large_string())]
    columns = [
        pa.array([1, 2]),
        pa.array(["a", "b"], kinds[1]),
        pa.array([1, 2], kinds[2]),
        pa.array([["x"], []], kinds[3]),
    ]
    (sent,) = encode(schema, pa.RecordBatch.from_arrays(columns, schema.to_arrow().names))
    for before, after in zip(columns, sent.columns, strict=True):
        addresses = [[buffer and buffer.address for buffer in array.buffers()] for array in (before, after)]
        assert addresses[0] == addresses[1]


def test_large_batches_are_sliced_and_empty_ones_have_no_payload() -> None:
    schema = TableSchema.from_ddl("s STRING")
    batch = pa.RecordBatch.from_pydict({"s": ["x" * size for size in range(2000)]})
    sent = encode(schema, batch, max_payload_bytes=100_000)
    assert pa.Table.from_batches(sent).column("s").to_pylist() == batch.column("s").to_pylist()
    assert max(part.nbytes for part in sent) <= 110_000
    assert len(sent) < 50
    assert encode(schema, batch.slice(0, 0)) == []
    assert len(encode(schema, batch.slice(1999), max_payload_bytes=10)) == 1
