"""Readings of every type, and files of them in every format."""

from __future__ import annotations

import datetime as dt
import decimal
import gzip
import json
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from beam_zerobus.programs import files_to_zerobus

TABLE = "main.files.readings"
DDL = """
    id BIGINT NOT NULL, name STRING, co2 INT, temperature DOUBLE, is_open BOOLEAN, day DATE, at TIMESTAMP,
    local TIMESTAMP_NTZ, price DECIMAL(10,2)
"""
ROWS = [
    {
        "id": number,
        "name": [None, "", 'two\nlines, "quoted"', "Zoë", "plain"][number % 5],
        "co2": number - 500 if number % 7 else None,
        "temperature": number / 8 if number % 3 else None,
        "is_open": number % 2 == 0,
        "day": dt.date(2024, 2, 29) - dt.timedelta(days=number),
        "at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=number * 1_234_567),
        "local": dt.datetime(1969, 12, 31, 23, 59, 59, number),
        "price": decimal.Decimal(number) / 100,
    }
    for number in range(1_000)
]
ARROW = pa.schema(
    {
        "id": pa.int64(),
        "name": pa.string(),
        "co2": pa.int32(),
        "temperature": pa.float64(),
        "is_open": pa.bool_(),
        "day": pa.date32(),
        "at": pa.timestamp("us", "UTC"),
        "local": pa.timestamp("us"),
        "price": pa.decimal128(10, 2),
    }
)
AVRO = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "name", "type": ["null", "string"]},
        {"name": "co2", "type": ["null", "int"]},
        {"name": "temperature", "type": ["null", "double"]},
        {"name": "is_open", "type": "boolean"},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "local", "type": {"type": "long", "logicalType": "local-timestamp-micros"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}},
    ],
}


def write_parquet(path: Path, rows: list[dict]) -> None:
    pq.write_table(pa.Table.from_pylist(rows, ARROW), path, row_group_size=200)


def write_csv(path: Path, rows: list[dict]) -> None:
    buffer = pa.BufferOutputStream()
    csv.write_csv(pa.Table.from_pylist(rows, ARROW), buffer)
    text = buffer.getvalue().to_pybytes()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def write_jsonl(path: Path, rows: list[dict]) -> None:
    text = "".join(json.dumps(row, default=_plain, ensure_ascii=False) + "\n" for row in rows) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def write_avro(path: Path, rows: list[dict]) -> None:
    with path.open("wb") as file:
        fastavro.writer(file, AVRO, rows)


def _plain(value: object) -> str:
    return str(value) if isinstance(value, decimal.Decimal) else value.isoformat()


def arrived(zerobus, table: str = TABLE) -> list[dict]:
    return sorted(zerobus.table(table).to_arrow().to_pylist(), key=lambda row: row["id"])


def send(*arguments: str) -> int:
    return files_to_zerobus.main(["--zerobus_table", TABLE, *arguments])
