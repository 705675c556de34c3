"""The batches of the encoder's benchmark: tables and generated rows, the same on every machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beam_zerobus.schema import TableSchema
from pipelines.flights import load_flights

__all__ = ["CASES", "Case"]

Make = Callable[[np.random.Generator, int], pa.RecordBatch]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A table and its rows.

    Attributes:
        name: Short name on the terminal.
        about: The columns.
        make: Generates a number of rows.
        times_upb: The target, as a multiple of the speed of protobuf's classes; None for no target.
        times_ptars: The same for ptars.
        small_batches: Whether batches of few rows are measured too.
    """

    name: str
    about: str
    make: Make
    times_upb: float | None = None
    times_ptars: float | None = None
    small_batches: bool = False

    def batch(self, rows: int) -> pa.RecordBatch:
        """Generate the batch; the same rows on every call."""
        return self.make(np.random.default_rng(7), rows)

    def schema(self) -> TableSchema:
        """Return the table that the batch fits."""
        return TableSchema.from_arrow(self.batch(1).schema)


def _strings(rng: np.random.Generator, rows: int, shortest: int, longest: int) -> pa.Array:
    lengths = rng.integers(shortest, longest + 1, rows)
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    text = rng.integers(97, 123, int(offsets[-1])).astype(np.uint8)
    return pa.Array.from_buffers(pa.string(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(text)])


def _with_nulls(rng: np.random.Generator, array: pa.Array, share: float = 0.1) -> pa.Array:
    valid = np.packbits(rng.random(len(array)) >= share, bitorder="little")
    return pa.Array.from_buffers(array.type, len(array), [pa.py_buffer(valid), *array.buffers()[1:]])


def _timestamps(rng: np.random.Generator, rows: int) -> pa.Array:
    return pa.array(1_700_000_000_000_000 + rng.integers(0, 86_400_000_000, rows)).cast(pa.timestamp("us", "UTC"))


def _integers(rng: np.random.Generator, rows: int, low: int, high: int, kind: str) -> pa.Array:
    return pa.array(rng.integers(low, high, rows).astype(kind))


def air_quality(rng: np.random.Generator, rows: int) -> pa.RecordBatch:
    """device_name, temp, humidity and a timestamp: 28 bytes a row."""
    names = pa.array([f"sensor-{i:03d}" for i in range(1000)])
    return pa.RecordBatch.from_pydict(
        {
            "device_name": names.take(pa.array(rng.integers(0, 1000, rows))).slice(0, rows),
            "temp": _integers(rng, rows, 0, 60, "int32"),
            "humidity": _integers(rng, rows, 0, 200, "int64"),
            "ts": _timestamps(rng, rows),
        }
    )


def mixed(rng: np.random.Generator, rows: int) -> pa.RecordBatch:
    """20 columns of many types, a tenth null: about 165 bytes a row."""
    columns = [_strings(rng, rows, 4, longest) for longest in (12, 24, 56)]
    columns += [_integers(rng, rows, low, 100_000, "int32") for low in (-1000, 0, 0)]
    columns += [_integers(rng, rows, 0, 1 << 40, "int64") for _ in range(3)]
    columns += [pa.array(rng.random(rows)) for _ in range(3)]
    columns += [pa.array(rng.random(rows, np.float32)) for _ in range(2)]
    columns += [pa.array(rng.random(rows) < 0.5) for _ in range(2)]
    columns += [_timestamps(rng, rows), _timestamps(rng, rows)]
    columns += [_integers(rng, rows, 0, 20_000, "int32").cast(pa.date32())]
    columns += [_integers(rng, rows, -100, 100, "int8").cast(pa.int8())]
    return pa.RecordBatch.from_arrays(
        [_with_nulls(rng, column) for column in columns], [f"c{i}" for i in range(len(columns))]
    )


def doubles(rng: np.random.Generator, rows: int) -> pa.RecordBatch:
    """100 doubles: 985 bytes a row."""
    return pa.RecordBatch.from_arrays([pa.array(rng.random(rows)) for _ in range(100)], [f"d{i}" for i in range(100)])


