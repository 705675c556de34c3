"""`TableSchema` from and to Arrow, Unity Catalog and .proto; its limits and differences."""

import json
import subprocess
import sys

import pyarrow as pa
import pytest
from google.protobuf import descriptor_pb2
from hypothesis import given, settings

from beam_zerobus.encoding.proto.descriptor import message_descriptor
from beam_zerobus.errors import ConfigurationError, ConversionError
from beam_zerobus.schema import Array, Decimal, Field, Primitive, TableSchema, check_protobuf
from beam_zerobus.schema.unity_catalog_json import to_columns
from tests.schema.strategies import bare, schemas


@settings(deadline=None)
@given(schemas())
def test_arrow_keeps_everything_but_comments_and_variant(schema):
    expected = TableSchema(tuple(bare(column) for column in schema.columns))
    assert TableSchema.from_arrow(schema.to_canonical_arrow()) == expected


@settings(deadline=None)
@given(schemas())
def test_unity_catalog_keeps_everything(schema):
    columns = json.loads(json.dumps(to_columns(schema)))
    expected = TableSchema(tuple(without_empty_comment(column) for column in schema.columns))
    assert TableSchema.from_unity_catalog({"columns": columns}) == expected
    from_text = TableSchema.from_unity_catalog(
        {"columns": [{key: value for key, value in column.items() if key != "type_json"} for column in columns]}
    )
    assert [column.name for column in from_text.columns] == [column.name for column in schema.columns]


def without_empty_comment(field):
    return Field(
        name=field.name, type=field.type, nullable=field.nullable, number=field.number, comment=field.comment or None
    )


def test_flight_types_are_those_of_the_service():
    schema = TableSchema.from_ddl(
        "a TINYINT, b SMALLINT, c INT, d BIGINT, e FLOAT, f DOUBLE, g BOOLEAN, h STRING, i BINARY, j DECIMAL(5,2), "
        "k DATE, l TIMESTAMP, m TIMESTAMP_NTZ, n ARRAY<INT>, o MAP<STRING, DECIMAL(3,1)>, p STRUCT<x: INT NOT NULL>, "
        "q VARIANT"
    )
    expected = [
        pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.bool_(), pa.large_string(),
        pa.large_binary(), pa.large_string(), pa.date32(), pa.timestamp("us", "UTC"), pa.timestamp("us"),
        pa.list_(pa.int32()), pa.map_(pa.large_string(), pa.large_string()),
        pa.struct([pa.field("x", pa.int32(), nullable=False)]), pa.large_string(),
    ]  # fmt: skip
    assert schema.to_arrow().types == expected
    map_type = schema.to_arrow().field("o").type
    assert (map_type.key_field.name, map_type.item_field.name) == ("keys", "values")
    assert schema.to_arrow().field("n").type.value_field.name == "item"


@pytest.mark.parametrize(
    ("arrow_type", "delta"),
    [
        (pa.uint8(), "SMALLINT"),
        (pa.uint16(), "INT"),
        (pa.uint32(), "BIGINT"),
        (pa.uint64(), "BIGINT"),
        (pa.float16(), "FLOAT"),
        (pa.string_view(), "STRING"),
        (pa.binary(4), "BINARY"),
        (pa.date64(), "DATE"),
        (pa.timestamp("ns", "Europe/Paris"), "TIMESTAMP"),
        (pa.timestamp("s"), "TIMESTAMP_NTZ"),
        (pa.decimal32(5, 2), "DECIMAL(5,2)"),
        (pa.decimal128(5, -2), "DECIMAL(7,0)"),
        (pa.decimal128(2, 4), "DECIMAL(4,4)"),
        (pa.decimal256(38, 2), "DECIMAL(38,2)"),
        (pa.dictionary(pa.int8(), pa.string()), "STRING"),
        (pa.run_end_encoded(pa.int32(), pa.int8()), "TINYINT"),
        (pa.json_(), "VARIANT"),
        (pa.uuid(), "BINARY"),
        (pa.bool8(), "BOOLEAN"),
        (pa.large_list(pa.int8()), "ARRAY<TINYINT>"),
        (pa.list_(pa.int8(), 3), "ARRAY<TINYINT>"),
        (pa.list_view(pa.int8()), "ARRAY<TINYINT>"),
        (pa.map_(pa.string(), pa.int8()), "MAP<STRING, TINYINT>"),
        (pa.fixed_shape_tensor(pa.float32(), [2, 2]), "ARRAY<FLOAT>"),
    ],
)
def test_arrow_types_that_mean_a_delta_type(arrow_type, delta):
    assert TableSchema.from_arrow(pa.schema([("c", arrow_type)])).to_ddl() == f"c {delta}"


