"""Payloads of the protobuf encoder compared with protobuf's own reader and writer."""

from __future__ import annotations

import pyarrow as pa

from beam_zerobus.debug_files.framing import frame
from beam_zerobus.encoding import MAX_CALL_BYTES, Payload, ProtoEncoder
from beam_zerobus.schema import TableSchema

FEW_ROWS = 20


def records(payloads: list[Payload]) -> list[bytes]:
    return [record for payload in payloads for record in payload.records]


def expected(schema: TableSchema, batch: pa.RecordBatch) -> list[bytes]:
    encoded = ProtoEncoder(schema)._classes.serialize(batch)
    assert encoded is not None
    return encoded


def check_frames(schema: TableSchema, batch: pa.RecordBatch, limit: int = MAX_CALL_BYTES) -> None:
    """See that the rows are the same with frames, and that these are what a request has."""
    without = list(ProtoEncoder(schema, limit).encode(batch))
    payloads = list(ProtoEncoder(schema, limit).encode(batch, framed=True))
    assert [payload.records for payload in payloads] == [payload.records for payload in without]
    assert [payload.size_bytes for payload in payloads] == [payload.size_bytes for payload in without]
    assert all(b"".join(payload.framed) == frame(payload.records) for payload in payloads)


def framed(payload: Payload) -> int:
    sizes = [len(record) for record in payload.records]
    return sum(size + 1 + max(1, (size.bit_length() + 6) // 7) for size in sizes)
