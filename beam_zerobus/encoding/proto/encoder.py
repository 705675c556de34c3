"""`ProtoEncoder`: a RecordBatch to payloads of protobuf rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from google.protobuf.descriptor_pb2 import DescriptorProto

from beam_zerobus.encoding.base import MAX_CALL_BYTES, Payload
from beam_zerobus.encoding.proto.classes import RowClass
from beam_zerobus.encoding.proto.descriptor import message_descriptor
from beam_zerobus.encoding.proto.refusals import Refusals
from beam_zerobus.encoding.splitting import cut_into_payloads
from beam_zerobus.schema.table import TableSchema

__all__ = ["ProtoEncoder"]

_SLICE_ROWS = 8192


class ProtoEncoder:
    r"""Turns RecordBatches of one table into protobuf rows; thread-safe.

    Args:
        schema: The table's columns.
        max_payload_bytes: Bytes of a payload at most, the framing of its records included.

    Attributes:
        descriptor: The message of a row; the service gets it when a stream is opened.

    Raises:
        ConversionError: A column's type has no protobuf form.

    Example:
        >>> encoder = ProtoEncoder(TableSchema.from_ddl("id BIGINT"))
        >>> batch = pa.RecordBatch.from_pydict({"id": pa.array([1, None], pa.int64())})
        >>> [payload.records for payload in encoder.encode(batch)]
        [[b'\x08\x01', b'']]
    """

    def __init__(self, schema: TableSchema, max_payload_bytes: int = MAX_CALL_BYTES) -> None:
        self.descriptor: DescriptorProto = message_descriptor(schema)
        self._limit = max_payload_bytes
        self._refusals = Refusals(schema)
        self._classes = RowClass(schema, self.descriptor)

    def encode(self, batch: pa.RecordBatch) -> Iterator[Payload]:
        """Yield the batch's rows in order; see `beam_zerobus.encoding.Encoder`."""
        refused = self._refusals.find(batch)
        rows = np.arange(batch.num_rows)
        if refused:
            rows = np.delete(rows, [error.index for error in refused])
            batch = batch.take(pa.array(rows))
        for start in range(0, batch.num_rows, _SLICE_ROWS):
            records = self._classes.serialize(batch.slice(start, _SLICE_ROWS))
            lengths = np.fromiter(map(len, records), np.int64, len(records))
            chosen = rows[start : start + len(records)]
            yield from cut_into_payloads(records, lengths, chosen, limit=self._limit, rejected=refused)
            refused = ()
        if refused:
            yield Payload(records=[], rows=range(0), size_bytes=0, rejected=refused)
