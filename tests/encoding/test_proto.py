"""The protobuf encoder where fuzzing does not go: sizes, limits, rejected rows, threads, the fallback."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

from beam_zerobus.encoding import ProtoEncoder, make_encoder
from beam_zerobus.encoding.proto import chunks
from beam_zerobus.encoding.proto import encoder as encoder_module
from beam_zerobus.errors import ConfigurationError, ConversionError
from beam_zerobus.schema import TableSchema
from tests.encoding.proto_checks import FEW_ROWS, check_frames, expected, records


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests that want the fast path do with few rows."""
    monkeypatch.setattr(encoder_module, "FEW_ROWS", FEW_ROWS)


def check(ddl: str, *columns: pa.Array) -> None:
    """Compare the fast path with protobuf's classes, also on slices."""
    schema = TableSchema.from_ddl(ddl)
    batch = pa.RecordBatch.from_arrays(list(columns), [column.name for column in schema.columns])
    assert batch.num_rows >= FEW_ROWS
    for part in (batch, batch.slice(3), batch.slice(0, batch.num_rows - 1)):
        assert records(list(ProtoEncoder(schema).encode(part))) == expected(schema, part)
        check_frames(schema, part)


def parsed(descriptor: DescriptorProto, record: bytes) -> object:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(FileDescriptorProto(name="row.proto", syntax="proto2", message_type=[descriptor]))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(descriptor.name)).FromString(record)


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_integers_around_every_power_of_two(bits: int) -> None:
    ddl = {8: "TINYINT", 16: "SMALLINT", 32: "INT", 64: "BIGINT"}[bits]
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    near = {sign * (1 << k) + d for k in range(bits) for d in (-1, 0, 1) for sign in (1, -1)}
    numbers = sorted(number for number in near if low <= number <= high)
    array = pa.array([*numbers, None, *[0] * FEW_ROWS], f"int{bits}")
    check(f"n {ddl}", array)
    for number in numbers:  # all rows equally long
        check(
            f"n {ddl} NOT NULL, m {ddl}",
            pa.array([number] * 50, f"int{bits}"),
            pa.array([number, None] * 25, f"int{bits}"),
        )


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64"])
def test_integers_of_a_small_range_that_drifts_from_chunk_to_chunk(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_CHUNK_ROWS", 100)
    low, high = int(np.iinfo(kind).min), int(np.iinfo(kind).max)
    starts = [start for start in (low, -130, -5, 0, 120, 16_380, high - 7, -5) if low <= start <= high - 7]
    numbers = [start + i % 8 for start in starts for i in range(100)]
    array = pa.array(numbers, kind)
    nulls = pa.array([None if i % 7 == 0 else number for i, number in enumerate(numbers)], kind)
    ddl = {"int8": "TINYINT", "int16": "SMALLINT", "int32": "INT", "int64": "BIGINT"}[kind]
    check(f"a {ddl}, b {ddl}, c {ddl} NOT NULL", array, nulls, array)


@pytest.mark.parametrize("length", [0, 1, 10, 127, 128, 600])
def test_strings_of_one_length_among_columns_of_varying(length: int) -> None:
    codes = pa.array([chr(97 + i % 26) * length for i in range(40)])
    numbers = pa.array([None if i % 3 else 1 << i for i in range(40)], pa.int64())
    lists = pa.array([[str(i).zfill(length)] * (i % 4) for i in range(40)])
    ddl = "a STRING, n BIGINT, b STRING, d DOUBLE, l ARRAY<STRING>, c STRING NOT NULL"
    check(ddl, codes, numbers, codes, pa.array([1.5] * 40), lists, codes)


def test_chunks_follow_rows_that_become_longer_and_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_CHUNK_BYTES", 10_000)
    monkeypatch.setattr(chunks, "_FEWEST_ROWS", 2)
    lengths = [1] * 300 + [5_000] * 20 + [200] * 100 + [1] * 300
    check("s STRING", pa.array(["x" * length for length in lengths]))


def test_rows_of_doubles_only_over_many_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_CHUNK_ROWS", 100)
    rng = np.random.default_rng(2)
    check(", ".join(f"c{i} DOUBLE" for i in range(30)), *[pa.array(rng.random(450)) for _ in range(30)])


@pytest.mark.parametrize("columns", [1, 7, 8, 60])
def test_nullable_doubles(columns: int) -> None:
    rng = np.random.default_rng(columns)
    arrays = [pa.array(rng.random(50), mask=rng.random(50) < 0.3) for _ in range(columns)]
    check(", ".join(f"c{i} DOUBLE" for i in range(columns)), *arrays)


@pytest.mark.parametrize("longest", [0, 1, 126, 127, 128, 511, 512, 513, 16_383, 16_384, 70_000])
def test_strings_up_to_a_length(longest: int) -> None:
    lengths = [longest * i // 39 for i in range(40)]
    strings = [("ü" * length)[: length // 2] + "x" * (length % 2) for length in lengths]
    check("s STRING, t STRING", pa.array(strings), pa.array([None, *strings[1:]], pa.large_string()))
    check("s STRING NOT NULL, n INT", pa.array(["y" * longest] * 40), pa.array([1, None] * 20, pa.int32()))


def test_two_thousand_columns() -> None:
    rng = np.random.default_rng(1)
    kinds = [("BIGINT", "int64"), ("DOUBLE", "float64"), ("STRING", "U"), ("BOOLEAN", "bool")]
    ddl = ", ".join(f"c{i} {kinds[i % 4][0]}" for i in range(2000))
    numbers = rng.integers(0, 1 << 40, 40)
    check(ddl, *[pa.array(numbers.astype(kinds[i % 4][1])) for i in range(2000)])


def test_nulls_of_every_column_and_batches_without_rows() -> None:
    schema = TableSchema.from_ddl(
        "a INT, b STRING, c STRUCT<x: DOUBLE>, d ARRAY<INT>, e MAP<STRING, INT>, f DECIMAL(9,2)"
    )
    kinds = [
        pa.int32(),
        pa.string(),
        pa.struct([("x", pa.float64())]),
        pa.list_(pa.int32()),
        pa.map_(pa.string(), pa.int32()),
        pa.decimal128(9, 2),
    ]
    columns = [pa.nulls(50, kind) for kind in kinds]
    batch = pa.RecordBatch.from_arrays(columns, [column.name for column in schema.columns])
    assert records(list(ProtoEncoder(schema).encode(batch))) == [b""] * 50
    assert list(ProtoEncoder(schema).encode(batch.slice(0, 0))) == []


def test_dates_and_decimals_read_back_as_the_service_reads_them() -> None:
    encoder = ProtoEncoder(TableSchema.from_ddl("day DATE, price DECIMAL(12,10), at TIMESTAMP"))
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([-1] * 40, pa.int32()).cast(pa.date32()),
            pa.array([Decimal("-0.0000000001")] * 40, pa.decimal128(12, 10)),
            pa.array([1] * 40, pa.timestamp("us", "UTC")),
        ],
        ["day", "price", "at"],
    )
    row = parsed(encoder.descriptor, next(encoder.encode(batch)).records[7])
    assert (row.day, row.price, row.at) == (-1, "-0.0000000001", 1)


def test_descriptor_says_required_optional_repeated_and_map() -> None:
    maps = "m MAP<INT, STRUCT<x: INT NOT NULL>>, air_quality MAP<STRING, INT>"
    schema = TableSchema.from_ddl(f"id BIGINT NOT NULL, note STRING, tags ARRAY<STRING>, {maps}")
    descriptor = ProtoEncoder(schema).descriptor
    assert [field.label for field in descriptor.field] == [2, 1, 3, 3, 3]
    assert [nested.name for nested in descriptor.nested_type] == ["MValue", "MEntry", "AirQualityEntry"]
    assert [nested.options.map_entry for nested in descriptor.nested_type] == [False, True, True]
    assert descriptor.nested_type[0].field[0].label == 2
    parsed(descriptor, b"\x08\x01")


def test_arrays_are_not_packed_and_readers_of_packed_ones_accept_them() -> None:
    encoder = ProtoEncoder(TableSchema.from_ddl("n ARRAY<INT>, d ARRAY<DOUBLE>"))
    batch = pa.RecordBatch.from_pydict({"n": pa.array([[1, 300]] * 40, pa.list_(pa.int32())), "d": [[0.5]] * 40})
    record = records(list(encoder.encode(batch)))[0]
    assert record == b"\x08\x01\x08\xac\x02\x11" + np.float64(0.5).tobytes()
    packed = DescriptorProto()
    packed.CopyFrom(encoder.descriptor)
    for field in packed.field:
        field.options.packed = True
    row = parsed(packed, record)
    assert (list(row.n), list(row.d)) == ([1, 300], [0.5])


def test_a_type_that_protobuf_cannot_hold_names_column_and_remedy() -> None:
    with pytest.raises(ConversionError, match="'a'.*STRUCT"):
        ProtoEncoder(TableSchema.from_ddl("a ARRAY<ARRAY<INT>>"))
    with pytest.raises(ConfigurationError, match="wire_format='xml'"):
        make_encoder("xml", TableSchema.from_ddl("a INT"))  # type: ignore[arg-type]


def test_map_entries_keep_order_and_duplicates() -> None:
    pairs = [("b", 1), ("a", 2), ("b", 3)]
    encoder = ProtoEncoder(TableSchema.from_ddl("m MAP<STRING, INT>"))
    batch = pa.RecordBatch.from_arrays([pa.array([pairs] * 40, pa.map_(pa.string(), pa.int32()))], ["m"])
    entries = b"".join(b"\x0a\x05\x0a\x01" + key.encode() + b"\x10" + bytes([value]) for key, value in pairs)
    assert records(list(encoder.encode(batch))) == [entries] * 40


@pytest.mark.parametrize("rows", [5, 500])
def test_rows_that_protobuf_cannot_hold_are_rejected_with_their_index(rows: int) -> None:
    schema = TableSchema.from_ddl(
        "id INT NOT NULL, tags ARRAY<STRING>, m MAP<STRING, INT>, s STRUCT<deep: ARRAY<STRUCT<x: INT NOT NULL>>>"
    )
    good = {"id": 1, "tags": ["a"], "m": [("k", 1)], "s": {"deep": [{"x": 1}]}}
    bad = [
        good | {"id": None},
        good | {"tags": ["a", None]},
        good | {"m": [("k", None)]},
        good | {"s": {"deep": [{"x": None}]}},
    ]
    kinds = [
        ("id", pa.int32()),
        ("tags", pa.list_(pa.string())),
        ("m", pa.map_(pa.string(), pa.int32())),
        ("s", pa.struct([("deep", pa.list_(pa.struct([("x", pa.int32())])))])),
    ]
    batch = pa.RecordBatch.from_pylist([good] * 3 + bad + [good] * rows, pa.schema(kinds)).slice(2)
    payloads = list(ProtoEncoder(schema).encode(batch))
    rejected = [error for payload in payloads for error in payload.rejected]
    assert [(error.index, error.error_type, error.stage) for error in rejected] == [
        (1, "null_in_not_null_column", "encoding"),
        (2, "null_list_element", "encoding"),
        (3, "null_map_value", "encoding"),
        (4, "null_in_not_null_column", "encoding"),
    ]
    assert "'s.deep.element.x'" in rejected[3].message
    assert np.concatenate([payload.rows for payload in payloads]).tolist() == [0, *range(5, rows + 5)]
    assert records(payloads) == expected(schema, batch.take([0, *range(5, rows + 5)]))


def test_nulls_below_a_null_do_not_reject_the_row() -> None:
    schema = TableSchema.from_ddl("s STRUCT<x: INT NOT NULL>, tags ARRAY<STRING>")
    x = pa.array([None] * 50, pa.int32())
    s = pa.StructArray.from_arrays([x], names=["x"], mask=pa.array([True] * 50))
    offsets = pa.array(range(51), pa.int32())
    tags = pa.ListArray.from_arrays(offsets, pa.nulls(50, pa.string()), mask=pa.array([True] * 50))
    batch = pa.RecordBatch.from_arrays([s, tags], ["s", "tags"])
    (payload,) = ProtoEncoder(schema).encode(batch)
    assert payload.records == [b""] * 50
    assert payload.rejected == ()
