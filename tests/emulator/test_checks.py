"""Rejections: descriptors and schemas that do not fit the table, and rows that do not."""

import grpc
import pyarrow as pa
import pytest
from google.protobuf import descriptor_pb2
from zerobus.sdk.sync import ZerobusException

from beam_zerobus.emulator import Emulator, Faults, RejectRows
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.rows import ArrowReader, JsonReader, ProtoReader
from beam_zerobus.schema import TableSchema
from tests.emulator.payloads import descriptor, proto_call, schema_header

from .sdk import FORMATS, Stream, eventually

TABLE = "main.iot.air"
PROTO = descriptor_pb2.FieldDescriptorProto


MISFITS = [
    ("id INT", "id INT, more STRING", "'more' is in the stream's"),
    ("id INT NOT NULL, name STRING", "name STRING", "'id' is NOT NULL and missing"),
    ("id BIGINT", "id INT", "'id' has"),
    ("id INT", "id STRING", "'id' has"),
    ("at TIMESTAMP", "at DATE", "'at' has"),
    ("tags ARRAY<STRING>", "tags STRING", "'tags' has"),
    ("tags STRING", "tags ARRAY<STRING>", "'tags' has"),
    ("tags ARRAY<INT>", "tags ARRAY<STRING>", "'tags.element' has"),
    ("m MAP<STRING, INT>", "m MAP<STRING, BIGINT>", "'m.value' has"),
    ("m MAP<STRING, INT>", "m MAP<BIGINT, INT>", "'m.key' has"),
    ("m MAP<STRING, INT>", "m ARRAY<STRING>", "'m' has"),
    ("m ARRAY<STRUCT<key: STRING, value: INT>>", "m MAP<STRING, INT>", "'m' has"),
    ("p STRUCT<x: INT>", "p STRUCT<x: INT, y: INT>", "'p.y' is in the stream's"),
    ("p STRUCT<x: INT NOT NULL, y: INT>", "p STRUCT<y: INT>", "'p.x' is NOT NULL and missing"),
    ("p STRUCT<q: STRUCT<x: INT>>", "p STRUCT<q: STRUCT<x: DOUBLE>>", "'p.q.x' has"),
    ("p ARRAY<STRUCT<x: INT>>", "p ARRAY<STRUCT<x: STRING>>", "'p.element.x' has"),
    ("p STRUCT<x: INT>", "p INT", "'p' has"),
    ("price DECIMAL(10,2)", "price DOUBLE", "'price' has"),
]


@pytest.mark.parametrize(("table", "stream", "reason"), MISFITS)
def test_a_stream_that_does_not_fit_is_rejected_by_column(table: str, stream: str, reason: str) -> None:
    schema = TableSchema.from_ddl(table)
    for reader, what in ((ProtoReader, descriptor(stream)), (ArrowReader, schema_header(stream))):
        with pytest.raises(Rejection) as rejected:
            reader(schema, what)
        assert rejected.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert rejected.value.message.startswith("Error 8001: column ")
        assert reason in rejected.value.message


def test_a_nullable_column_may_be_missing() -> None:
    schema = TableSchema.from_ddl("id INT NOT NULL, name STRING, p STRUCT<x: INT, y: INT>")
    ProtoReader(schema, descriptor("id INT NOT NULL, p STRUCT<y: INT>"))
    ArrowReader(schema, schema_header("id INT, p STRUCT<y: INT>"))


