"""Every type, in every wire format, reads back from the table as it was sent."""

import datetime as dt
import json
import math
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus.emulator import Emulator
from beam_zerobus.emulator.rows import ArrowReader, JsonReader, ProtoReader
from beam_zerobus.emulator.wire import Request
from beam_zerobus.encoding import ArrowEncoder, JsonEncoder, ProtoEncoder
from beam_zerobus.schema import TableSchema

from .sdk import FORMATS, Stream

DDL = """
    i8 TINYINT, i16 SMALLINT, i32 INT, i64 BIGINT NOT NULL, f32 FLOAT, f64 DOUBLE, flag BOOLEAN, text STRING,
    bytes BINARY, price DECIMAL(38, 9), day DATE, at TIMESTAMP, local TIMESTAMP_NTZ, doc VARIANT,
    texts ARRAY<STRING>, prices ARRAY<DECIMAL(5, 2)>, points ARRAY<STRUCT<x: DOUBLE, tags: ARRAY<INT>>>,
    counts MAP<STRING, BIGINT>, by_day MAP<INT, STRUCT<day: DATE NOT NULL, price: DECIMAL(5, 2)>>,
    place STRUCT<name: STRING NOT NULL, inner: STRUCT<flag: BOOLEAN, docs: ARRAY<VARIANT>>>
"""
SCHEMA = TableSchema.from_ddl(DDL)


def integers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    limit = 10**precision - 1
    return st.integers(-limit, limit).map(lambda digits: Decimal(f"{digits}E-{scale}"))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
days = st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31))
moments = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))
docs = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**38) + 1, 10**38 - 1)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
).map(json.dumps)
points = st.fixed_dictionaries(
    {"x": st.none() | st.floats(allow_nan=False), "tags": st.lists(integers(32), max_size=3)},
)
COLUMNS = {
    "i8": integers(8),
    "i16": integers(16),
    "i32": integers(32),
    "f32": st.floats(width=32, allow_nan=False),
    "f64": st.floats(allow_nan=False),
    "flag": st.booleans(),
    "text": texts,
    "bytes": st.binary(max_size=20),
    "price": decimals(38, 9),
    "day": days,
    "at": moments.map(lambda moment: moment.replace(tzinfo=dt.UTC)),
    "local": moments,
    "doc": docs,
    "place": st.fixed_dictionaries(
        {
            "name": texts,
            "inner": st.none()
            | st.fixed_dictionaries({"flag": st.none() | st.booleans(), "docs": st.lists(docs, max_size=2)}),
        }
    ),
}
# protobuf does not tell a null list or map from an empty one, so these are never null here.
REPEATED = {
    "texts": st.lists(texts, max_size=4),
    "prices": st.lists(decimals(5, 2), max_size=4),
    "points": st.lists(points, max_size=3),
    "counts": st.dictionaries(texts, integers(64), max_size=3).map(lambda d: list(d.items())),
    "by_day": st.dictionaries(
        integers(32), st.fixed_dictionaries({"day": days, "price": st.none() | decimals(5, 2)}), max_size=3
    ).map(lambda d: list(d.items())),
}
rows = st.fixed_dictionaries(
    {"i64": integers(64)} | {name: st.none() | values for name, values in COLUMNS.items()} | REPEATED
)


def comparable(table: pa.Table | pa.RecordBatch) -> list[dict]:
    """Rows whose maps have no order, and JSON by its value: the order of members and spaces are not kept by all."""

    def value_of(text: str | None) -> object:
        return text if text is None else ("JSON", json.loads(text, parse_float=Decimal, parse_int=Decimal))

    found = table.select([column.name for column in SCHEMA.columns]).to_pylist()
    for row in found:
        for name in ("counts", "by_day"):
            row[name] = None if row[name] is None else dict(row[name])
        row["doc"] = value_of(row["doc"])
        inner = row["place"] and row["place"]["inner"]
        if inner and inner["docs"] is not None:
            inner["docs"] = [value_of(text) for text in inner["docs"]]
    return found


