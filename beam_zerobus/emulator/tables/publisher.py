"""`Publisher`: stores calls durably, and brings them into the Delta table at once or some seconds later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from beam_zerobus.emulator.tables.altered import convert, still_fits
from beam_zerobus.emulator.tables.landing import Landing
from beam_zerobus.emulator.tables.storage import Chunk, DeltaStorage
from beam_zerobus.schema import TableSchema

__all__ = ["Arrived", "Publisher"]


@dataclass(frozen=True, slots=True)
class Arrived:
    """A call that waits to be stored.

    Attributes:
        chunk: The rows, or a function that decodes them.
        rows: Their number.
        size: Bytes of memory that they occupy.
        schema: The table's columns when the call was checked.
        done: Called when the rows are durable, possibly from another thread, with None; or with an error.
    """

    chunk: Chunk
    rows: int
    size: int
    schema: TableSchema
    done: Callable[[BaseException | None], None]

    def read(self) -> pa.RecordBatch:
        """Return the rows."""
        return self.chunk if isinstance(self.chunk, pa.RecordBatch) else self.chunk()


class Publisher:
    """Stores the calls of one Delta table; used by one thread at a time.

    Rows whose columns the table lost in the meantime are stored in the folder of rejected rows: they are durable, and
    not in the table.

    Args:
        storage: The table.
        path: Its directory.
        seconds: From the moment when rows are durable to the moment when the table has them.
    """

    def __init__(self, storage: DeltaStorage, path: Path, seconds: float) -> None:
        self._storage = storage
        self._landing = Landing(path, storage.landed)
        self._seconds = seconds

    def store(self, calls: Sequence[Arrived], schema: TableSchema) -> None:
        """Make calls durable.

        Args:
            calls: The calls, in the order of arrival.
            schema: The table's columns now.
        """
        fitting: list[Arrived] = []
        for before, group in groupby(calls, key=lambda call: call.schema):
            same = list(group)
            if self._seconds:
                self._landing.land([call.read() for call in same], before)
            elif before is schema or still_fits(before, schema):
                fitting += same
            else:
                self._landing.reject([call.read() for call in same], before)
        if fitting:
            self._storage.append([call.chunk for call in fitting], sum(call.rows for call in fitting))

    def next_due(self) -> float | None:
        """Return the seconds until rows become readable; None if no rows wait."""
        return self._landing.next_due(self._seconds)

    def advance(self, seconds: float, schema: TableSchema) -> None:
        """Let so many seconds pass for rows that are not readable yet."""
        self._landing.advance(seconds)
        self.publish(schema)

    def publish(self, schema: TableSchema, seconds: float | None = None) -> None:
        """Bring rows into the table that have been durable for long enough, or for so many seconds."""
        due = self._landing.due(self._seconds if seconds is None else seconds)
        fitting = []
        for file in due:
            if still_fits(file.schema(), schema):
                fitting.append(file)
            else:
                self._landing.give_up(file)
        if fitting:
            arrow = schema.to_canonical_arrow()
            rows = pa.concat_tables([convert(file.read(), arrow) for file in fitting]).combine_chunks()
            self._storage.append(rows.to_batches(), rows.num_rows, landed=fitting[-1].number)
            self._landing.remove(fitting)

    def rejected(self) -> Iterator[pa.Table]:
        """Yield the rows of each file in the folder of rejected rows."""
        return self._landing.rejected()
