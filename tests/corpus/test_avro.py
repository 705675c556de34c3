"""Avro of every codec and of every type, into tables, compared with fastavro's reader."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import uuid
from operator import itemgetter

import fastavro
import polars as pl

DDL = (
    "id BIGINT, small INT, name STRING, raw BINARY, ratio DOUBLE, part FLOAT, is_open BOOLEAN, kind STRING, "
    "fixed BINARY, day DATE, at TIMESTAMP, millis TIMESTAMP, local TIMESTAMP_NTZ, price DECIMAL(20,4), key STRING, "
    "tags ARRAY<STRING>, counts MAP<STRING, BIGINT>, point STRUCT<x: INT, y: STRING>"
)


def nullable(kind: object) -> list[object]:
    return ["null", kind]


POINT = {
    "type": "record",
    "name": "Point",
    "fields": [{"name": "x", "type": "int"}, {"name": "y", "type": nullable("string")}],
}
SCHEMA = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": name, "type": kind}
        for name, kind in {
            "id": "long",
            "small": "int",
            "name": nullable("string"),
            "raw": "bytes",
            "ratio": "double",
            "part": "float",
            "is_open": "boolean",
            "kind": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]},
            "fixed": {"type": "fixed", "name": "Three", "size": 3},
            "day": nullable({"type": "int", "logicalType": "date"}),
            "at": {"type": "long", "logicalType": "timestamp-micros"},
            "millis": {"type": "long", "logicalType": "timestamp-millis"},
            "local": {"type": "long", "logicalType": "local-timestamp-micros"},
            "price": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 4},
            "key": {"type": "string", "logicalType": "uuid"},
            "tags": {"type": "array", "items": "string"},
            "counts": {"type": "map", "values": "long"},
            "point": nullable(POINT),
        }.items()
    ],
}  # fmt: skip
ROWS = [
    {
        "id": number - 2**62,
        "small": number - 2**30,
        "name": None if number % 5 == 0 else f"é{number}",
        "raw": bytes([number, 255]),
        "ratio": number / 7,
        "part": number / 8,
        "is_open": number % 3 == 0,
        "kind": "AB"[number % 2],
        "fixed": bytes([0, number, 255]),
        "day": None if number % 4 == 0 else dt.date(1, 1, 1) + dt.timedelta(days=30_000 * number),
        "at": dt.datetime(1, 1, 2, tzinfo=dt.UTC) + dt.timedelta(days=30_000 * number, microseconds=number),
        "millis": dt.datetime(1969, 12, 31, 23, 59, 59, number * 1_000, tzinfo=dt.UTC),
        "local": dt.datetime(2026, 1, 31, 12, 0, 0, number),
        "price": decimal.Decimal(number * 10**12 - 1) / 10_000,
        "key": uuid.UUID(int=number),
        "tags": [f"t{number}"] * (number % 3),
        "counts": {f"k{number}": number},
        "point": None if number % 6 == 0 else {"x": number, "y": None},
    }
    for number in range(100)
]
CODECS = ["null", "deflate", "bzip2", "xz"]  # tests of the reader write the others, for which fastavro needs packages


def test_the_rows_of_every_codec_are_those_that_fastavro_reads(send, tmp_path):
    for codec in CODECS:
        with (tmp_path / f"{codec}.avro").open("wb") as file:
            fastavro.writer(file, SCHEMA, ROWS, codec=codec, sync_interval=500)
    rows, letters = send(DDL, tmp_path / "*.avro")
    assert not letters
    expected = []
    for codec in CODECS:
        expected += list(fastavro.reader(io.BytesIO((tmp_path / f"{codec}.avro").read_bytes())))
    for row in expected:
        row["key"] = str(row["key"])
        row["counts"] = list(row["counts"].items())
    assert sorted(rows, key=itemgetter("id")) == sorted(expected, key=itemgetter("id"))


def test_the_rows_of_polars(send, tmp_path):
    frame = pl.DataFrame(
        {"id": range(50), "name": [None if n % 3 else f"é{n}" for n in range(50)], "ratio": [n / 7 for n in range(50)]}
    )
    for compression in ("uncompressed", "snappy", "deflate"):
        frame.write_avro(tmp_path / f"{compression}.avro", compression)
    rows, letters = send("id BIGINT, name STRING, ratio DOUBLE", tmp_path / "*.avro")
    assert not letters
    assert sorted(rows, key=itemgetter("id")) == [row for row in frame.to_dicts() for _ in range(3)]
