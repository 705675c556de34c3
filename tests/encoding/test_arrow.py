"""Batches for Arrow Flight: exact types, no needless copy, bounded size."""

from __future__ import annotations

import math
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus.encoding import ArrowEncoder
from beam_zerobus.schema import TableSchema

sys.path.insert(0, str(Path(__file__).parent))

from strategies import random_batch, tables


def encode(schema: TableSchema, batch: pa.RecordBatch, **options: int) -> list[pa.RecordBatch]:
    payloads = list(ArrowEncoder(schema, **options).encode(batch))
    assert [payload.rows for payload in payloads] == [
        range(sum(p.records.num_rows for p in payloads[:i]), sum(p.records.num_rows for p in payloads[: i + 1]))
        for i in range(len(payloads))
    ]
    return [payload.records for payload in payloads]


def plain(value: object) -> object:
    """Decimals as the text that is sent, at any depth, and NaN as a word, to compare."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


@settings(max_examples=60, deadline=None)
@given(tables(), st.sampled_from([1, 7, 33]), st.integers(0, 1 << 32))
def test_every_value_arrives_in_the_type_of_the_stream(schema: TableSchema, rows: int, seed: int) -> None:
    batch = random_batch(schema, rows, seed)
    sent = encode(schema, batch)
    assert all(part.schema.equals(schema.to_arrow(), check_metadata=True) for part in sent)
    arrived = [row for part in sent for column_rows in [part.to_pylist()] for row in column_rows]
    assert plain(arrived) == plain(batch.to_pylist())


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