def read_back(wire_format: str, batch: pa.RecordBatch) -> pa.Table:
    batches = []
    if wire_format == "proto":
        encoder = ProtoEncoder(SCHEMA)
        reader = ProtoReader(SCHEMA, encoder.descriptor.SerializeToString())
        for payload in encoder.encode(batch):
            request = Request()
            request.ingest_record_batch.proto_encoded_batch.records.extend(payload.records)
            batches.append(reader.read(request.SerializeToString(), payload.records))
    elif wire_format == "json":
        batches = [JsonReader(SCHEMA).read(payload.records) for payload in JsonEncoder(SCHEMA).encode(batch)]
    else:
        schema = SCHEMA.to_arrow()
        message = schema.serialize().to_pybytes()
        arrow_reader = ArrowReader(SCHEMA, message[8 : 8 + int.from_bytes(message[4:8], "little")])
        batches = [arrow_reader.convert(payload.records) for payload in ArrowEncoder(SCHEMA).encode(batch)]
    for read in batches:
        read.validate(full=True)
    return pa.Table.from_batches(batches, SCHEMA.to_canonical_arrow())


@pytest.mark.parametrize("wire_format", FORMATS)
@settings(max_examples=60, deadline=None)
@given(sent=st.lists(rows, min_size=1, max_size=6))
def test_what_was_encoded_is_read(wire_format: str, sent: list[dict]) -> None:
    batch = pa.RecordBatch.from_pylist(sent, SCHEMA.to_canonical_arrow())
    assert comparable(read_back(wire_format, batch)) == comparable(batch)


@pytest.mark.parametrize("wire_format", ["json", "arrow"])
def test_json_and_arrow_tell_null_lists_from_empty_ones(wire_format: str) -> None:
    sent = [
        {"i64": 1},
        {"i64": 2, "texts": [], "counts": []},
        {"i64": 3, "texts": [None, "x"], "counts": [("a", None)]},
    ]
    batch = pa.RecordBatch.from_pylist(sent, SCHEMA.to_canonical_arrow())
    assert comparable(read_back(wire_format, batch)) == comparable(batch)


def test_protobuf_lists_are_never_null() -> None:
    batch = pa.RecordBatch.from_pylist([{"i64": 1}], SCHEMA.to_canonical_arrow())
    (row,) = comparable(read_back("proto", batch))
    assert (row["texts"], row["points"], row["counts"], row["place"]) == ([], [], {}, None)


@pytest.mark.parametrize("wire_format", FORMATS)
def test_numbers_that_are_none_and_infinity(wire_format: str) -> None:
    sent = [{"i64": index, "f64": value, "f32": value} for index, value in enumerate((math.nan, math.inf, -math.inf))]
    batch = pa.RecordBatch.from_pylist(sent, SCHEMA.to_canonical_arrow())
    for name in ("f64", "f32"):
        nan, *others = read_back(wire_format, batch).column(name).to_pylist()
        assert math.isnan(nan)
        assert others == [math.inf, -math.inf]


@pytest.mark.parametrize("wire_format", FORMATS)
def test_all_types_through_sdk_and_delta(emulator: Emulator, wire_format: str) -> None:
    table = emulator.create_table("main.iot.all_types", SCHEMA)
    full = {
        "i8": -128,
        "i16": 32767,
        "i32": 0,
        "i64": -(2**63),
        "f32": 0.5,
        "f64": 1e300,
        "flag": False,
        "text": "",
        "bytes": b"\0\xff",
        "price": Decimal("12345678901234567890123456789.123456789"),
        "day": dt.date(1969, 12, 31),
        "at": dt.datetime(2013, 1, 1, 5, 15, 0, 1, tzinfo=dt.UTC),
        "local": dt.datetime(1969, 12, 31, 23, 59, 59, 999999),
        "doc": '{"a": [1, null]}',
        "texts": ["a", ""],
        "prices": [Decimal("-999.99")],
        "points": [{"x": None, "tags": []}, {"x": 1.5, "tags": [1, 2]}],
        "counts": [("a", 1)],
        "by_day": [(-1, {"day": dt.date(2024, 2, 29), "price": None})],
        "place": {"name": "here", "inner": {"flag": True, "docs": ["[]"]}},
    }
    sent = [full, {"i64": 1} | {name: [] for name in REPEATED}, {**full, "i64": 2}]
    with Stream(emulator, table.name, SCHEMA, wire_format) as stream:
        stream.send(sent)
        stream.flush()
    assert table.to_arrow().schema.equals(SCHEMA.to_canonical_arrow())
    expected = comparable(pa.RecordBatch.from_pylist(sent, SCHEMA.to_canonical_arrow()))
    assert sorted(comparable(table.to_arrow()), key=lambda row: row["i64"]) == sorted(expected, key=lambda r: r["i64"])
