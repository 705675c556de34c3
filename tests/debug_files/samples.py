"""What the tests write: a table with every kind of type, its batches and its protobuf rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from beam_zerobus.encoding import ProtoEncoder
from beam_zerobus.schema import TableSchema

TABLE = "main.iot.air_quality"
AIR = TableSchema.from_ddl("id BIGINT NOT NULL, device STRING, temperature DOUBLE, ts TIMESTAMP")
AIR_ENCODER = ProtoEncoder(AIR)

EVERY_TYPE = TableSchema.from_ddl(
    "id BIGINT NOT NULL, tiny TINYINT, small SMALLINT, number INT, single FLOAT, real DOUBLE, flag BOOLEAN, "
    "name STRING, raw BINARY, price DECIMAL(10,2), day DATE, ts TIMESTAMP, local TIMESTAMP_NTZ, "
    "tags ARRAY<STRING>, days ARRAY<DATE>, prices MAP<STRING, DECIMAL(5,1)>, "
    "place STRUCT<name: STRING, seen: TIMESTAMP, points: ARRAY<STRUCT<x: DOUBLE NOT NULL, on: DATE>>>, doc VARIANT"
)


def air(start: int, rows: int = 3) -> pa.RecordBatch:
    ids = range(start, start + rows)
    return pa.record_batch(
        {
            "id": pa.array(ids, pa.int64()),
            "device": pa.array([f"sensor-{i % 7}" for i in ids], pa.string()),
            "temperature": pa.array([None if i % 5 == 0 else i / 2 for i in ids], pa.float64()),
            "ts": pa.array([1_700_000_000_000_000 + i for i in ids], pa.timestamp("us", "UTC")),
        }
    )


def encode(batch: pa.RecordBatch, encoder: ProtoEncoder = AIR_ENCODER) -> list[bytes]:
    return [record for payload in encoder.encode(batch) for record in payload.records]


def every_type() -> pa.RecordBatch:
    noon = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
    full = {
        "id": 1,
        "tiny": -7,
        "small": 300,
        "number": -70_000,
        "single": 0.5,
        "real": 2.25,
        "flag": True,
        "name": "Zürich",
        "raw": b"\x00\xff",
        "price": Decimal("-12.30"),
        "day": dt.date(1969, 12, 31),
        "ts": noon,
        "local": noon.replace(tzinfo=None),
        "tags": ["a", ""],
        "days": [dt.date(2026, 1, 1)],
        "prices": [("now", Decimal("9.5"))],
        "place": {"name": "x", "seen": noon, "points": [{"x": 1.0, "on": None}, {"x": 2.0, "on": dt.date(2026, 2, 2)}]},
        "doc": '{"a": 1}',
    }
    empty = dict.fromkeys(full) | {"id": 2, "tags": [], "days": [], "prices": []}
    schema = pa.schema(list(_canonical(EVERY_TYPE)))
    return pa.RecordBatch.from_pylist([full, empty], schema=schema)


def _canonical(schema: TableSchema) -> Iterator[pa.Field]:
    from beam_zerobus.schema.arrow import canonical_type

    for column in schema.columns:
        yield pa.field(column.name, canonical_type(column.type), nullable=column.nullable)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())
