"""Every kind of element through every wire format, compared row by row with what the Delta table holds."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import json
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
import pytest

TABLE = "main.iot.matrix"
COLUMNS = """
    id BIGINT NOT NULL, small SMALLINT, label STRING, ratio DOUBLE, ok BOOLEAN, raw BINARY, price DECIMAL(10, 2),
    day DATE, seen TIMESTAMP, tags ARRAY<STRING>, counts MAP<STRING, BIGINT>, place STRUCT<x: DOUBLE, y: DOUBLE>
"""
ARROW = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("small", pa.int16()),
        pa.field("label", pa.string()),
        pa.field("ratio", pa.float64()),
        pa.field("ok", pa.bool_()),
        pa.field("raw", pa.binary()),
        pa.field("price", pa.decimal128(10, 2)),
        pa.field("day", pa.date32()),
        pa.field("seen", pa.timestamp("us", tz="UTC")),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("counts", pa.map_(pa.string(), pa.int64())),
        pa.field("place", pa.struct([("x", pa.float64()), ("y", pa.float64())])),
    ]
)


class Place(NamedTuple):
    x: float | None
    y: float | None


class Reading(NamedTuple):
    id: int
    small: int | None
    label: str | None
    ratio: float | None
    ok: bool | None
    raw: bytes | None
    price: decimal.Decimal | None
    day: dt.date | None
    seen: dt.datetime | None
    tags: list[str] | None
    counts: dict[str, int] | None
    place: Place | None


@dataclasses.dataclass
class ReadingData:
    id: int
    small: int | None
    label: str | None
    ratio: float | None
    ok: bool | None
    raw: bytes | None
    price: decimal.Decimal | None
    day: dt.date | None
    seen: dt.datetime | None
    tags: list[str] | None
    counts: dict[str, int] | None
    place: dict[str, float] | None


def reading(i: int) -> dict:
    """Return one row; every third one has nulls wherever it may."""
    if i % 3 == 2:
        return dict.fromkeys(ARROW.names) | {"id": i, "tags": [], "counts": {}}
    return {
        "id": i,
        "small": i - 50,
        "label": f"Zürich {i} \U0001f30d",
        "ratio": i / 7,
        "ok": i % 2 == 0,
        "raw": bytes([i % 256, 0, 255]),
        "price": decimal.Decimal(i * 101) / 100,
        "day": dt.date(2024, 1, 1) + dt.timedelta(days=i),
        "seen": dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC) + dt.timedelta(microseconds=i),
        "tags": [f"t{j}" for j in range(i % 4)],
        "counts": {f"k{j}": j * i for j in range(i % 3)},
        "place": {"x": i * 0.5, "y": -1.0 * i},
    }


ROWS = [reading(i) for i in range(250)]


def named_tuple(row):
    return Reading(**row | {"place": Place(**row["place"]) if row["place"] else None})


def beam_row(row):
    return beam.Row(**row | {"place": beam.Row(**row["place"]) if row["place"] else None})


def as_json(row):
    def text(value):
        if isinstance(value, bytes):
            import base64

            return base64.b64encode(value).decode()
        return float(value) if isinstance(value, decimal.Decimal) else value.isoformat()

    return json.dumps(row, default=text)


def record_batch(rows):
    return pa.RecordBatch.from_pylist(rows, ARROW)


KINDS = {
    "dict": lambda: ROWS,
    "beam.Row": lambda: [beam_row(row) for row in ROWS],
    "NamedTuple": lambda: [named_tuple(row) for row in ROWS],
    "dataclass": lambda: [ReadingData(**row) for row in ROWS],
    "JSON str": lambda: [as_json(row) for row in ROWS],
    "JSON bytes": lambda: [as_json(row).encode() for row in ROWS],
    "RecordBatch": lambda: [record_batch(ROWS[:100]), record_batch(ROWS[100:])],
    "Table": lambda: [pa.Table.from_batches([record_batch(ROWS[:100]), record_batch(ROWS[100:])])],
    "mixed": lambda: [ROWS[0], as_json(ROWS[1]), record_batch(ROWS[2:100]), named_tuple(ROWS[100]), *ROWS[101:]],
}


def arrived(table) -> list[dict]:
    """Return the table's rows as Python values, which are the same for string and large_string."""
    return sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])


SENT = pa.Table.from_pylist(ROWS, ARROW).to_pylist()


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_element_arrives_as_it_was(emulator, sink, run, kind, wire_format):
    table = emulator.create_table(TABLE, COLUMNS)
    elements = KINDS[kind]()
    run(
        lambda pipeline: (
            pipeline
            | beam.Create(elements, reshuffle=False).with_output_types(beam.typehints.Any)
            | sink(TABLE, schema=COLUMNS, wire_format=wire_format)
        )
    )
    for got, sent in zip(arrived(table), SENT, strict=True):
        assert got == sent
    assert emulator.stats.tables[TABLE].streams_opened == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mixed"])
def test_without_a_schema_elements_use_their_own_or_unity_catalogs(emulator, sink, run, kind):
    table = emulator.create_table(TABLE, COLUMNS)
    elements = KINDS[kind]()
    run(
        lambda pipeline: (
            pipeline
            | beam.Create(elements, reshuffle=False).with_output_types(beam.typehints.Any)
            | sink(TABLE, schema=None if kind not in ("NamedTuple", "dataclass") else COLUMNS)
        )
    )
    assert arrived(table) == SENT