def test_descriptors_of_other_origins_are_read() -> None:
    """As protoc writes them: with a package, nested type names, proto3's optional, defaults and JSON names."""
    row = descriptor_pb2.DescriptorProto(name="AirQuality")
    row.field.add(name="Clear", number=7, type=PROTO.TYPE_INT64, label=PROTO.LABEL_REQUIRED, json_name="clear")
    row.field.add(name="name", number=2, type=PROTO.TYPE_STRING, label=PROTO.LABEL_OPTIONAL, default_value="none")
    row.field.add(
        name="p", number=3, type=PROTO.TYPE_MESSAGE, type_name=".my.pkg.AirQuality.P", label=PROTO.LABEL_OPTIONAL
    )
    row.nested_type.add(name="P").field.add(name="x", number=1, type=PROTO.TYPE_INT32, label=PROTO.LABEL_OPTIONAL)
    row.enum_type.add(name="Unused").value.add(name="ZERO", number=0)
    schema = TableSchema.from_ddl("Clear BIGINT NOT NULL, name STRING, p STRUCT<x: INT>")
    reader = ProtoReader(schema, row.SerializeToString())
    records = [b"\x38\x05", b"\x38\x00\x1a\x02\x08\x09"]
    assert reader.read(proto_call(records), records).to_pylist() == [
        {"Clear": 5, "name": None, "p": None},
        {"Clear": 0, "name": None, "p": {"x": 9}},
    ]


@pytest.mark.parametrize(
    "what",
    [b"", b"\xff", descriptor_pb2.DescriptorProto(name="Row").SerializeToString()],
    ids=["none", "junk", "empty"],
)
def test_an_invalid_descriptor_is_rejected(what: bytes) -> None:
    with pytest.raises(Rejection, match="descriptor"):
        ProtoReader(TableSchema.from_ddl("id INT NOT NULL"), what)


BAD_JSON = [
    ("id INT NOT NULL", "{}", "'id' is NOT NULL and has no value"),
    ("id INT NOT NULL", '{"id": null}', "'id' is NOT NULL"),
    ("id TINYINT", '{"id": 128}', "'id' is TINYINT"),
    ("id SMALLINT", '{"id": -32769}', "'id' is SMALLINT"),
    ("id BIGINT", '{"id": 9223372036854775808}', "'id' is BIGINT"),
    ("id INT", '{"id": 1.0}', "'id' is INT"),
    ("id INT", '{"id": true}', "'id' is INT"),
    ("id INT", '{"id": "1"}', "'id' is INT"),
    ("id INT", '{"other": 1}', "'other' is not in the table"),
    ("id INT", "[1]", "is not a JSON object"),
    ("id INT", '{"id": ', "is not JSON"),
    ("x DOUBLE", '{"x": NaN}', "is not JSON"),
    ("x DOUBLE", '{"x": "much"}', "'x' is DOUBLE"),
    ("d DATE", '{"d": "2024-01-01"}', "Error 4044: column 'd' is DATE"),
    (
        "t TIMESTAMP",
        '{"t": "2024-01-01T00:00:00Z"}',
        "'t' is TIMESTAMP and was sent as a string; send microseconds",
    ),
    ("b BINARY", '{"b": "!!"}', "'b' is BINARY"),
    ("b BOOLEAN", '{"b": 1}', "'b' is BOOLEAN"),
    ("d DECIMAL(4,2)", '{"d": "1.234"}', "'d' is DECIMAL(4,2)"),
    ("d DECIMAL(4,2)", '{"d": "100"}', "'d' is DECIMAL(4,2)"),
    ("d DECIMAL(4,2)", '{"d": "one"}', "'d' is DECIMAL(4,2)"),
    ("s STRING", '{"s": 1}', "'s' is STRING"),
    ("v VARIANT", '{"v": "{no"}', "'v' is VARIANT"),
    (
        "v VARIANT",
        '{"v": "{\\"a\\":1,\\"a\\":2}"}',
        "'v' is VARIANT and has a value that has an object with",
    ),
    ("v VARIANT", '{"v": "NaN"}', "'v' is VARIANT and has a value that is not valid JSON"),
    ("a ARRAY<INT>", '{"a": "1"}', "'a' is an ARRAY"),
    ("a ARRAY<INT>", '{"a": {"b": 1}}', "'a' is an ARRAY"),
    ("a ARRAY<TINYINT>", '{"a": [1, 300]}', "'a.element' is TINYINT"),
    ("m MAP<STRING, INT>", '{"m": [1]}', "'m' is a MAP"),
    ("m MAP<INT, INT>", '{"m": {"x": 1}}', "'m.key' is INT"),
    ("p STRUCT<x: INT>", '{"p": 1}', "'p' is a STRUCT"),
    ("p STRUCT<x: INT>", '{"p": {"y": 1}}', "'p.y' is not in the table"),
    ("p STRUCT<x: INT NOT NULL>", '{"p": {}}', "'p.x' is NOT NULL"),
    ("p ARRAY<STRUCT<x: INT NOT NULL>>", '{"p": [{"x": 1}, {}]}', "'p.element.x' is NOT NULL"),
]


