"""Avro streams: the official SDK writes them, fastavro encodes the records."""

from __future__ import annotations

import datetime as dt
import io
import json
from decimal import Decimal
from typing import Any

import fastavro
import grpc
import pytest
from zerobus.sdk.sync import RecordType, StreamConfigurationOptions, TableProperties, ZerobusException, ZerobusSdk

from beam_zerobus.emulator import Emulator
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.rows import AvroReader
from beam_zerobus.emulator.wire import Request
from beam_zerobus.schema import TableSchema

from .sdk import PATIENCE, RawStream

TABLE = "main.iot.air"
DDL = (
    "id BIGINT NOT NULL, small SMALLINT, f FLOAT, d DOUBLE, b BOOLEAN, s STRING, kind STRING, raw BINARY, four BINARY, "
    "price DECIMAL(5,2), cost DECIMAL(5,2), day DATE, at TIMESTAMP, local TIMESTAMP_NTZ, v VARIANT, "
    "tags ARRAY<STRING>, m MAP<STRING, BIGINT>, p STRUCT<x: INT, q: STRUCT<y: DOUBLE>>, missing STRING"
)
LONG_TIME = {"type": "long", "logicalType": "timestamp-micros"}
SCHEMA = {
    "type": "record",
    "name": "air",
    "namespace": "iot",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "small", "type": ["null", "int"]},
        {"name": "f", "type": "float"},
        {"name": "d", "type": ["double", "null"]},
        {"name": "b", "type": "boolean"},
        {"name": "s", "type": "string"},
        {"name": "kind", "type": {"type": "enum", "name": "kind", "symbols": ["indoor", "outdoor"]}},
        {"name": "raw", "type": ["null", "bytes"]},
        {"name": "four", "type": {"type": "fixed", "name": "four", "size": 4}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2}},
        {"name": "cost", "type": "string"},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": LONG_TIME},
        {"name": "local", "type": ["null", {"type": "long", "logicalType": "local-timestamp-micros"}]},
        {"name": "v", "type": "string"},
        {"name": "tags", "type": {"type": "array", "items": ["null", "string"]}},
        {"name": "m", "type": {"type": "map", "values": "long"}},
        {
            "name": "p",
            "type": {
                "type": "record",
                "name": "place",
                "fields": [
                    {"name": "x", "type": "int"},
                    {
                        "name": "q",
                        "type": {"type": "record", "name": "q", "fields": [{"name": "y", "type": "double"}]},
                    },
                ],
            },
        },
    ],
}
ROW: dict[str, Any] = {
    "id": -(2**63),
    "small": None,
    "f": 0.5,
    "d": float("inf"),
    "b": True,
    "s": "é",
    "kind": "outdoor",
    "raw": b"\xff",
    "four": b"abcd",
    "price": Decimal("-1.50"),
    "cost": "9.99",
    "day": dt.date(2026, 11, 29),
    "at": dt.datetime(2026, 11, 29, 1, 2, 3, 4, tzinfo=dt.UTC),
    "local": dt.datetime(2026, 11, 29, 1, 2, 3, 4),
    "v": '{"a": 1}',
    "tags": ["a", None],
    "m": {"k": 1},
    "p": {"x": 1, "q": {"y": 2.5}},
}


def encoded(row: dict[str, Any], schema: Any = SCHEMA) -> bytes:
    sink = io.BytesIO()
    fastavro.schemaless_writer(sink, fastavro.parse_schema(schema), row)
    return sink.getvalue()


def stream_of(emulator: Emulator, schema: Any = SCHEMA) -> Any:
    options = StreamConfigurationOptions(
        record_type=RecordType.AVRO, recovery=False, server_lack_of_ack_timeout_ms=PATIENCE
    )
    sdk = ZerobusSdk(emulator.endpoint, emulator.workspace_url)
    properties = TableProperties(TABLE, avro_schema=json.dumps(schema))
    return sdk.create_stream(emulator.client_id, emulator.client_secret, properties, options)


def test_the_official_client_writes_every_type(emulator: Emulator) -> None:
    table = emulator.create_table(TABLE, DDL)
    stream = stream_of(emulator)
    stream.ingest_records_offset([encoded(ROW), encoded(ROW | {"id": 2})])
    stream.wait_for_offset(stream.ingest_record_offset(encoded(ROW | {"id": 3, "raw": None})))
    stream.close()
    found = sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])
    expected = ROW | {"cost": Decimal("9.99"), "m": [("k", 1)], "missing": None}
    assert found == [expected, expected | {"id": 2}, expected | {"id": 3, "raw": None}]
    assert emulator.stats.streams[-1].wire_format == "avro"


