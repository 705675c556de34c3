"""The protobuf message of a table: the rules of the official client, protoc, and the printed `.proto` file."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import subprocess
import sys
from itertools import count
from pathlib import Path

import pyarrow as pa
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus.encoding import ArrowEncoder, ProtoEncoder
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema import Array, Decimal, DeltaType, Field, Map, Primitive, Struct, TableSchema
from tests.schema.strategies import leaves

PROTO = FieldDescriptorProto

# The rules below are those of the official client, read in `schema.rs` of the crate databricks-zerobus-ingest-sdk
# 3.0.0, stated in our own terms.

SCALARS = {
    Primitive.TINYINT: PROTO.TYPE_INT32,
    Primitive.SMALLINT: PROTO.TYPE_INT32,
    Primitive.INT: PROTO.TYPE_INT32,
    Primitive.BIGINT: PROTO.TYPE_INT64,
    Primitive.FLOAT: PROTO.TYPE_FLOAT,
    Primitive.DOUBLE: PROTO.TYPE_DOUBLE,
    Primitive.BOOLEAN: PROTO.TYPE_BOOL,
    Primitive.STRING: PROTO.TYPE_STRING,
    Primitive.BINARY: PROTO.TYPE_BYTES,
    Primitive.DATE: PROTO.TYPE_INT32,
    Primitive.TIMESTAMP: PROTO.TYPE_INT64,
    Primitive.TIMESTAMP_NTZ: PROTO.TYPE_INT64,
    Primitive.VARIANT: PROTO.TYPE_STRING,
}
NO_KEYS = {Primitive.FLOAT, Primitive.DOUBLE, Primitive.BINARY, Primitive.VARIANT}

names = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,7}\Z") | st.sampled_from(["_1", "_2", "user_id", "userId", "_", "__"])


def columns(types: st.SearchStrategy[DeltaType], positions: st.SearchStrategy[list[int]] | None = None):
    """Columns or struct fields; those of a table have gaps in their numbers."""
    parts = st.lists(
        st.tuples(names, types, st.booleans()), min_size=1, max_size=4, unique_by=lambda part: part[0].lower()
    )
    steps = st.lists(st.integers(1, 3), min_size=4, max_size=4) if positions is None else positions

    def number(parts, steps):
        return tuple(
            Field(name=name, type=delta_type, nullable=nullable, number=sum(steps[: index + 1]))
            for index, (name, delta_type, nullable) in enumerate(parts)
        )

    return st.builds(number, parts, steps)


def wire_types() -> st.SearchStrategy[DeltaType]:
    def nested(inner):
        structs = st.builds(Struct, columns(inner, st.just([1] * 4)))
        return structs | st.builds(Array, leaves | structs) | st.builds(Map, keys, leaves | structs)

    keys = leaves.filter(lambda key: key not in NO_KEYS)
    return st.recursive(leaves, nested, max_leaves=5)


def message_base(name: str) -> str:
    """Letters and digits, upper case after other characters; M in front unless the first one is a letter."""
    text = "".join(part[:1].upper() + part[1:] for part in re.split("[^A-Za-z0-9]+", name) if part)
    return text if re.match("[A-Za-z]", text) else "M" + text


def official(fields: tuple[Field, ...]):
    """Fields as (name, number, label, type, message), message as (kind, base name, its fields), in their order."""
    return [official_field(field) for field in sorted(fields, key=lambda field: field.number)]


def official_field(field: Field):
    base = message_base(field.name)
    single = PROTO.LABEL_OPTIONAL if field.nullable else PROTO.LABEL_REQUIRED
    match field.type:
        case Array(element):
            return (field.name, field.number, PROTO.LABEL_REPEATED, *official_type(element, f"{base}Element"))
        case Map(key, value):
            pair = [
                ("key", 1, PROTO.LABEL_OPTIONAL, *official_type(key, "")),
                ("value", 2, PROTO.LABEL_OPTIONAL, *official_type(value, f"{base}Value")),
            ]
            entry = ("map", f"{base}Entry", pair)
            return field.name, field.number, PROTO.LABEL_REPEATED, PROTO.TYPE_MESSAGE, entry
        case other:
            return (field.name, field.number, single, *official_type(other, base))


def official_type(delta_type: DeltaType, message: str):
    if isinstance(delta_type, Struct):
        return PROTO.TYPE_MESSAGE, ("message", message, official(delta_type.fields))
    return (PROTO.TYPE_STRING if isinstance(delta_type, Decimal) else SCALARS[delta_type]), None


def seen(message: DescriptorProto, path: str, known: dict[str, DescriptorProto] | None = None):
    """The fields of a descriptor, in the same form."""
    known = (known or {}) | {f"{path}.{inner.name}": inner for inner in message.nested_type}
    taken = {field.name for field in message.field} | {inner.name for inner in message.nested_type}
    assert len(taken) == len(message.field) + len(message.nested_type), "fields and messages share one namespace"
    found = []
    for field in sorted(message.field, key=lambda field: field.number):
        assert field.json_name == field.name
        assert not field.HasField("proto3_optional")
        inner = None
        if field.type_name:
            target = known[field.type_name]
            kind = "map" if target.options.map_entry else "message"
            inner = (kind, target.name, seen(target, field.type_name, known))
        found.append((field.name, field.number, field.label, field.type, inner))
    return found


def same(ours, theirs) -> bool:
    """Compare; our name of a message may end with a number, where the name is in use already."""
    if isinstance(ours, list | tuple):
        if len(ours) == 3 and ours[0] in ("map", "message"):
            assert re.fullmatch(re.escape(theirs[1]) + r"\d*", ours[1]), (ours[1], theirs[1])
            return ours[0] == theirs[0] and same(ours[2], theirs[2])
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours == theirs


@settings(deadline=None)
@given(columns(wire_types()))
def test_descriptors_follow_the_rules_of_the_official_client(fields):
    descriptor = TableSchema(fields).to_descriptor("Reading")
    assert descriptor.name == "Reading"
    assert same(seen(descriptor, ".Reading"), official(fields))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(FileDescriptorProto(name="row.proto", syntax="proto2", message_type=[descriptor]))
    message_factory.GetMessageClass(pool.FindMessageTypeByName("Reading"))
    assert ProtoEncoder(TableSchema(fields)).descriptor.field[0].name == fields[0].name


def test_names_of_messages():
    schema = TableSchema.from_ddl(
        "_1 STRUCT<_2: STRUCT<x: INT>>, air_quality ARRAY<STRUCT<x: INT>>, tags MAP<STRING, STRUCT<x: INT>>, "
        "a_b STRUCT<x: INT>, aB STRUCT<x: INT>, PointElement INT, point ARRAY<STRUCT<x: INT>>"
    )
    descriptor = schema.to_descriptor()
    names = [message.name for message in descriptor.nested_type]
    assert names == ["M1", "AirQualityElement", "TagsValue", "TagsEntry", "AB", "AB2", "PointElement2"]
    assert descriptor.nested_type[0].nested_type[0].name == "M2"
    assert descriptor.nested_type[0].field[0].type_name == ".Row.M1.M2"


def test_tuples_of_spark_and_names_of_one_json_name_are_encoded():
    kinds = "_1 STRUCT<_1: INT>, _2 ARRAY<STRUCT<_1: INT>>, _3 MAP<STRING, INT>, user_id INT, userId INT"
    rows = [{"_1": {"_1": 1}, "_2": [{"_1": 2}], "_3": [("a", 3)], "user_id": 4, "userId": 5}]
    schema = TableSchema.from_ddl(kinds)
    (payload,) = ProtoEncoder(schema).encode(pa.RecordBatch.from_pylist(rows, schema.to_canonical_arrow()))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(FileDescriptorProto(name="row.proto", syntax="proto2", message_type=[schema.to_descriptor()]))
    row = message_factory.GetMessageClass(pool.FindMessageTypeByName("Row")).FromString(payload.records[0])
    found = [row._1._1, row._2[0]._1, row._3["a"], row.user_id, row.userId]
    assert found == [1, 2, 3, 4, 5]


def test_map_keys_of_dates_timestamps_and_decimals_are_encoded():
    schema = TableSchema.from_ddl("d MAP<DATE, INT>, t MAP<TIMESTAMP, INT>, n MAP<DECIMAL(5,2), INT>")
    day, moment, number = dt.date(1970, 1, 2), dt.datetime(1970, 1, 1, 0, 0, 0, 1), decimal.Decimal("1.5")
    batch = pa.RecordBatch.from_pylist(
        [{"d": [(day, 2)], "t": [(moment, 2)], "n": [(number, 3)]}], schema.to_canonical_arrow()
    )
    (payload,) = ProtoEncoder(schema).encode(batch)
    assert payload.records == [b"\x0a\x04\x08\x01\x10\x02\x12\x04\x08\x01\x10\x02\x1a\x08\x0a\x041.50\x10\x03"]
    (payload,) = ArrowEncoder(schema).encode(batch)
    assert payload.records.column("n").to_pylist() == [[("1.50", 3)]]


EVERYTHING = (
    "id BIGINT NOT NULL COMMENT 'two\nlines', name STRING, small TINYINT, price DECIMAL(10,2), at TIMESTAMP, "
    "ntz TIMESTAMP_NTZ, day DATE, raw BINARY, ok BOOLEAN, f FLOAT, d DOUBLE, v VARIANT, tags ARRAY<STRING>, "
    "counts MAP<STRING, INT>, point STRUCT<x: DOUBLE NOT NULL, inner: STRUCT<y: INT, by_day: MAP<DATE, INT>>>, "
    "pts ARRAY<STRUCT<x: DOUBLE>>, Pts_2 STRUCT<message: STRING>, by_name MAP<STRING, STRUCT<x: INT>>, "
    "message STRING, user_id INT, userId INT, _1 STRUCT<_2: ARRAY<STRUCT<x: INT>>>"
)


def protoc(folder: Path, *arguments: object, data: bytes = b"") -> bytes:
    command = [sys.executable, "-m", "grpc_tools.protoc", *map(str, arguments)]
    ran = subprocess.run(command, input=data, capture_output=True, cwd=folder, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout


@pytest.fixture
def compiler() -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools has protoc")


@pytest.mark.usefixtures("compiler")
def test_the_printed_file_compiles_to_the_descriptor(tmp_path):
    schema = TableSchema.from_ddl(EVERYTHING)
    (tmp_path / "row.proto").write_text(schema.to_proto("Reading"))
    protoc(tmp_path, "-I.", "--descriptor_set_out=out", "row.proto")
    compiled = FileDescriptorSet.FromString((tmp_path / "out").read_bytes()).file[0].message_type[0]
    assert compiled == schema.to_descriptor("Reading")


@pytest.mark.usefixtures("compiler")
def test_protoc_decodes_rows_with_the_descriptor(tmp_path):
    """protoc is stricter than Python's protobuf: about entry messages of maps, and about proto3_optional."""
    schema = TableSchema.from_ddl(EVERYTHING)
    file = FileDescriptorProto(name="row.proto", syntax="proto2", message_type=[schema.to_descriptor()])
    (tmp_path / "set").write_bytes(FileDescriptorSet(file=[file]).SerializeToString())
    batch = pa.RecordBatch.from_pylist(
        [{"id": 7, "by_name": [("k", {"x": 1})], "point": {"x": 0.5, "inner": {"y": 2, "by_day": []}}}],
        schema.to_canonical_arrow(),
    )
    (payload,) = ProtoEncoder(schema).encode(batch)
    text = protoc(tmp_path, "--descriptor_set_in=set", "--decode=Row", "row.proto", data=payload.records[0]).decode()
    assert re.sub(r"\s+", " ", text).strip() == (
        'id: 7 point { x: 0.5 inner { y: 2 } } by_name { key: "k" value { x: 1 } }'
    )


