"""The fast encoder compared with protobuf's own classes, on generated tables and rows."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_zerobus.debug_files.framing import frame
from beam_zerobus.encoding.proto import assembly, chunks
from beam_zerobus.encoding.proto import encoder as encoder_module
from beam_zerobus.encoding.proto.encoder import ProtoEncoder
from beam_zerobus.schema.table import TableSchema

sys.path.insert(0, str(Path(__file__).parent))

from strategies import random_batch, tables

EXAMPLES = int(os.environ.get("ENCODER_EXAMPLES", "150"))


def encode(schema: TableSchema, batch: pa.RecordBatch) -> list[bytes]:
    payloads = list(ProtoEncoder(schema).encode(batch))
    assert not any(payload.rejected for payload in payloads)
    records = [record for payload in payloads for record in payload.records]
    framed = list(ProtoEncoder(schema).encode(batch, framed=True))
    assert [record for payload in framed for record in payload.records] == records
    assert b"".join(piece for payload in framed for piece in payload.framed) == frame(records)
    return records


def by_classes(schema: TableSchema, batch: pa.RecordBatch) -> list[bytes] | None:
    return ProtoEncoder(schema)._classes.serialize(batch)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    schema=tables(),
    rows=st.sampled_from([0, 1, 2, 7, 33, 100]),
    seed=st.integers(0, 1 << 32),
    chunk_rows=st.sampled_from([13, 16_384]),
    fixed_stride_bytes=st.sampled_from([0, 1 << 20]),
)
def test_every_row_is_what_protobuf_writes(
    *,
    schema: TableSchema,
    rows: int,
    seed: int,
    chunk_rows: int,
    fixed_stride_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encoder_module, "FEW_ROWS", 1)
    monkeypatch.setattr(chunks, "_CHUNK_ROWS", chunk_rows)
    monkeypatch.setattr(assembly, "_FIXED_STRIDE_BYTES", fixed_stride_bytes)
    batch = random_batch(schema, rows, seed)
    assert encode(schema, batch) == by_classes(schema, batch)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schema=tables(), rows=st.integers(1, 9), seed=st.integers(0, 1 << 32))
def test_few_rows_are_rejected_and_encoded_as_many_are(
    *, schema: TableSchema, rows: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = random_batch(schema, rows, seed, unfit=True)
    monkeypatch.setattr(encoder_module, "FEW_ROWS", 10)
    few = list(ProtoEncoder(schema).encode(batch))
    monkeypatch.setattr(encoder_module, "FEW_ROWS", 0)
    many = list(ProtoEncoder(schema).encode(batch))
    assert [(p.records, list(p.rows), p.size_bytes) for p in few] == [
        (p.records, list(p.rows), p.size_bytes) for p in many
    ]
    rejected = [
        [(error.index, error.error_type, error.message) for p in part for error in p.rejected] for part in (few, many)
    ]
    assert rejected[0] == rejected[1]
