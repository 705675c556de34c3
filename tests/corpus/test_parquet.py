"""Parquet of pyarrow's own tests, and of many writers and settings, into tables, compared with DuckDB's reader."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterable
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_zerobus.schema import TableSchema

SHIPPED = sorted(Path(pa.__file__).parent.joinpath("tests", "data", "parquet").glob("*.parquet"))
DDL = (
    "id BIGINT, small TINYINT, name STRING, raw BINARY, ratio DOUBLE, part FLOAT, is_open BOOLEAN, day DATE, "
    "at TIMESTAMP, local TIMESTAMP_NTZ, price DECIMAL(20,4), tags ARRAY<STRING>, point STRUCT<x: INT, y: STRING>, "
    "counts MAP<STRING, INT>"
)
SCHEMA = TableSchema.from_ddl(DDL).to_canonical_arrow()
ROWS = [
    {
        "id": number * 10**15,
        "small": number - 64,
        "name": None if number % 5 == 0 else f"name {number % 7} é",
        "raw": bytes([number, 255]),
        "ratio": number / 7,
        "part": number / 8,
        "is_open": number % 3 == 0,
        "day": dt.date(1, 1, 1) + dt.timedelta(days=28_000 * number),
        "at": dt.datetime(1900, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=number * 10**14 + 1),
        "local": dt.datetime(2026, 1, 31, 12, 0, 0, number),
        "price": decimal.Decimal(number * 10**12 + 1) / 10_000,
        "tags": None if number % 4 == 0 else [f"t{number}"] * (number % 3),
        "point": {"x": number, "y": None},
        "counts": [(f"k{number}", number)],
    }
    for number in range(128)
]
TABLE = pa.Table.from_pylist(ROWS, SCHEMA)
CODECS = [
    codec
    for codec in ("none", "snappy", "gzip", "brotli", "zstd", "lz4")
    if codec == "none" or pa.Codec.is_available(codec)
]
ENCODINGS = {
    "id": "DELTA_BINARY_PACKED",
    "name": "DELTA_BYTE_ARRAY",
    "raw": "DELTA_LENGTH_BYTE_ARRAY",
    "ratio": "BYTE_STREAM_SPLIT",
}
SETTINGS = {
    **{f"codec-{codec}": {"compression": codec} for codec in CODECS},
    **{
        f"version-{version}-page-{page}-{dictionary}": {
            "version": version,
            "data_page_version": page,
            "use_dictionary": dictionary,
            "data_page_size": 200,
        }
        for version in ("1.0", "2.4", "2.6")
        for page in ("1.0", "2.0")
        for dictionary in (True, False)
    },
    "groups": {"row_group_size": 10},
    "no-arrow-schema": {"store_schema": False},
    "encodings": {"use_dictionary": False, "column_encoding": ENCODINGS},
}


def in_order(rows):
    return sorted(rows, key=lambda row: row["id"])


def test_the_rows_of_every_writer(send, tmp_path):
    for name, settings in SETTINGS.items():
        pq.write_table(TABLE, tmp_path / f"{name}.parquet", **settings)
    pq.write_table(TABLE.select(TABLE.column_names[::-1]), tmp_path / "reversed.parquet")
    pq.write_table(TABLE.rename_columns(list(map(str.upper, TABLE.column_names))), tmp_path / "upper.parquet")
    duckdb.from_arrow(TABLE).write_parquet(str(tmp_path / "duckdb.parquet"))
    rows, letters = send(DDL, tmp_path / "*.parquet")
    assert not letters
    files = len(SETTINGS) + 3
    assert len(rows) == len(ROWS) * files
    expected = in_order(TABLE.to_pylist())
    for number, row in enumerate(in_order(rows)):
        of_file = expected[number // files]
        # Protobuf has no null array.
        assert row == of_file | {"tags": of_file["tags"] or []}


def test_polars_and_its_views(send, tmp_path):
    columns = ["id", "small", "name", "raw", "ratio", "is_open", "day", "at", "local", "tags", "point"]
    frame = pl.from_arrow(TABLE.select(columns))
    frame.write_parquet(tmp_path / "in.parquet", row_group_size=50)
    rows, letters = send(DDL, tmp_path / "in.parquet")
    assert not letters
    expected = [row | {"tags": row["tags"] or []} for row in TABLE.select(columns).to_pylist()]
    assert [{name: row[name] for name in columns} for row in in_order(rows)] == expected


def test_nanoseconds_and_int96_are_whole_microseconds_or_rejected(send, tmp_path):
    moments = [1, 1_000, -1_000, 86_400_000_000_000, 1_700_000_000_123_456_000, 1_700_000_000_123_456_001]
    table = pa.table({"id": range(6), "at": pa.array(moments, pa.timestamp("ns", "UTC"))})
    pq.write_table(table, tmp_path / "ns.parquet", version="2.6")
    rows, letters = send("id BIGINT, at TIMESTAMP", tmp_path / "ns.parquet")
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert {row["id"]: (row["at"] - epoch) // dt.timedelta(microseconds=1) for row in rows} == {
        number: moments[number] // 1_000 for number in (1, 2, 3, 4)
    }
    assert [letter["error_type"] for letter in letters] == ["inexact"] * 2
    pq.write_table(table.slice(1, 4), tmp_path / "int96.parquet", use_deprecated_int96_timestamps=True)
    rows, letters = send("id BIGINT, at TIMESTAMP_NTZ", tmp_path / "int96.parquet")
    assert (len(rows), letters) == (4, [])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_files_that_pyarrow_ships(send, tmp_path, path):
    table = pq.read_table(path)
    table = table.select([name for name in table.column_names if name.isidentifier() and not name.startswith("__")])
    pq.write_table(table, tmp_path / path.name)
    rows, letters = send(TableSchema.from_arrow(table.schema).to_ddl(), tmp_path / path.name)
    assert not letters
    names = ", ".join(f'"{name}"' for name in table.column_names)
    expected = duckdb.sql(f"SELECT {names} FROM '{path}'").fetchall()
    assert sorted(map(str, map(plain, map(dict.values, rows)))) == sorted(map(str, map(plain, expected)))


def plain(values: Iterable[object]) -> list[object]:
    """Times as moments: DuckDB's have its own zone, or none in files of old writers."""
    return [
        (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).timestamp()
        if isinstance(value, dt.datetime)
        else value
        for value in values
    ]