@settings(deadline=None, max_examples=5)
@given(st.lists(columns(wire_types()), min_size=10, max_size=10))
def test_printed_files_of_any_table_compile_to_the_descriptor(tmp_path_factory, tables):
    """In one call, as protoc starts slowly; tables that protobuf's own rules forbid are left out."""
    pytest.importorskip("grpc_tools", reason="grpcio-tools has protoc")
    folder = tmp_path_factory.mktemp("tables")
    number = count()
    descriptors = {}
    for fields in tables:
        descriptor = TableSchema(fields).to_descriptor(f"Row{next(number)}")
        if conventional(descriptor):
            descriptors[descriptor.name] = descriptor
            (folder / f"{descriptor.name}.proto").write_text(TableSchema(fields).to_proto(descriptor.name))
    if descriptors:
        protoc(folder, "-I.", "--descriptor_set_out=out", *(f"{name}.proto" for name in descriptors))
        for file in FileDescriptorSet.FromString((folder / "out").read_bytes()).file:
            assert file.message_type[0] == descriptors[file.message_type[0].name]


def conventional(message: DescriptorProto) -> bool:
    """Whether protoc names the entry messages of all maps alike: it does not for `_1`, nor for `a_b` beside `aB`."""
    entries = {inner.name for inner in message.nested_type if inner.options.map_entry}
    for field in message.field:
        name = field.type_name.rpartition(".")[2]
        if name in entries and name != "".join(p[:1].upper() + p[1:] for p in field.name.split("_")) + "Entry":
            return False
    return all(map(conventional, message.nested_type))


def test_proto_message_names_are_checked():
    with pytest.raises(ConfigurationError, match="message_name"):
        TableSchema.from_ddl("a INT").to_proto("1 Row")
