"""What the sink's benchmark sends; a module of its own, so that Beam finds it by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_zerobus.schema import TableSchema

TABLE = "main.bench.readings"
DDL = "id BIGINT NOT NULL, device STRING, temp DOUBLE, co2 INT, ok BOOLEAN"
SCHEMA = TableSchema.from_ddl(DDL)
BATCH_ROWS = 10_000


class Reading(NamedTuple):
    """One row as a NamedTuple."""

    id: int
    device: str
    temp: float
    co2: int
    ok: bool


def make_batch(rows: int = BATCH_ROWS) -> pa.RecordBatch:
    """Return rows of five fields, some 60 bytes each."""
    ids = np.arange(rows)
    columns = [ids, [f"device-{i % 997:05}" for i in range(rows)], ids / 7, (ids % 900).astype(np.int32), ids % 2 == 0]
    schema = SCHEMA.to_arrow()
    return pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


BATCH = make_batch()
LARGE_BATCH = make_batch(5 * BATCH_ROWS)


class MakeBatches(beam.DoFn):
    """Yields the same batch again and again, as many rows as `count` small batches have."""

    def process(self, count: int) -> Iterator[pa.RecordBatch]:
        for _ in range(count // 5):
            yield LARGE_BATCH


class MakeDicts(beam.DoFn):
    """Yields a dict for each row."""

    def process(self, count: int) -> Iterator[dict[str, Any]]:
        for i in range(count * BATCH_ROWS):
            yield {"id": i, "device": "device-00017", "temp": 21.5, "co2": 417, "ok": True}


class MakeNamedTuples(beam.DoFn):
    """Yields a NamedTuple for each row."""

    def process(self, count: int) -> Iterator[Reading]:
        for i in range(count * BATCH_ROWS):
            yield Reading(i, "device-00017", 21.5, 417, True)


class MakeRows(beam.DoFn):
    """Yields a beam.Row for each row."""

    def process(self, count: int) -> Iterator[beam.Row]:
        for i in range(count * BATCH_ROWS):
            yield beam.Row(id=i, device="device-00017", temp=21.5, co2=417, ok=True)


class Nothing(beam.DoFn):
    """A sink that does nothing."""

    def process(self, element: Any) -> None:
        pass


class NothingWithTables(Nothing):
    """A sink that does nothing, and takes whole Tables."""

    @beam.DoFn.yields_elements
    def process_batch(self, batch: Any) -> None:
        pass


NothingWithTables.process_batch.__annotations__["batch"] = pa.Table
