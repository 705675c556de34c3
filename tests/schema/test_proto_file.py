"""Tables for messages of .proto files: the files that this package prints, and one that people could have written."""

from __future__ import annotations

import sys
from subprocess import run

import pytest
from hypothesis import given, settings

from beam_zerobus.errors import ConfigurationError, ConversionError
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.proto_file import read_proto
from tests.schema.strategies import schemas

WRITTEN = """\
// Readings of all stations. message Commented { string out = 1; }
syntax = "proto3";
package air.v1;
import "google/protobuf/timestamp.proto";
import public "google/protobuf/wrappers.proto";
option java_package = "a;b{c}";

enum Quality { option deprecated = false; UNKNOWN = 0; GOOD = 1 [deprecated = true]; }
message Place {
  message Point { double x = 1; double y = 2; }
  Point at = 1;
  repeated Point path = 2;
  optional string name = 0x3;
}
message Reading {
  reserved 2, 15, 9 to 11;
  reserved "foo", 'bar';
  string device = 1 [json_name = "Dev", deprecated = false];
  repeated sint64 counts = 4; /* in
  the wrong order */ Quality quality = 3;
  .air.v1.Place place = 5;
  map<string, Place.Point> corners = 6;
  oneof value {
    double number = 7;
    bytes raw = 8;
  };
  google.protobuf.Timestamp at = 12;
  google.protobuf.StringValue note = 13;
  uint64 big = 14;
  bool is_option = 16;
}
service Readings { rpc Send(Reading) returns (Reading) { option deprecated = true; } }
"""


def test_a_file_that_people_write(tmp_path):
    (tmp_path / "air.proto").write_text(WRITTEN)
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--descriptor_set_out=out", "air.proto"]
    run(protoc, cwd=tmp_path, check=True)
    assert read_proto(WRITTEN, "Reading").to_ddl() == (
        "device STRING, quality INT, counts ARRAY<BIGINT>, place STRUCT<at: STRUCT<x: DOUBLE, y: DOUBLE>, "
        "path: ARRAY<STRUCT<x: DOUBLE, y: DOUBLE>>, name: STRING>, corners MAP<STRING, STRUCT<x: DOUBLE, y: DOUBLE>>, "
        "number DOUBLE, raw BINARY, at TIMESTAMP, note STRING, big BIGINT, is_option BOOLEAN"
    )
    assert read_proto(WRITTEN) == read_proto(WRITTEN, "air.v1.Reading")
    assert read_proto(WRITTEN, "Point").to_ddl() == "x DOUBLE, y DOUBLE"


@settings(max_examples=20)
@given(schemas())
def test_a_file_that_is_printed_here_gives_the_same_message(schema):
    try:
        message = schema.to_descriptor()
    except ConversionError:
        return
    assert read_proto(schema.to_proto(), "Row").to_descriptor() == message


def test_options_with_brackets_of_their_own():
    text = """
    syntax = "proto3";
    message Row {
      int32 id = 1 [(my.opt) = { list: [1, [2, 3]], any { [type.googleapis.com/a.B] { x: -.5 } } }, deprecated = true];
      string name = 2 [(a).b = "]", (c) = [ ]];
    }
    """
    assert read_proto(text).to_ddl() == "id INT, name STRING"


def test_required_is_not_null():
    text = 'syntax = "proto2"; message Row { required int32 id = 1; optional string name = 2; extensions 100 to max; }'
    assert read_proto(text).to_ddl() == "id INT NOT NULL, name STRING"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 messages"),
        ("message A { int32 id = 1; } message B { int32 id = 1; }", "name one of A, B"),
        ("message A { int32 id = 1 }", "line 1: expected ';', found '}'"),
        ("message A {\n  int32 id = x;\n}", "line 2: expected a field number, found 'x'"),
        ("message A {\n  int32", "line 2: expected a name, found the end"),
        ("message A { int32 id = 1; } §", "unexpected character '§'"),
        ("table A { }", "expected message, enum or another declaration, found 'table'"),
        ("message A { }", "the message A has no fields"),
        ("message A { A again = 1; }", "the message A holds itself, by the field 'again'"),
        ("message A { Other.Type x = 1; }", "the field 'x' of A has the type Other.Type, which is not in this"),
        ("message A { repeated group G = 1 { int32 x = 2; } }", "a table cannot hold groups"),
        ("message A { int32 id = 1; string ID = 2; }", "ID"),
        ("syntax = 'proto3'; option x = {", "expected more, found the end"),
        ("message A { map<string> m = 1; }", "expected ','"),
    ],
)
def test_what_cannot_be_read_is_named(text, message):
    with pytest.raises(ConfigurationError, match=message.replace("(", r"\(")):
        read_proto(text)


def test_a_message_that_is_not_there_is_named():
    with pytest.raises(ConfigurationError, match="has no message of the name 'Nothing'; there are: air.v1.Place"):
        read_proto(WRITTEN, "Nothing")
    assert isinstance(read_proto(WRITTEN, "Place"), TableSchema)


def test_messages_that_nest_too_deep():
    with pytest.raises(ConfigurationError, match="levels of messages"):
        read_proto("message A { " * 100 + "}" * 100)
