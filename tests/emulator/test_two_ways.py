"""Protobuf calls are read by column and by record: with the same rows, whatever the bytes are."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.rows import ProtoReader
from beam_zerobus.emulator.rows.places import OddRecordsError
from beam_zerobus.encoding import ProtoEncoder
from beam_zerobus.schema import TableSchema

from .payloads import descriptor, proto_call
from .test_types import SCHEMA, rows

SMALL = TableSchema.from_ddl(
    "n INT, k BIGINT, t TINYINT, s STRING, f FLOAT, d DOUBLE, b BOOLEAN, day DATE, price DECIMAL(4, 2), doc VARIANT, "
    "a ARRAY<INT>, texts ARRAY<STRING>, m MAP<STRING, INT>, p STRUCT<x: INT NOT NULL, q: STRUCT<y: STRING>>, "
    "many ARRAY<STRUCT<x: BIGINT>>, z BINARY"
)
READERS = {
    name: ProtoReader(schema, ProtoEncoder(schema).descriptor.SerializeToString())
    for name, schema in (("all", SCHEMA), ("small", SMALL))
}


def varint(value: int, padding: int = 0) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    for _ in range(padding):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


def sized(content: bytes) -> bytes:
    return varint(len(content)) + content


def field(number: int, wire_type: int, content: bytes) -> bytes:
    return varint(number << 3 | wire_type) + content


# Fields of the small table's numbers and wire types, so that many are right, in any order and number.
varints = st.builds(varint, st.integers(0, 2**64 - 1) | st.integers(0, 300), st.sampled_from([0, 0, 0, 1, 4]))
contents = st.sampled_from([b"", b"x", b"1.5", b"{}", b"\x08\x01", b"\x0a\x01k\x10\x05", b"\x0a\x01k", b"\xff"])
contents |= st.binary(max_size=9)
values = {
    0: varints,
    1: st.binary(min_size=8, max_size=8),
    2: contents.map(sized),
    5: st.binary(min_size=4, max_size=4),
}
RIGHT = {1: 0, 2: 0, 3: 0, 4: 2, 5: 5, 6: 1, 7: 0, 8: 0, 9: 2, 10: 2, 11: 0, 12: 2, 13: 2, 14: 2, 15: 2, 16: 2}
right_fields = st.sampled_from(sorted(RIGHT)).flatmap(
    lambda number: values[RIGHT[number]].map(partial(field, number, RIGHT[number]))
)
any_fields = st.tuples(st.integers(1, 18), st.sampled_from(sorted(values))).flatmap(
    lambda which: values[which[1]].map(partial(field, *which))
)
any_records = st.lists(right_fields | any_fields, max_size=5).map(b"".join) | st.lists(right_fields, max_size=6).map(
    lambda parts: b"".join(sorted(parts))
)


def plain(value: Any, data_type: pa.DataType) -> Any:
    """A value as text that two equal tables share: maps have no order, and NaN is like NaN."""
    if value is None:
        return None
    if pa.types.is_map(data_type):
        return sorted(
            ((plain(k, data_type.key_type), plain(v, data_type.item_type)) for k, v in value),
            key=repr,
        )
    if pa.types.is_list(data_type):
        return [plain(element, data_type.value_type) for element in value]
    if pa.types.is_struct(data_type):
        return {part.name: plain(value[part.name], part.type) for part in data_type}
    return repr(value)


def comparable(batch: pa.RecordBatch) -> list[Any]:
    return [[plain(row[part.name], part.type) for part in batch.schema] for row in batch.to_pylist()]


def check_both_ways(reader: ProtoReader, records: list[bytes], *, usual: bool = False) -> bool:
    """Compare; return whether the records were read by column. `usual` records must be."""
    try:
        by_column = reader.read_by_column(records)
    except OddRecordsError:
        assert not usual
        return False
    by_column.validate(full=True)
    assert by_column.num_rows == len(records)
    by_record = reader.read_by_record(proto_call(records), records)
    assert comparable(by_column) == comparable(by_record)
    return True


@settings(max_examples=10, deadline=None)
@given(sent=st.lists(rows, min_size=1, max_size=4))
def test_what_encoders_write_is_read_by_column(sent: list[dict]) -> None:
    batch = pa.RecordBatch.from_pylist(sent, SCHEMA.to_canonical_arrow())
    for payload in ProtoEncoder(SCHEMA).encode(batch):
        assert check_both_ways(READERS["all"], list(payload.records), usual=True)


MUTATIONS: list[Callable[[bytes, int, int], bytes]] = [
    lambda record, at, byte: record[:at] + bytes([byte]) + record[at + 1 :],
    lambda record, at, byte: record[:at] + bytes([byte]) + record[at:],
    lambda record, at, byte: record[:at] + record[at + 1 :],
    lambda record, at, byte: record[:at],
    lambda record, at, byte: record + record[at:],
    lambda record, at, byte: record[at:] + record[:at],
]


@pytest.mark.hostile
@settings(max_examples=200, deadline=None)
@given(
    sent=st.lists(rows, min_size=1, max_size=3),
    which=st.sampled_from(MUTATIONS),
    at=st.integers(0, 300),
    byte=st.integers(0, 255),
)
def test_mutated_records_are_read_alike_or_by_record(sent: list[dict], which: Any, at: int, byte: int) -> None:
    batch = pa.RecordBatch.from_pylist(sent, SCHEMA.to_canonical_arrow())
    for payload in ProtoEncoder(SCHEMA).encode(batch):
        records = list(payload.records)
        mutated = which(records[at % len(records)], at % (len(records[at % len(records)]) + 1), byte)
        check_both_ways(READERS["all"], [*records, mutated])
        check_both_ways(READERS["all"], [mutated, *records])


@settings(max_examples=100, deadline=None)
@given(records=st.lists(any_records, min_size=1, max_size=4))
def test_any_records_are_read_alike_or_by_record(records: list[bytes]) -> None:
    check_both_ways(READERS["small"], records)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        field(1, 0, varint(2**31)),  # cut to 32 bits, as protobuf does
        field(1, 0, varint(2**64 - 1)),
        field(2, 0, varint(2**63)),
        field(2, 0, varint(2**56)),
        field(2, 0, varint(5, padding=3)),
        field(7, 0, varint(2)),
        field(5, 5, b"\x00\x00\xc0\x7f") + field(6, 1, bytes(7) + b"\x80"),
        field(11, 0, b"\x01") * 60,
        field(14, 2, sized(field(1, 0, b"\x01") + field(2, 2, sized(field(1, 2, sized(b"y")))))),
        field(15, 2, b"\x00") * 3,
        field(16, 2, sized(b"\xff")),
    ],
)
def test_it_is_read_by_column(record: bytes) -> None:
    assert check_both_ways(READERS["small"], [b"", record, record, b""], usual=True)


ODD = {
    "another order": field(2, 0, b"\x01") + field(1, 0, b"\x02"),
    "twice": field(1, 0, b"\x01") * 2,
    "merged": field(14, 2, sized(field(1, 0, b"\x01"))) + field(14, 2, sized(field(1, 0, b"\x02"))),
    "unknown": field(17, 0, b"\x01"),
    "another wire type": field(1, 2, sized(b"x")),
    "packed": field(11, 2, sized(b"\x01\x02")),
    "a long tag": b"\x88\x00\x01",
    "an entry without key": field(13, 2, sized(field(2, 0, b"\x01"))),
    "a key twice": field(13, 2, sized(b"\x0a\x01k\x10\x05")) * 2,
    "a very long list": field(11, 0, b"\x01") * 100_000,
}


@pytest.mark.parametrize("record", ODD.values(), ids=ODD)
def test_unusual_records_are_read_by_record(record: bytes) -> None:
    reader = READERS["small"]
    records = [record] * 3
    assert not check_both_ways(reader, records)
    assert reader.read_by_record(proto_call(records), records).num_rows == 3


BAD = {
    "cut off in a tag": field(17, 0, b"\x01")[:1],
    "cut off in a number": b"\x08\x80",
    "eleven bytes": b"\x08" + b"\x80" * 10 + b"\x01",
    "a length beyond the record": b"\x22\x05ab",
    "a huge length": b"\x22" + varint(2**63 + 5),
    "a message beyond its parent": field(14, 2, sized(b"\x08\x01\x12\x05")),
    "no UTF-8": field(4, 2, sized(b"\xff")),
    "too large": field(3, 0, varint(128)),
    "the year 10000": field(8, 0, varint(2_932_897)),
    "too many digits": field(9, 2, sized(b"1.234")),
    "so many digits that Arrow loses some": field(9, 2, sized(b"1" + bytes([48]) * 128)),
    "not JSON": field(10, 2, sized(b"{")),
    "a NOT NULL field missing": field(14, 2, sized(b"")),
}


@pytest.mark.parametrize("record", BAD.values(), ids=BAD)
def test_a_bad_record_among_many_is_named(record: bytes) -> None:
    good = field(1, 0, b"\x01") + field(4, 2, sized(b"x"))
    records = [good] * 300
    records[77] = record
    with pytest.raises(Rejection, match=r"(\(record 77\)|record 77 is not a message)"):
        READERS["small"].read(proto_call(records), records)


def test_many_records_are_read_in_parts() -> None:
    reader = ProtoReader(TableSchema.from_ddl("id INT, name STRING"), descriptor("id INT, name STRING"))
    records = [field(1, 0, varint(number)) + field(2, 2, sized(b"n%d" % number)) for number in range(70_000)]
    read = reader.read_by_column(records)
    assert read.column("id").to_pylist() == list(range(70_000))
    assert read.column("name")[69_999].as_py() == "n69999"


@pytest.mark.parametrize(
    ("key", "wire_type", "content"),
    [
        ("TINYINT", 0, b"\x05"),
        ("BIGINT", 0, varint(2**64 - 1)),
        ("BOOLEAN", 0, b"\x01"),
        ("DATE", 0, b"\x05"),
        ("TIMESTAMP", 0, b"\x05"),
        ("TIMESTAMP_NTZ", 0, b"\x05"),
        ("DECIMAL(4, 2)", 2, sized(b"1.25")),
        ("STRING", 2, sized(b"")),
    ],
)
def test_maps_with_keys_of_each_type(key: str, wire_type: int, content: bytes) -> None:
    ddl = f"m MAP<{key}, STRUCT<x: INT>>"
    reader = ProtoReader(TableSchema.from_ddl(ddl), descriptor(ddl))
    entry = field(1, 2, sized(field(1, wire_type, content) + field(2, 2, sized(b"\x08\x05"))))
    assert check_both_ways(reader, [entry, b"", entry], usual=True)
    assert not check_both_ways(reader, [entry, entry + entry])


def test_columns_are_found_by_name_whatever_their_numbers() -> None:
    row = descriptor_pb2.DescriptorProto(name="Row")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, number, kind in (
        ("b", 3, kinds.TYPE_STRING),
        ("a", 70_000, kinds.TYPE_INT64),
        ("c", 16, kinds.TYPE_BOOL),
    ):
        row.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    reader = ProtoReader(TableSchema.from_ddl("a BIGINT, b STRING, c BOOLEAN, more INT"), row.SerializeToString())
    record = field(3, 2, sized(b"x")) + field(16, 0, b"\x01") + field(70_000, 0, b"\x05")
    assert reader.read_by_column([record, b""]).to_pylist() == [
        {"a": 5, "b": "x", "c": True, "more": None},
        {"a": None, "b": None, "c": None, "more": None},
    ]


def test_a_request_with_parts_that_others_replace_has_the_records_that_count() -> None:
    """Of a single record and a batch in one request the last counts, and records of batches are joined."""
    reader = ProtoReader(TableSchema.from_ddl("id INT"), descriptor("id INT"))
    one, two = field(1, 0, b"\x01"), field(1, 0, b"\x02")
    single = field(2, 2, sized(field(2, 2, sized(two))))
    for call, records in (
        (proto_call([one]) + single, [two]),
        (single + proto_call([one]), [one]),
        (proto_call([one]) + proto_call([two]), [one, two]),
    ):
        assert [row["id"] for row in reader.read(call, records).to_pylist()] == [record[1] for record in records]