def _offsets(rng: np.random.Generator, rows: int, longest: int) -> np.ndarray:
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(rng.integers(0, longest + 1, rows), out=offsets[1:])
    return offsets


def nested(rng: np.random.Generator, rows: int) -> pa.RecordBatch:
    """A struct, a list of integers, a list of structs and a map, a tenth null: about 100 bytes a row."""
    point = pa.StructArray.from_arrays(
        [
            _with_nulls(rng, pa.array(rng.random(rows))),
            _integers(rng, rows, 0, 1000, "int32"),
            _strings(rng, rows, 3, 12),
        ],
        names=["x", "level", "label"],
        mask=pa.array(rng.random(rows) < 0.1),
    )
    counts, items, pairs = (_offsets(rng, rows, longest) for longest in (6, 4, 4))
    parts = int(items[-1])
    item = pa.StructArray.from_arrays(
        [_integers(rng, parts, 0, 1 << 20, "int64"), _strings(rng, parts, 2, 10)], names=["id", "tag"]
    )
    entries = int(pairs[-1])
    absent = [pa.array(rng.random(rows) < 0.1) for _ in range(3)]
    return pa.RecordBatch.from_pydict(
        {
            "point": point,
            "counts": pa.ListArray.from_arrays(
                pa.array(counts), _integers(rng, int(counts[-1]), 0, 100_000, "int64"), mask=absent[0]
            ),
            "items": pa.ListArray.from_arrays(pa.array(items), item, mask=absent[1]),
            "readings": pa.MapArray.from_arrays(
                pa.array(pairs), _strings(rng, entries, 3, 8), pa.array(rng.random(entries))
            ),
        }
    )


def kilobyte(rng: np.random.Generator, rows: int) -> pa.RecordBatch:
    """An id and a string of 1 KiB: 1,034 bytes a row."""
    return pa.RecordBatch.from_pydict(
        {"id": _integers(rng, rows, 1 << 35, 1 << 40, "int64"), "body": _strings(rng, rows, 1024, 1024)}
    )


def texts(rng: np.random.Generator, rows: int) -> pa.RecordBatch:
    """An id and three strings of 0 to 300 bytes."""
    strings = {f"text{i}": _strings(rng, rows, 0, 300) for i in range(3)}
    return pa.RecordBatch.from_pydict({"id": _integers(rng, rows, 0, 1 << 40, "int64"), **strings})


def nullable_doubles(rng: np.random.Generator, rows: int) -> pa.RecordBatch:
    """50 doubles, a tenth null."""
    columns = [_with_nulls(rng, pa.array(rng.random(rows))) for _ in range(50)]
    return pa.RecordBatch.from_arrays(columns, [f"d{i}" for i in range(50)])


def flights(_: np.random.Generator, rows: int) -> pa.RecordBatch:
    """The quickstart's flights; needs the extra `quickstart`."""
    return load_flights().slice(0, rows).combine_chunks().to_batches()[0]


CASES = (
    Case(
        name="a",
        about="air quality: string, int, bigint, timestamp",
        make=air_quality,
        times_upb=40,
        times_ptars=1,
        small_batches=True,
    ),
    Case(name="b", about="20 mixed columns, 10% null", make=mixed, times_upb=28, times_ptars=1, small_batches=True),
    Case(name="c", about="100 doubles", make=doubles, times_upb=120, times_ptars=1),
    Case(name="d", about="struct, lists, map, 10% null", make=nested, times_upb=70, times_ptars=1, small_batches=True),
    Case(name="e", about="id and 1 KiB string", make=kilobyte, times_upb=10, times_ptars=1),
    Case(name="texts", about="id, three strings of 0-300 bytes", make=texts),
    Case(name="nullable", about="50 doubles, 10% null", make=nullable_doubles),
    Case(name="flights", about="the quickstart's flights, 19 columns", make=flights, small_batches=True),
)