@pytest.mark.parametrize(("ddl", "record", "reason"), BAD_JSON)
def test_a_json_row_that_does_not_fit_is_rejected_by_column_and_record(ddl: str, record: str, reason: str) -> None:
    schema = TableSchema.from_ddl(ddl)
    good = "{}" if schema.columns[0].nullable else '{"id": 1}'
    with pytest.raises(Rejection) as rejected:
        JsonReader(schema).read([good] * 5 + [record] + [good] * 3)
    assert rejected.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert reason in rejected.value.message
    assert "record 5" in rejected.value.message
    for secret in ("300", "128", "much", "1.234", "{no", "one"):
        assert secret not in rejected.value.message, "no value in a message"


def test_protobuf_rows_that_do_not_fit() -> None:
    schema = TableSchema.from_ddl("id TINYINT NOT NULL, s STRING")
    reader = ProtoReader(schema, descriptor(schema.to_ddl()))
    good = b"\x08\x01"
    for bad, reason in (
        (b"\x08\xff\x01", "'id' is TINYINT"),
        (b"", "'id' is NOT NULL and has no value"),
        (b"\x08", "record 2 is not a message"),
        (b"\x08\x01\x12\x01\xff", "'s' is STRING and has a value that does not fit"),
    ):
        records = [good, good, bad, good]
        with pytest.raises(Rejection) as rejected:
            reader.read(proto_call(records), records)
        assert reason in rejected.value.message
        assert "record 2" in rejected.value.message


@pytest.mark.parametrize(
    ("table", "values", "record"),
    [
        ("v DECIMAL(4,2)", ["1.25", None, "123.25", "x"], 2),
        ("v ARRAY<DECIMAL(4,2)>", [["1.25"], [], ["1.25", "x"]], 2),
        ("v STRUCT<n: DATE>", [None] * 5 + [{"n": -800_000}], 5),
    ],
)
def test_a_rejected_arrow_row_has_its_record(table: str, values: list[object], record: int) -> None:
    schema = TableSchema.from_ddl(table)
    reader = ArrowReader(schema, schema_header(table))
    stream_schema = schema.to_arrow()
    column = pa.array(values, stream_schema.field("v").type)
    with pytest.raises(Rejection, match=rf"column 'v.*\(record {record}\)$"):
        reader.convert(pa.RecordBatch.from_arrays([column], schema=stream_schema))


def test_arrow_rows_that_do_not_fit() -> None:
    ddl = "id INT NOT NULL, d DECIMAL(4,2), p STRUCT<x: INT NOT NULL>, v VARIANT, a ARRAY<DECIMAL(3,1)>"
    reader = ArrowReader(TableSchema.from_ddl(ddl), schema_header(ddl.replace(" NOT NULL", "")))
    schema = TableSchema.from_ddl(ddl.replace(" NOT NULL", "")).to_arrow()
    variant = {"metadata": b"\x11\0\0", "value": b"\x03\x01\x00\x02\x0c\x01"}
    good = {"id": 1, "d": "1.25", "p": {"x": 1}, "v": variant, "a": ["1.5", None]}
    assert reader.convert(pa.RecordBatch.from_pylist([good, {"id": 2}], schema)).to_pylist()[1]["p"] is None
    for change, reason in (
        ({"id": None}, "'id' is NOT NULL"),
        ({"d": "1.255"}, "'d' is DECIMAL(4,2)"),
        ({"p": {"x": None}}, "'p.x' is NOT NULL"),
        ({"v": variant | {"value": b"\x03"}}, "'v' is VARIANT and has a value that is cut off"),
        ({"v": variant | {"metadata": b""}}, "'v' is VARIANT and has a value that has metadata of another version"),
        ({"a": ["100.5"]}, "'a.element' is DECIMAL(3,1)"),
    ):
        with pytest.raises(Rejection, match=reason.replace("(", r"\(").replace(")", r"\)")):
            reader.convert(pa.RecordBatch.from_pylist([good, good | change], schema))