def test_a_bad_record_ends_the_stream_and_names_the_record(emulator: Emulator) -> None:
    table = emulator.create_table(TABLE, DDL)
    for bad, reason in (
        (encoded(ROW)[:-1], "record 1 is not Avro of the stream's schema"),
        (encoded(ROW) + b"a", "record 1 is not Avro of the stream's schema"),
        (encoded(ROW | {"v": "{"}), "column 'v' is VARIANT"),
        (encoded(ROW | {"small": 2**20}), "column 'small' is SMALLINT"),
    ):
        stream = stream_of(emulator)
        offset = stream.ingest_records_offset([encoded(ROW), bad])
        with pytest.raises(ZerobusException, match=reason):
            stream.wait_for_offset(offset)
    assert table.count_rows() == 0


def field(name: Any, kind: Any) -> dict[str, Any]:
    return {"type": "record", "name": "r", "fields": [{"name": name, "type": kind}]}


def decimal(**digits: int) -> dict[str, Any]:
    return {"type": "bytes", "logicalType": "decimal"} | digits


@pytest.mark.parametrize(
    ("ddl", "schema", "reason"),
    [
        ("a INT", "{", "is not an Avro schema"),
        ("a INT", "[]", "must be the schema of a record"),
        ("a INT", '"int"', "must be the schema of a record"),
        ("a INT", {"type": "record", "name": "r", "fields": []}, "has no fields"),
        ("a INT", field("b", "int"), "column 'b' is not in the table"),
        ("a INT, b INT NOT NULL", field("a", "int"), "column 'b' is NOT NULL and is missing"),
        ("a INT", field("a", "long"), "column 'a' is INT and has Avro's type long"),
        ("a INT", field("a", ["int", "string"]), "a union of other than null and one type"),
        ("a INT", field("a", "nothing"), "is not an Avro schema"),
        ("a ARRAY<INT>", field("a", {"type": "array", "items": "null"}), "column 'a.element' is INT"),
        ("a BINARY", field("a", {"type": "fixed", "name": "f", "size": 0}), "Avro's type fixed"),
        ("a STRUCT<x: INT>", field("a", {"type": "record", "name": "e", "fields": []}), "the record a has no fields"),
        ("a STRUCT<x: INT>", field("a", ["null", "r"]), "column 'a.a' is not in the table"),
        ("a TIMESTAMP", field("a", {"type": "long", "logicalType": "timestamp-millis"}), "send microseconds"),
        ("a DECIMAL(5,2)", field("a", "bytes"), "column 'a' is DECIMAL(5,2) and has Avro's type bytes"),
        ("a DECIMAL(5,2)", field("a", decimal()), "'a' has a decimal whose precision is not from 1 to 38"),
        ("a DECIMAL(5,2)", field("a", decimal(precision=10**9, scale=10**8)), "precision is not from 1 to 38"),
        ("a INT", field(["a"], "int"), "is not an Avro schema"),
        ("a BIGINT", field("a", {"type": "long", "logicalType": ["timestamp-micros"]}), "is not an Avro schema"),
        ("a INT", field("\ud800", "int"), "is not an Avro schema"),
    ],
)
def test_a_schema_that_does_not_fit_is_rejected(ddl: str, schema: Any, reason: str) -> None:
    text = schema if isinstance(schema, str) else json.dumps(schema)
    with pytest.raises(Rejection, match="Error 8001") as raised:
        AvroReader(TableSchema.from_ddl(ddl), text)
    assert reason in raised.value.message


@pytest.mark.parametrize(
    ("unscaled", "expected"),
    [(-9999, "-99.99"), (9999, "99.99"), (10000, None), (-123456, None), (1 << 8_000_000, None)],
    ids=["least", "most", "a digit more", "digits more", "a million bytes"],
)
def test_a_decimal_is_never_rounded(unscaled: int, expected: str | None) -> None:
    reader = AvroReader(TableSchema.from_ddl("a DECIMAL(9,2)"), json.dumps(field("a", decimal(precision=4, scale=2))))
    out = io.BytesIO()
    content = unscaled.to_bytes(unscaled.bit_length() // 8 + 1, signed=True)
    fastavro.schemaless_writer(out, {"type": "bytes"}, content)
    if expected is not None:
        assert reader.read([out.getvalue()]).to_pylist() == [{"a": Decimal(expected)}]
        return
    with pytest.raises(Rejection, match="record 0 is not Avro"):
        reader.read([out.getvalue()])


def test_a_stream_carries_only_its_own_format(emulator: Emulator) -> None:
    emulator.create_table(TABLE, "id BIGINT")
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
        create = Request(create_stream={"table_name": TABLE, "record_type": 4})
        create.create_stream.avro_schema_json = json.dumps(field("id", "long"))
        stream.send(create)
        stream.receive()
        stream.send_json(0, "{}")
        code, message = stream.end()
    assert (code, "a stream of avro cannot carry json_batch" in message) == (grpc.StatusCode.INVALID_ARGUMENT, True)
