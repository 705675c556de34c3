"""What the sink's benchmark sends; a module of its own, so that Beam finds it by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

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


class Watched(beam.DoFn):
    """Yields what another maker does, and notes the process's highest memory as it goes."""

    peaks: ClassVar[list[int]] = []
    """In MB, one for each mark that was passed; of this process, so the pipeline has to run in it."""

    def __init__(self, maker: beam.DoFn, marks: Sequence[int]) -> None:
        self._maker = maker
        self._marks = marks

    def process(self, _: object) -> Iterator[Any]:
        """Yield as many million rows as the last mark says."""
        for before, mark in pairwise([0, *self._marks]):
            yield from self._maker.process((mark - before) * 1_000_000 // BATCH_ROWS)
            self.peaks.append(highest_memory() >> 20)


def highest_memory() -> int:
    """Return the most bytes of memory that this process has held."""
    import resource  # not on Windows

    status = Path("/proc/self/status")
    if status.exists():  # Linux, where `ru_maxrss` begins with what the parent process had
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Nothing(beam.DoFn):
    """A sink that does nothing."""

    def process(self, element: Any) -> None:
        pass


class NothingWithTimestamps(beam.DoFn):
    """A sink that does nothing, but receives each element's timestamp and windows."""

    def process(self, element: Any, windowed: Any = beam.DoFn.WindowedValueParam) -> None:
        pass


class NothingWithTables(Nothing):
    """A sink that does nothing, and takes whole Tables."""

    @beam.DoFn.yields_elements
    def process_batch(self, batch: Any) -> None:
        pass


NothingWithTables.process_batch.__annotations__["batch"] = pa.Table


class ToArrow(beam.DoFn):
    """The plain way from elements to Arrow, unchecked: a list, and a RecordBatch of each 10,000."""

    def setup(self) -> None:
        self._elements: list[Any] = []

    def process(self, element: Any) -> None:
        elements = self._elements
        elements.append(element)
        if len(elements) >= BATCH_ROWS:
            self.finish_bundle()

    def finish_bundle(self) -> None:
        if self._elements:
            rows = list(map(vars, self._elements)) if isinstance(self._elements[0], beam.Row) else self._elements
            pa.RecordBatch.from_struct_array(pa.array(rows, pa.struct(SCHEMA.to_arrow())))
            self._elements.clear()
