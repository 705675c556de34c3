"""`ProtoEncoder`: a RecordBatch to payloads of protobuf rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
from google.protobuf.descriptor_pb2 import DescriptorProto

from beam_zerobus.encoding.base import MAX_CALL_BYTES, Payload
from beam_zerobus.encoding.proto.chunks import encode_chunks
from beam_zerobus.encoding.proto.classes import RowClass
from beam_zerobus.encoding.proto.rejections import Rejections
from beam_zerobus.encoding.splitting import fill_payloads, framed_size, without_large
from beam_zerobus.errors import RowError
from beam_zerobus.schema.table import TableSchema

__all__ = ["FEW_ROWS", "ProtoEncoder"]

FEW_ROWS = 170
"""With fewer rows protobuf's own classes are faster for some tables (measured: below 50 to 170 rows)."""


class ProtoEncoder:
    r"""Turns RecordBatches of one table into protobuf rows; thread-safe.

    Args:
        schema: The table's columns.
        max_payload_bytes: The most bytes of a payload, including the framing of its records.

    Attributes:
        descriptor: The message of a row; sent to the service when a stream is opened.

    Raises:
        ConversionError: Protobuf cannot hold a column's type.

    Example:
        >>> encoder = ProtoEncoder(TableSchema.from_ddl("id BIGINT"))
        >>> batch = pa.RecordBatch.from_pydict({"id": pa.array([1, None], pa.int64())})
        >>> [payload.records for payload in encoder.encode(batch)]
        [[b'\x08\x01', b'']]
    """

    def __init__(self, schema: TableSchema, max_payload_bytes: int = MAX_CALL_BYTES) -> None:
        self.descriptor: DescriptorProto = schema.to_descriptor()
        self._fields = schema.columns
        self._limit = max_payload_bytes
        self._rejections = Rejections(schema)
        self._classes = RowClass(schema, self.descriptor)

    def encode(self, batch: pa.RecordBatch, *, framed: bool = False) -> Iterator[Payload]:
        """Return the batch's rows in order; see `beam_zerobus.encoding.Encoder`.

        Args:
            batch: The rows.
            framed: Set `Payload.framed` for batches of `FEW_ROWS` or more, where this is cheaper than to frame the
                records later.
        """
        if batch.num_rows < FEW_ROWS and (records := self._classes.serialize(batch)) is not None:
            return self._few(records)
        return self._many(batch, framed=framed)

    def _few(self, records: list[bytes]) -> Iterator[Payload]:
        size = sum(map(framed_size, map(len, records)))
        rows = range(len(records))
        if size > self._limit:
            lengths = np.fromiter(map(len, records), np.int64, len(records))
            return fill_payloads([without_large(records, lengths, rows, self._limit)], self._limit)
        return iter([Payload(records=records, rows=rows, size_bytes=size)] if records else [])

    def _many(self, batch: pa.RecordBatch, *, framed: bool) -> Iterator[Payload]:
        columns = batch.columns  # pyarrow makes new objects on each access
        if rejected := self._rejections.find(columns):
            yield from self._without(batch, rejected, framed=framed)
        else:
            chunks = encode_chunks(columns, self._fields, self._limit, framed=framed)
            yield from fill_payloads(chunks, self._limit)

    def _without(self, batch: pa.RecordBatch, rejected: tuple[RowError, ...], *, framed: bool) -> Iterator[Payload]:
        rows = np.delete(np.arange(batch.num_rows), [error.index for error in rejected])
        for payload in self.encode(batch.take(pa.array(rows)), framed=framed):
            yield _renumbered(payload, rows, rejected)
            rejected = ()
        if rejected:
            yield Payload(records=[], rows=range(0), size_bytes=0, rejected=rejected)


def _renumbered(payload: Payload, rows: np.ndarray, rejected: tuple[RowError, ...]) -> Payload:
    """Replace indices into the kept rows by indices into the whole batch."""
    late = tuple(error.at(int(rows[error.index])) for error in payload.rejected)
    return replace(payload, rows=rows[np.asarray(payload.rows, np.int64)], rejected=rejected + late)
