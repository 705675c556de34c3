"""DDL read and printed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema import Array, Decimal, Field, Map, Primitive, Struct, TableSchema
from beam_zerobus.schema.ddl import parse_type
from tests.schema.strategies import schemas


@settings(deadline=None)
@given(schemas(inner_null=st.just(True)))
def test_what_is_printed_reads_back_the_same(schema):
    assert TableSchema.from_ddl(schema.to_ddl()) == schema


@settings(deadline=None, max_examples=30)
@given(schemas(inner_null=st.just(True)))
def test_case_space_and_comments_make_no_difference(schema):
    ddl = TableSchema(tuple(without_comment(column) for column in schema.columns)).to_ddl()
    spaced = ddl.replace("<", " /* a */ < ").replace(",", " , -- to the end of the line\n\t")
    types = [column.type for column in TableSchema.from_ddl(spaced).columns]
    assert types == [column.type for column in TableSchema.from_ddl(ddl).columns]


def without_comment(field):
    def bare(delta_type):
        match delta_type:
            case Struct(fields):
                return Struct(tuple(without_comment(inner) for inner in fields))
            case Array(element):
                return Array(bare(element))
            case Map(key, value):
                return Map(bare(key), bare(value))
        return delta_type

    return Field(name=field.name, type=bare(field.type), nullable=field.nullable, number=field.number)


@settings(deadline=None)
@given(st.text(max_size=30) | st.text("abINT<>(),:`'\" \\NOT ULARY", max_size=40))
def test_any_text_is_read_or_refused_with_its_position(text):
    try:
        schema = TableSchema.from_ddl(text)
    except ConfigurationError as error:
        message = str(error)
    else:
        message = ""
        assert TableSchema.from_ddl(schema.to_ddl()) == schema
    assert not message or message.startswith(("schema DDL, line ", "column"))


@pytest.mark.parametrize(
    ("text", "delta_type"),
    [
        ("byte", Primitive.TINYINT),
        ("Short", Primitive.SMALLINT),
        ("INTEGER", Primitive.INT),
        ("long", Primitive.BIGINT),
        ("real", Primitive.FLOAT),
        ("timestamp_ltz", Primitive.TIMESTAMP),
        ("timestamp_ntz", Primitive.TIMESTAMP_NTZ),
        ("varchar(255)", Primitive.STRING),
        ("CHAR (3)", Primitive.STRING),
        ("string collate UTF8_BINARY", Primitive.STRING),
        ("variant", Primitive.VARIANT),
        ("decimal", Decimal(10, 0)),
        ("dec(5)", Decimal(5, 0)),
        ("NUMERIC ( 38 , 10 )", Decimal(38, 10)),
        ("array<array<int>>", Array(Array(Primitive.INT))),
        ("map<string,array<double>>", Map(Primitive.STRING, Array(Primitive.DOUBLE))),
        (
            "struct<a: INT NOT NULL COMMENT 'it\\'s', `b` string comment \"x\">",
            Struct(
                (
                    Field(name="a", type=Primitive.INT, nullable=False, number=1, comment="it's"),
                    Field(name="b", type=Primitive.STRING, number=2, comment="x"),
                )
            ),
        ),
    ],
)
def test_every_name_of_a_type(text, delta_type):
    assert parse_type(text) == delta_type


@pytest.mark.parametrize(
    ("ddl", "says"),
    [
        ("", "line 1, column 1: expected a name"),
        ("a", "line 1, column 2: expected a type"),
        ("a INT,", "line 1, column 7: expected a column name"),
        ("a INT\nb INT", "line 2, column 1: expected ',' or the end, found 'b'"),
        ("a INT,\n  b INTT", "line 2, column 5: 'INTT' is not a Delta type; did you mean INT?"),
        ("a FOO", "Delta's types are TINYINT"),
        ("a INTERVAL YEAR", "Zerobus cannot write INTERVAL"),
        ("a TIME", "no TIME"),
        ("a VOID", "VOID"),
        ("a GEOMETRY(4326)", "WKB"),
        ("a VARCHAR", "VARCHAR"),
        ("a VARCHAR(x)", "whole number"),
        ("a ARRAY", "expected '<' after ARRAY"),
        ("a ARRAY<INT", "expected '>' to close ARRAY"),
        ("a MAP<INT>", "between the map's key and value"),
        ("a STRUCT<>", "expected a name and a type"),
        ("a INT NOT", "expected NULL after NOT"),
        ("a INT NOT NULL NOT NULL", "twice"),
        ("a INT COMMENT x", "text in quotes"),
        ("a INT COMMENT 'x", "never closed"),
        ("a INT DEFAULT 1", "leave the clause out"),
        ("a INT GENERATED ALWAYS AS (1)", "generated columns"),
        ("a INT PRIMARY KEY", "constraints"),
        ("`a INT", "never closed"),
        ("a INT /* x", "never closed"),
        ("ä INT", "ASCII letters"),
        ("`a b` INT", "ASCII letters"),
        ("a INT, A STRING", "same name"),
        ("a STRUCT<x: INT, X: INT>", "'a.x' and 'a.X' have the same name"),
        ("a DECIMAL(39,2)", "line 1, column 3: DECIMAL(39,2)"),
        ("a DECIMAL(5,6)", "scale from 0"),
        ("a MAP<MAP<INT, INT>, INT>", "no MAP as the key"),
        ("CREATE TABLE t (a INT)", "only the column list"),
        ("a " + "ARRAY<" * 100 + "INT" + ">" * 100, "deeper than 64"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(ddl, says):
    with pytest.raises(ConfigurationError) as caught:
        TableSchema.from_ddl(ddl)
    assert says in str(caught.value)