@pytest.mark.parametrize(
    ("arrow_type", "says"),
    [
        (pa.time32("s"), "no time of day"),
        (pa.time64("us"), "no time of day"),
        (pa.duration("s"), "BIGINT"),
        (pa.month_day_nano_interval(), "intervals"),
        (pa.null(), "cast it to the type"),
        (pa.decimal256(39, 0), "38 digits"),
        (pa.dense_union([pa.field("a", pa.int8())]), "union"),
    ],
)
def test_arrow_types_that_cannot_be_carried_are_rejected(arrow_type, says):
    nested = pa.schema([("c", pa.struct([("x", pa.list_(arrow_type))]))])
    with pytest.raises(ConversionError, match=r"column 'c\.x\.element'") as caught:
        TableSchema.from_arrow(nested)
    assert says in str(caught.value)


def test_deep_arrow_types_are_rejected():
    deep = pa.int8()
    for _ in range(80):
        deep = pa.list_(deep)
    with pytest.raises(ConversionError, match="deeper"):
        TableSchema.from_arrow(pa.schema([("c", deep)]))


def field(name, number, delta_type=Primitive.INT):
    return Field(name=name, type=delta_type, number=number)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ((), "no column"),
        (tuple(field(f"c{i}", i + 1) for i in range(2001)), "2001 columns"),
        ((field("a", 0),), "number 0"),
        ((field("a", 19_500),), "19000 to 19999"),
        ((field("a", 1 << 29),), "numbers go from 1"),
        ((field("a", 1), field("b", 1)), "share the protobuf field number 1"),
        ((field("", 1),), "ASCII"),
        ((field("a\n", 1),), "ASCII"),
    ],
)
def test_limits_of_a_table(columns, says):
    with pytest.raises(ConfigurationError, match=says):
        TableSchema(columns)


def test_deep_types_are_rejected():
    deep = Primitive.INT
    for _ in range(100):
        deep = Array(deep)
    with pytest.raises(ConfigurationError, match="deeper"):
        TableSchema((field("a", 1, deep),))


@pytest.mark.parametrize(
    ("ddl", "path"),
    [
        ("a ARRAY<ARRAY<INT>>", "'a'"),
        ("a ARRAY<MAP<INT, INT>>", "'a'"),
        ("a MAP<STRING, ARRAY<INT>>", "'a'"),
        ("a MAP<DOUBLE, INT>", "'a'"),
        ("a MAP<DATE, INT>", "'a'"),
        ("a STRUCT<b: ARRAY<ARRAY<INT>>>", "'a.b'"),
        ("`1st` INT", "'1st'"),
        ("a ARRAY<STRUCT<b: MAP<BINARY, INT>>>", "'a.element.b'"),
    ],
)
def test_what_protobuf_cannot_hold_is_named(ddl, path):
    schema = TableSchema.from_ddl(ddl)
    with pytest.raises(ConversionError, match="wire_format='arrow'") as caught:
        check_protobuf(schema)
    assert f"column {path}" in str(caught.value)
    with pytest.raises(ConversionError):
        schema.to_proto()


def uc(*columns):
    return TableSchema.from_unity_catalog({"columns": list(columns)})


def test_unity_catalog_in_all_its_forms():
    struct = {
        "type": "struct",
        "fields": [{"name": "x", "type": "long", "nullable": False}, {"name": "y", "type": "date"}],
    }
    array = {"type": "array", "elementType": struct}
    schema = uc(
        {"name": "b", "type_json": '{"name":"b","type":"integer","nullable":false,"metadata":{}}', "position": 5},
        {"name": "a", "type_json": '"decimal(10,2)"', "position": 2, "nullable": False, "comment": "price"},
        {"name": "c", "type_json": json.dumps(struct), "position": 7},
        {"name": "d", "type_json": json.dumps({"name": "d", "type": array}), "position": 9},
        {"name": "e", "type_text": "map<string,int>", "position": 10},
        {"name": "f", "type_json": '"varchar(20)"', "position": 11, "nullable": None},
    )  # fmt: skip
    assert schema.to_ddl() == (
        "a DECIMAL(10,2) NOT NULL COMMENT 'price', b INT NOT NULL, c STRUCT<x: BIGINT NOT NULL, y: DATE>, "
        "d ARRAY<STRUCT<x: BIGINT NOT NULL, y: DATE>>, e MAP<STRING, INT>, f STRING"
    )
    assert [column.number for column in schema.columns] == [3, 6, 8, 10, 11, 12]


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ({}, "no name"),
        ({"name": "x"}, "'x'"),
        ({"name": "x", "type_json": "{"}, "not JSON"),
        ({"name": "x", "type_json": "[" * 100_000}, "not JSON"),
        ({"name": "x", "type_json": "5"}, "neither a name nor an object"),
        ({"name": "x", "type_json": '{"type": {}}'}, "neither"),
        ({"name": "x", "type_json": '"interval year"'}, "INTERVAL"),
        ({"name": "x", "type_json": '{"type":"struct"}'}, "list of fields"),
        ({"name": "x", "type_json": '{"type":"struct","fields":[{"type":"long"}]}'}, "field 1"),
        ({"name": "x", "type_json": '"long"', "position": "1"}, "position"),
        ({"name": "x", "type_json": '{"type":' * 70 + '"long"' + "}" * 70}, "deeper"),
    ],
)
def test_malformed_answers_of_unity_catalog_are_rejected(column, says):
    with pytest.raises(ConversionError, match="x|no name") as caught:
        uc(column)
    assert says in str(caught.value)


