"""`ArrowEncoder`: RecordBatches for Arrow Flight, without a copy where the type fits already."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.encoding.base import Payload
from beam_zerobus.encoding.decimals import plain_text
from beam_zerobus.encoding.splitting import row_too_large
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

    def encode(self, batch: pa.RecordBatch) -> Iterator[Payload]:
        """Yield the batch in slices; see `beam_zerobus.encoding.Encoder`. An empty batch has no payload."""
        start = 0
        for records, nbytes in self._records(batch):
            rows = range(start, start + records.num_rows)
            start = rows.stop
            if len(rows) == 1 and nbytes > MAX_ROW_BYTES:
                error = row_too_large(rows[0], nbytes, MAX_ROW_BYTES)
                yield Payload(records=[], rows=range(0), size_bytes=0, rejected=(error,))
            else:
                yield Payload(records=records, rows=rows, size_bytes=nbytes)

    def _records(self, batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, int]]:
        # The SDK also compares the names of map and list children, which Arrow itself compares only with the metadata.
        unchanged = batch.schema.equals(self.schema, check_metadata=True)
        for part, nbytes in self._parts(batch):
            if unchanged:
                yield part, nbytes
                continue
            columns = [_to_type(column, field.type) for column, field in zip(part.columns, self.schema, strict=True)]
            # Once more, as decimals grow when they become text.
            yield from self._parts(pa.RecordBatch.from_arrays(columns, schema=self.schema))

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


def _to_type(array: pa.Array, target: pa.DataType) -> pa.Array:
    if array.type == target:
        return array
    if pa.types.is_decimal(array.type):
        return plain_text(array)
    if pa.types.is_nested(target):
        return _to_nested(array, target)
    return array.cast(target)


def _to_nested(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Rebuild the array from cast children: Arrow's own nested casts reject a change of nullability."""
    mask = array.is_null() if array.null_count else None
    if pa.types.is_struct(target):
        children = [_to_type(array.field(i), target.field(i).type) for i in range(target.num_fields)]
        return pa.StructArray.from_arrays(children, fields=list(target), mask=mask)
    offsets, start, length = _inner_range(array)
    if pa.types.is_map(target):
        keys = _to_type(array.keys.slice(start, length), target.key_type)
        items = _to_type(array.items.slice(start, length), target.item_type)
        return pa.MapArray.from_arrays(offsets, keys, items, type=target, mask=mask)
    values = _to_type(array.values.slice(start, length), target.value_type)
    return pa.ListArray.from_arrays(offsets, values, type=target, mask=mask)


def _inner_range(array: pa.Array) -> tuple[pa.Array, int, int]:
    """Return offsets counted from 0, and the start and length of their part of the inner values."""
    if not len(array):
        return pa.array([0], pa.int32()), 0, 0
    first, last = array.offsets[0], array.offsets[-1]
    return pc.subtract(array.offsets, first).cast(pa.int32()), first.as_py(), last.as_py() - first.as_py()