@pytest.mark.parametrize("wire_format", FORMATS)
def test_a_bad_row_ends_the_stream_after_the_good_calls_before_it(emulator: Emulator, wire_format: str) -> None:
    emulator.create_table(TABLE, "id INT NOT NULL")
    # The stream does not know that the column is NOT NULL, the server does.
    stream = Stream(emulator, TABLE, "id INT NOT NULL" if wire_format == "proto" else "id INT", wire_format)
    stream.wait(stream.send([{"id": 1}]))
    if wire_format == "proto":
        stream.send_records([b"\x08\x02", b""])
    elif wire_format == "json":
        stream.send_records(['{"id": 2}', "{}"])
    else:
        stream.send_records(pa.RecordBatch.from_pydict({"id": pa.array([2, None], pa.int32())}, stream.encoder.schema))
    with pytest.raises(ZerobusException, match="column 'id' is NOT NULL and has no value"):
        stream.flush()
    assert emulator.table(TABLE).to_arrow().to_pylist() == [{"id": 1}], "nothing of the rejected call is stored"
    eventually(lambda: emulator.stats.streams[0].end == "INVALID_ARGUMENT")


@pytest.mark.parametrize("wire_format", FORMATS)
def test_rows_can_be_rejected_by_the_server_alone(emulator: Emulator, wire_format: str) -> None:
    emulator.create_table(TABLE, "id INT, name STRING")
    for rule in (
        RejectRows(column="id", value=7),
        RejectRows(column="name"),
        RejectRows(predicate=lambda row: row["id"] == 7, table=TABLE),
    ):
        emulator.faults = Faults(reject_rows=(rule, RejectRows(column="id", value=8, table="a.b.other")))
        before = emulator.table(TABLE).count_rows()
        stream = Stream(emulator, TABLE, "id INT, name STRING", wire_format)
        stream.wait(stream.send([{"id": 8, "name": "x"}]))
        stream.send([{"id": 6, "name": "x"}, {"id": 7}])
        with pytest.raises(ZerobusException, match=r"rejects \(record 1\)"):
            stream.flush()
        assert emulator.table(TABLE).count_rows() == before + 1


CAUSES = [
    ("id INT, name STRING", "name STRING, id INT", ("FIELD_OUT_OF_ORDER",), "'id' is after 'name' in the stream's"),
    ("p STRUCT<x: INT, y: INT>", "p STRUCT<y: INT, x: INT>", ("FIELD_OUT_OF_ORDER",), "'p.x' is after 'p.y'"),
    ("a INT, b INT, c INT", "b INT, a INT, c INT", ("FIELD_OUT_OF_ORDER",), "send columns in the table's order"),
    ("id INT, name STRING", "id INT, more INT", ("FIELD_NOT_IN_TABLE",), "'more' is in the stream's"),
    ("id INT", "id INT, more INT", ("FIELD_NOT_IN_TABLE", "FIELD_COUNT_MISMATCH"), "has 2 fields, in the table 1"),
    ("id INT NOT NULL, b INT", "b INT", ("MISSING_REQUIRED_COLUMN",), "'id' is NOT NULL and missing"),
    ("p STRUCT<x: INT NOT NULL, y: INT>", "p STRUCT<y: INT>", ("MISSING_REQUIRED_COLUMN",), "'p.x' is NOT NULL"),
    ("id INT", "id STRING", ("TYPE_INCOMPATIBLE",), "'id' has the incompatible type"),
    ("v VARIANT", "v STRING", ("TYPE_INCOMPATIBLE",), "VARIANT needs struct<metadata: large_binary not null, value: "),
    ("v VARIANT", "v STRUCT<metadata: BINARY, value: BINARY>", ("TYPE_INCOMPATIBLE",), "'v' has the incompatible type"),
    ("a ARRAY<VARIANT>", "a ARRAY<STRING>", ("TYPE_INCOMPATIBLE",), "'a.element' has the incompatible type"),
    ("id INT NOT NULL, b INT", "b STRING", ("MISSING_REQUIRED_COLUMN", "TYPE_INCOMPATIBLE"), "; column 'b' has"),
]


