"""`TableSchema` from and to Arrow, Unity Catalog and .proto; its limits and differences."""

import json
from contextlib import nullcontext

import pyarrow as pa
import pytest
from hypothesis import given, settings

from beam_zerobus.encoding import ArrowEncoder, ProtoEncoder
from beam_zerobus.errors import ConfigurationError, ConversionError
from beam_zerobus.schema import Array, Conformer, Decimal, Field, Map, Primitive, Struct, TableSchema
from beam_zerobus.schema.unknown_fields import has_unknown_fields
from tests.schema.strategies import bare, schemas


@pytest.mark.parametrize(("incoming", "unknown"), [("\u017fize", True), ("SIZE", False), ("length", True)])
def test_a_field_is_unknown_where_the_conformer_rejects_it(incoming, unknown):
    schema = TableSchema.from_ddl("size STRING")
    batch = pa.record_batch({incoming: ["x"]})
    assert has_unknown_fields(batch.schema, schema.columns) is unknown
    with pytest.raises(ConversionError, match="not in the table") if unknown else nullcontext():
        Conformer(schema).conform(batch)


@settings(deadline=None)
@given(schemas())
def test_arrow_keeps_everything_but_comments_and_variant(schema):
    expected = TableSchema(tuple(bare(column) for column in schema.columns))
    assert TableSchema.from_arrow(schema.to_canonical_arrow()) == expected


@settings(deadline=None)
@given(schemas())
def test_unity_catalog_keeps_everything(schema):
    columns = json.loads(json.dumps(schema.to_unity_catalog()))
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
        pa.struct([pa.field("x", pa.int32(), nullable=False)]),
        pa.struct([pa.field(name, pa.large_binary(), nullable=False) for name in ("metadata", "value")]),
    ]  # fmt: skip
    assert schema.to_arrow().types == expected
    map_type = schema.to_arrow().field("o").type
    assert (map_type.key_field.name, map_type.item_field.name) == ("keys", "values")
    assert schema.to_arrow().field("n").type.value_field.name == "item"


def test_list_elements_and_map_values_are_nullable_in_flight_but_not_struct_fields():
    struct = Struct((Field(name="x", type=Primitive.INT, nullable=False, number=1),))
    types = (Array(struct, False), Map(Primitive.STRING, struct, False))
    schema = TableSchema(tuple(Field(name=f"c{i}", type=kind, number=i) for i, kind in enumerate(types, start=1)))
    array, mapping = schema.to_arrow().types
    assert (array.value_field.nullable, array.value_type.field("x").nullable) == (True, False)
    assert (mapping.item_field.nullable, mapping.key_field.nullable) == (True, False)
    batch = pa.RecordBatch.from_pydict(
        {"c1": [[{"x": 1}], [None]], "c2": pa.array([[], []], pa.map_("string", mapping.item_type))}
    )
    conformed = Conformer(schema).conform(batch)
    assert [(error.index, error.error_type) for error in conformed.rejected] == [(1, "null_in_not_null_column")]
    (payload,) = ArrowEncoder(schema).encode(conformed.batch)
    assert payload.records.schema.equals(schema.to_arrow(), check_metadata=True)


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
def test_arrow_types_with_a_delta_type(arrow_type, delta):
    assert TableSchema.from_arrow(pa.schema([("c", arrow_type)])).to_ddl() == f"c {delta}"


@pytest.mark.parametrize(
    ("arrow_type", "says"),
    [
        (pa.time32("s"), "no type for a time of day"),
        (pa.time64("us"), "no type for a time of day"),
        (pa.duration("s"), "BIGINT"),
        (pa.month_day_nano_interval(), "intervals"),
        (pa.null(), "cast it to the type"),
        (pa.decimal256(39, 0), "38 digits"),
        (pa.dense_union([pa.field("a", pa.int8())]), "union"),
    ],
)
def test_arrow_types_without_a_delta_type_are_rejected(arrow_type, says):
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
        ((field("a", 1 << 29),), "numbers range from 1"),
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
        ("a MAP<VARIANT, INT>", "'a'"),
        ("a MAP<STRUCT<x: INT>, INT>", "'a'"),
        ("a STRUCT<b: ARRAY<ARRAY<INT>>>", "'a.b'"),
        ("`1st` INT", "'1st'"),
        ("a ARRAY<STRUCT<b: MAP<BINARY, INT>>>", "'a.element.b'"),
    ],
)
def test_columns_that_no_stream_carries_are_named(ddl, path):
    schema = TableSchema.from_ddl(ddl)
    for make in (schema.to_descriptor, schema.to_proto, lambda: ProtoEncoder(schema), lambda: ArrowEncoder(schema)):
        with pytest.raises(ConversionError, match=f"column {path}: Zerobus does not accept .*; (wrap|use|rename)"):
            make()


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