def test_proto_text_is_what_protoc_reads_and_matches_the_descriptor(tmp_path):
    pytest.importorskip("grpc_tools", reason="protoc comes with grpcio-tools")
    schema = TableSchema.from_ddl(
        "id BIGINT NOT NULL COMMENT 'two\nlines', name STRING, small TINYINT, price DECIMAL(10,2), at TIMESTAMP, "
        "ntz TIMESTAMP_NTZ, day DATE, raw BINARY, ok BOOLEAN, f FLOAT, d DOUBLE, v VARIANT, tags ARRAY<STRING>, "
        "counts MAP<STRING, INT>, point STRUCT<x: DOUBLE NOT NULL, inner: STRUCT<y: INT>>, "
        "pts ARRAY<STRUCT<x: DOUBLE>>, Pts_2 STRUCT<message: STRING>, by_name MAP<STRING, STRUCT<x: INT>>, "
        "message STRING"
    )
    source = tmp_path / "row.proto"
    source.write_text(schema.to_proto("Reading"))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{tmp_path}",
            f"--descriptor_set_out={tmp_path / 'out'}",
            source,
        ],
        check=True,
    )
    files = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "out").read_bytes())
    compiled = files.file[0].message_type[0]
    ours = message_descriptor(schema, "Reading")
    assert shape(compiled) == shape(ours)


def shape(message, outer=()):
    """The fields, with those of the messages inside; protoc and we may nest a map's values differently."""
    nested = dict(outer)
    for inner in message.nested_type:
        nested[inner.name] = shape(inner, nested.items())
    return [(f.name, f.number, f.label, f.type, nested.get(f.type_name.split(".")[-1])) for f in message.field]


def test_proto_message_names_are_checked():
    with pytest.raises(ConfigurationError, match="message_name"):
        TableSchema.from_ddl("a INT").to_proto("1 Row")


@settings(deadline=None, max_examples=30)
@given(schemas())
def test_a_schema_does_not_differ_from_itself(schema):
    assert schema.differences(schema) == []


def test_differences_name_every_column():
    ours = TableSchema.from_ddl(
        "id INT NOT NULL, extra STRING, p STRUCT<x: INT, y: INT>, a ARRAY<INT>, m MAP<STRING, INT>, n STRING"
    )
    table = TableSchema.from_ddl(
        "ID BIGINT, p STRUCT<x: STRING>, a ARRAY<STRING>, m MAP<STRING, DECIMAL(5,2)>, n STRING NOT NULL, "
        "more DATE NOT NULL"
    )
    assert ours.differences(table) == [
        "column 'id' is NOT NULL, in the table it is nullable",
        "column 'id' is INT, in the table it is BIGINT",
        "column 'extra' is not in the table",
        "column 'p.x' is INT, in the table it is STRING",
        "column 'p.y' is not in the table",
        "column 'a.element' is INT, in the table it is STRING",
        "column 'm.value' is INT, in the table it is DECIMAL(5,2)",
        "column 'n' is nullable, in the table it is NOT NULL",
        "the table's column 'more' (DATE, NOT NULL) is missing",
    ]


def test_types_print_and_hash():
    assert str(Decimal(5, 2)) == "DECIMAL(5,2)"
    assert len({TableSchema.from_ddl("a INT"), TableSchema.from_ddl("A int"), TableSchema.from_ddl("a int")}) == 2