@pytest.mark.parametrize(("table", "stream", "causes", "reason"), CAUSES)
def test_a_rejected_arrow_schema_has_its_causes(table: str, stream: str, causes: tuple[str, ...], reason: str) -> None:
    with pytest.raises(Rejection) as rejected:
        ArrowReader(TableSchema.from_ddl(table), schema_header(stream))
    assert rejected.value.causes == causes
    assert reason in rejected.value.message


def test_a_column_that_appears_twice_is_a_wrong_number_of_fields() -> None:
    message = pa.schema([("id", pa.int32()), ("id", pa.int32())]).serialize().to_pybytes()
    header = message[8 : 8 + int.from_bytes(message[4:8], "little")]
    with pytest.raises(Rejection, match="'id' appears twice") as rejected:
        ArrowReader(TableSchema.from_ddl("id INT, b INT"), header)
    assert rejected.value.causes == ("FIELD_COUNT_MISMATCH",)


def test_a_row_above_10_mb_is_rejected_over_arrow(emulator: Emulator) -> None:
    emulator.create_table(TABLE, "id INT, s STRING")
    stream = Stream(emulator, TABLE, "id INT, s STRING", "arrow")
    schema = stream.encoder.schema
    large = ["a" * (6 << 20), "b" * (9 << 20), "c" * (10 << 20), "d"]
    batch = pa.RecordBatch.from_arrays(
        [pa.array(range(4), pa.int32()), pa.array(large, pa.large_string())], schema=schema
    )
    good = batch.slice(0, 2)
    stream.wait(stream.send_records(good))
    offset = stream.send_records(batch)
    with pytest.raises(ZerobusException, match=r"record \d has 104\d+ bytes; a record may have 10485760 at most"):
        stream.wait(offset)
    assert emulator.table(TABLE).count_rows() >= 2


def test_relative_type_names_of_a_descriptor_are_resolved() -> None:
    """As some clients write them: from the message around the field outwards, with or without a type."""
    row = descriptor_pb2.DescriptorProto(name="Row")
    outer = row.nested_type.add(name="Outer")
    row.nested_type.add(name="Inner").field.add(name="s", number=1, type=PROTO.TYPE_STRING, label=PROTO.LABEL_OPTIONAL)
    outer.nested_type.add(name="Inner").field.add(name="x", number=1, type=PROTO.TYPE_INT32, label=PROTO.LABEL_OPTIONAL)
    outer.field.add(name="i", number=1, type=PROTO.TYPE_MESSAGE, type_name="Inner", label=PROTO.LABEL_OPTIONAL)
    row.field.add(name="a", number=1, type=PROTO.TYPE_MESSAGE, type_name="Outer", label=PROTO.LABEL_OPTIONAL)
    row.field.add(name="b", number=2, type_name="Outer.Inner", label=PROTO.LABEL_OPTIONAL)
    row.field.add(name="c", number=3, type=PROTO.TYPE_MESSAGE, type_name="Row.Inner", label=PROTO.LABEL_REPEATED)
    schema = TableSchema.from_ddl("a STRUCT<i: STRUCT<x: INT>>, b STRUCT<x: INT>, c ARRAY<STRUCT<s: STRING>>")
    reader = ProtoReader(schema, row.SerializeToString())
    records = [b"\x0a\x04\x0a\x02\x08\x05\x12\x02\x08\x06\x1a\x03\x0a\x01z"]
    expected = {"a": {"i": {"x": 5}}, "b": {"x": 6}, "c": [{"s": "z"}]}
    assert reader.read(proto_call(records), records).to_pylist() == [expected]
    row.field[0].type_name = "Nowhere"
    with pytest.raises(Rejection, match="'a' has an incompatible type"):
        ProtoReader(schema, row.SerializeToString())
