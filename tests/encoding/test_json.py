"""JSON rows: written by columns, read back by Python's own JSON."""

from __future__ import annotations

import datetime as dt
import json
import math
import sys
from base64 import b64encode
from decimal import Decimal as DecimalValue
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus.encoding import JsonEncoder
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.types import Array, DeltaType, Map, Struct

sys.path.insert(0, str(Path(__file__).parent))

from strategies import random_batch, tables

EPOCH = dt.datetime(1970, 1, 1)
MICROSECOND = dt.timedelta(microseconds=1)


def expected(value: Any, delta_type: DeltaType) -> Any:
    """Return what reading the row's JSON must give."""
    if value is None:
        return None
    if isinstance(delta_type, Struct):
        members = {field.name: expected(value[field.name], field.type) for field in delta_type.fields}
        return {name: member for name, member in members.items() if member is not None}
    if isinstance(delta_type, Array):
        return [expected(element, delta_type.element) for element in value]
    if isinstance(delta_type, Map):
        return {json_key(key): expected(inner, delta_type.value) for key, inner in value}
    return SCALARS[type(value)](value)


def finite_or_word(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


SCALARS: dict[type, Any] = {
    bool: bool,
    int: int,
    str: str,
    float: finite_or_word,
    DecimalValue: lambda value: format(value, "f"),
    bytes: lambda value: b64encode(value).decode(),
    dt.date: lambda value: (value - EPOCH.date()).days,
    dt.datetime: lambda value: (value.replace(tzinfo=None) - EPOCH) // MICROSECOND,
}


def json_key(key: Any) -> str:
    plain = SCALARS[type(key)](key)
    return str(plain).lower() if isinstance(plain, bool) else str(plain)


def encode(schema: TableSchema, batch: pa.RecordBatch) -> list[str]:
    payloads = list(JsonEncoder(schema).encode(batch))
    assert not any(payload.rejected for payload in payloads)
    return [record for payload in payloads for record in payload.records]


def as_float32(value: Any) -> Any:
    """Read single-precision numbers as the table will: the shortest text names the same float, not the same double."""
    if isinstance(value, float):
        with np.errstate(over="ignore"):
            return float(np.float32(value))
    if isinstance(value, dict):
        return {key: as_float32(part) for key, part in value.items()}
    return [as_float32(part) for part in value] if isinstance(value, list) else value


@settings(max_examples=80, deadline=None)
@given(tables(), st.sampled_from([1, 7, 33]), st.integers(0, 1 << 32))
def test_every_row_reads_back(schema: TableSchema, rows: int, seed: int) -> None:
    batch = random_batch(schema, rows, seed)
    whole = Struct(schema.columns)
    records = encode(schema, batch)
    assert [as_float32(json.loads(record)) for record in records] == [
        as_float32(expected(row, whole)) for row in batch.to_pylist()
    ]


def test_the_text_of_every_type() -> None:
    schema = TableSchema.from_ddl(
        "i INT, s STRING, b BINARY, d DECIMAL(10,8), day DATE, t TIMESTAMP, x DOUBLE, "
        "tags ARRAY<STRING>, m MAP<INT, DOUBLE>"
    )
    columns = [
        pa.array([1, None], pa.int32()),
        pa.array(['say "hi"\n', None]),
        pa.array([b"\x00\x01", None]),
        pa.array([DecimalValue("0.00000001"), None], pa.decimal128(10, 8)),
        pa.array([dt.date(2020, 1, 1), None]),
        pa.array([dt.datetime(2020, 1, 1), None], pa.timestamp("us", "UTC")),
        pa.array([math.nan, None]),
        pa.array([["a", None], None]),
        pa.array([[(1, 2.5), (2, None)], None], pa.map_(pa.int32(), pa.float64())),
    ]
    first, second = encode(schema, pa.RecordBatch.from_arrays(columns, schema.to_arrow().names))
    assert first == (
        '{"i":1,"s":"say \\"hi\\"\\n","b":"AAE=","d":"0.00000001","day":18262,"t":1577836800000000,"x":"NaN",'
        '"tags":["a",null],"m":{"1":2.5,"2":null}}'
    )
    assert second == "{}"


@pytest.mark.parametrize("rows", [3, 9000])
def test_rows_above_the_limit_are_rejected_and_payloads_stay_below(rows: int) -> None:
    schema = TableSchema.from_ddl("s STRING")
    batch = pa.RecordBatch.from_pydict({"s": ["é" * 500, *["ok"] * rows, "x" * 2000]})
    payloads = list(JsonEncoder(schema, max_payload_bytes=1000).encode(batch))
    assert [error.index for payload in payloads for error in payload.rejected] == [0, rows + 1]
    assert all(payload.size_bytes <= 1000 for payload in payloads)
    assert sum(len(payload.records) for payload in payloads) == rows


def test_a_negative_zero_is_no_integer() -> None:
    schema = TableSchema.from_ddl("d DOUBLE, f FLOAT, a ARRAY<DOUBLE>")
    rows = [{"d": -0.0, "f": -0.0, "a": [-0.0, 0.0]}]
    [payload] = JsonEncoder(schema).encode(pa.RecordBatch.from_pylist(rows, schema=schema.to_canonical_arrow()))
    assert json.dumps(json.loads(str(payload.records[0]))) == '{"d": -0.0, "f": -0.0, "a": [-0.0, 0]}'
