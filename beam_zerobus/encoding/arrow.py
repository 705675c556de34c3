"""`ArrowEncoder`: RecordBatches for Arrow Flight, without a copy where the type fits already."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from beam_zerobus.encoding.arrow_types import must_be_rebuilt, to_stream_type
from beam_zerobus.encoding.base import Payload
from beam_zerobus.encoding.splitting import row_too_large
from beam_zerobus.schema.reasons import Faults, Place
from beam_zerobus.schema.table import TableSchema
from beam_zerobus.schema.validation import check_wire_types

__all__ = ["MAX_BATCH_BYTES", "MAX_ROW_BYTES", "ArrowEncoder"]

MAX_BATCH_BYTES = 8 << 20
"""The service does not limit a batch; this limits a payload in flight to 8 MiB of Arrow memory."""

MAX_ROW_BYTES = 10 << 20
"""What the service takes as one record. The SDK cannot split a row, so a larger one is rejected here."""


class ArrowEncoder:
    """Turns RecordBatches of one table into those of its Arrow Flight stream; thread-safe.

    Args:
        schema: The table's columns.
        max_payload_bytes: The most Arrow memory of a payload, unless a single row has more.

    Attributes:
        schema: The schema of the stream; every batch has exactly this schema.

    Raises:
        ConversionError: An Arrow Flight stream cannot carry a column, such as an array of arrays.

    Example:
        >>> encoder = ArrowEncoder(TableSchema.from_ddl("name STRING"))
        >>> batch = pa.RecordBatch.from_pydict({"name": ["a", "b"]})
        >>> [payload.records.schema.field("name").type for payload in encoder.encode(batch)]
        [DataType(large_string)]
    """

    def __init__(self, schema: TableSchema, max_payload_bytes: int = MAX_BATCH_BYTES) -> None:
        check_wire_types(schema.columns)
        self.schema = schema.to_arrow()
        self._limit = max_payload_bytes
        self._nested = [index for index, field in enumerate(self.schema) if pa.types.is_nested(field.type)]

    def encode(self, batch: pa.RecordBatch) -> Iterator[Payload]:
        """Yield the batch in slices; see `beam_zerobus.encoding.Encoder`. An empty batch has no payload."""
        # The SDK also compares the names of map and list children, which Arrow itself compares only with the metadata.
        unchanged = batch.schema.equals(self.schema, check_metadata=True) and not any(
            must_be_rebuilt(batch.column(index), self.schema.field(index).type) for index in self._nested
        )
        start = 0
        for part, nbytes in self._parts(batch):
            rows = range(start, start + part.num_rows)
            start = rows.stop
            if unchanged:
                yield _payload(part, rows, nbytes)
            else:
                yield from self._converted(part, rows)

    def _converted(self, part: pa.RecordBatch, rows: range) -> Iterator[Payload]:
        faults = Faults()
        place = Place(faults)
        columns = [
            to_stream_type(column, field.type, field.name, place)
            for column, field in zip(part.columns, self.schema, strict=True)
        ]
        records = pa.RecordBatch.from_arrays(columns, schema=self.schema)
        kept: range | np.ndarray = rows
        if faults:
            positions = faults.kept(part.num_rows)
            rejected = faults.row_errors("encoding")
            rejected = rejected.at(rejected.indices + rows.start)
            yield Payload(records=[], rows=range(0), size_bytes=0, rejected=rejected)
            records, kept = records.take(pa.array(positions)), positions + rows.start
        start = 0
        for piece, nbytes in self._parts(records):  # once more, as decimals grow when they become text
            yield _payload(piece, kept[start : start + piece.num_rows], nbytes)
            start += piece.num_rows

    def _parts(self, batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Halve until the parts are small enough, since rows differ in size; yield each part with its size.

        A batch is measured once: this takes about 10 microseconds and releases the interpreter's lock.
        """
        if not batch.num_rows:
            return
        nbytes = batch.nbytes
        if batch.num_rows == 1 or nbytes <= self._limit:
            yield batch, nbytes
            return
        half = batch.num_rows // 2
        yield from self._parts(batch.slice(0, half))
        yield from self._parts(batch.slice(half))


def _payload(records: pa.RecordBatch, rows: range | np.ndarray, nbytes: int) -> Payload:
    """Return the payload of rows of the batch; a row that no call can carry is rejected in it."""
    if len(rows) == 1 and nbytes > MAX_ROW_BYTES:
        error = row_too_large(int(rows[0]), nbytes, MAX_ROW_BYTES)
        return Payload(records=[], rows=range(0), size_bytes=0, rejected=(error,))
    return Payload(records=records, rows=rows, size_bytes=nbytes)