def test_unity_catalog_without_type_json():
    columns = [
        {"name": "a", "type_text": "array<struct<x:bigint,y:decimal(5,2)>>", "type_json": ""},
        {"name": "b", "type_name": "LONG", "type_json": "{}"},
        {"name": "c", "type_name": "DECIMAL", "type_precision": 12, "type_scale": 2},
        {"name": "d", "type_name": "TIMESTAMP_NTZ", "nullable": False},
        {"name": "e", "type_text": "string", "type_name": "STRING", "position": None},
    ]
    assert uc(*columns).to_ddl() == (
        "a ARRAY<STRUCT<x: BIGINT, y: DECIMAL(5,2)>>, b BIGINT, c DECIMAL(12,2), d TIMESTAMP_NTZ NOT NULL, e STRING"
    )


def test_columns_with_a_negative_position_are_dropped():
    schema = uc(
        {"name": "gone", "type_text": "interval day", "nullable": False, "position": -1},
        {"name": "b", "type_text": "int", "position": 1},
        {"name": "a", "type_text": "int", "position": 0},
    )
    assert [(column.name, column.number) for column in schema.columns] == [("a", 1), ("b", 2)]


def test_nullable_columns_of_types_that_zerobus_cannot_write_are_left_out_with_one_warning(caplog):
    table = {
        "full_name": "main.tests.left_out",
        "columns": [
            {"name": "id", "type_text": "bigint", "nullable": False, "position": 0},
            {"name": "took", "type_json": '"interval day to second"', "position": 1},
            {"name": "place", "type_text": "geography(4326)", "type_name": "GEOGRAPHY", "position": 2},
            {"name": "p", "type_text": "struct<x:int,inside:array<geometry>>", "position": 3},
            {"name": "later", "type_name": "SOME_TYPE_OF_THE_FUTURE", "position": 4},
            {"name": "name", "type_text": "string", "position": 5},
        ],
    }
    for _ in range(3):  # every stream reads the schema
        schema = TableSchema.from_unity_catalog(table)
    assert schema.to_ddl() == "id BIGINT NOT NULL, name STRING"
    assert [column.number for column in schema.columns] == [1, 6]
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert warning.startswith("table main.tests.left_out: columns that Zerobus cannot write are left out")
    for name in ("'took' is INTERVAL DAY", "'place' is GEOGRAPHY", "'p' is STRUCT", "'later' is SOME_TYPE"):
        assert name in warning
    assert "DDL" not in warning
    with pytest.raises(ConversionError, match="cannot write any column of the table: 'took' is INTERVAL DAY"):
        uc(table["columns"][1])


def test_a_not_null_column_of_a_type_that_zerobus_cannot_write_is_an_error():
    struct = '{"type":"struct","fields":[{"name":"x","type":"interval day"}]}'
    with pytest.raises(
        ConversionError, match=r"column 'p' is NOT NULL .*'p\.x' is INTERVAL DAY .*BIGINT.*; drop NOT NULL"
    ):
        uc({"name": "p", "type_json": struct, "nullable": False})


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ({}, "no name"),
        ({"name": "x"}, "'x'"),
        ({"name": "x", "type_json": "{"}, "not valid JSON"),
        ({"name": "x", "type_json": "[" * 100_000}, "not valid JSON"),
        ({"name": "x", "type_name": "STRUCT"}, "neither type_json nor type_text"),
        ({"name": "x", "type_name": 7}, "'x'"),
        ({"name": "x", "type_json": "5"}, "neither a name nor an object"),
        ({"name": "x", "type_json": '{"type": {}}'}, "neither"),
        ({"name": "x", "type_json": '"interval year"', "nullable": False}, "INTERVAL"),
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
