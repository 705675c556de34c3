"""The protobuf encoder at its limits: the largest row, full payloads, memory and threads."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from beam_zerobus.encoding import MAX_CALL_BYTES, ProtoEncoder
from beam_zerobus.encoding.proto import encoder as encoder_module
from beam_zerobus.schema import TableSchema
from tests.encoding.proto_checks import FEW_ROWS, check_frames, expected, framed, records


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests that want the fast path do with few rows."""
    monkeypatch.setattr(encoder_module, "FEW_ROWS", FEW_ROWS)


@pytest.mark.parametrize("rows", [3, 200])
def test_a_row_above_the_limit_is_rejected_and_the_others_are_sent(rows: int) -> None:
    fits, too_long = "x" * (1000 - 3 - 3), "x" * (1000 - 3 - 2)
    texts = [too_long, *["short"] * rows, fits, too_long, too_long, "end"]
    batch = pa.RecordBatch.from_pydict({"s": texts})
    payloads = list(ProtoEncoder(TableSchema.from_ddl("s STRING"), max_payload_bytes=1000).encode(batch))
    rejected = [error for payload in payloads for error in payload.rejected]
    assert [error.index for error in rejected] == [0, rows + 2, rows + 3]
    assert {error.error_type for error in rejected} == {"row_too_large"}
    assert "xxx" not in rejected[0].message
    sent = np.concatenate([payload.rows for payload in payloads]).tolist()
    assert sent == [*range(1, rows + 2), rows + 4]
    assert len(records(payloads)) == len(sent)
    assert all(payload.size_bytes == framed(payload) <= 1000 for payload in payloads)
    if rows >= FEW_ROWS:
        check_frames(TableSchema.from_ddl("s STRING"), batch, 1000)


def test_payloads_are_filled_to_the_limit_and_never_above() -> None:
    rng = np.random.default_rng(3)
    texts = ["y" * size for size in rng.integers(0, 400, 20_000).tolist()]
    batch = pa.RecordBatch.from_pydict({"s": texts, "n": pa.array(range(20_000), pa.int64())})
    schema = TableSchema.from_ddl("s STRING, n BIGINT")
    payloads = list(ProtoEncoder(schema, max_payload_bytes=100_000).encode(batch))
    assert records(payloads) == expected(schema, batch)
    assert [(payload.rows.start, payload.rows.stop) for payload in payloads][-1][1] == 20_000
    assert all(payload.size_bytes == framed(payload) <= 100_000 for payload in payloads)
    for payload, following in pairwise(payloads):
        assert payload.rows.stop == following.rows.start
        assert payload.size_bytes + len(following.records[0]) + 3 > 100_000
    check_frames(schema, batch, 100_000)


def test_rows_near_the_limit_of_a_call() -> None:
    body = "z" * (MAX_CALL_BYTES - 10)
    batch = pa.RecordBatch.from_pydict({"s": ["short", "short", body, body, *["short"] * 20, body]})
    payloads = list(ProtoEncoder(TableSchema.from_ddl("s STRING")).encode(batch))
    assert [len(payload.records) for payload in payloads] == [2, 1, 1, 20, 1]
    assert all(payload.size_bytes == framed(payload) <= MAX_CALL_BYTES for payload in payloads)
    assert records(payloads) == expected(TableSchema.from_ddl("s STRING"), batch)


@pytest.mark.hostile
def test_a_batch_of_more_than_two_gigabytes_of_rows() -> None:
    """200 columns share one array of 11 MB, so that only the rows are large."""
    texts = pa.array([f"{i:05}" * 10_000 for i in range(230)])
    names = [f"c{i}" for i in range(200)]
    batch = pa.RecordBatch.from_arrays([texts] * 200, names)
    encoder = ProtoEncoder(TableSchema.from_ddl(", ".join(f"{name} STRING" for name in names)))
    size, row = 0, 0
    for payload in encoder.encode(batch):
        size += payload.size_bytes
        assert payload.rows == range(row, row + len(payload.records))
        assert payload.records[0].endswith(b"%05d" % row)
        row = payload.rows.stop
    assert row == 230
    assert size > 2 << 30


def test_threads_share_an_encoder() -> None:
    schema = TableSchema.from_ddl("n BIGINT, s STRING, l ARRAY<DOUBLE>")
    encoder = ProtoEncoder(schema)
    rng = np.random.default_rng(5)

    def batch(seed: int) -> pa.RecordBatch:
        rows = 300 + seed
        columns = [
            pa.array(rng.integers(0, 1 << 50, rows)),
            pa.array([f"{seed}-{i}" * (i % 9) for i in range(rows)]),
            pa.array([[float(i)] * (i % 4) for i in range(rows)]),
        ]
        return pa.RecordBatch.from_arrays(columns, ["n", "s", "l"])

    batches = [batch(seed) for seed in range(60)]
    with ThreadPoolExecutor(8) as pool:
        encoded = list(pool.map(lambda one: records(list(encoder.encode(one))), batches))
    assert encoded == [expected(schema, one) for one in batches]


def test_payloads_are_encoded_on_demand() -> None:
    batch = pa.RecordBatch.from_pydict({"s": ["w" * 1000] * 40_000})
    payloads = ProtoEncoder(TableSchema.from_ddl("s STRING")).encode(batch)
    tracemalloc.start()
    try:
        first = next(payloads)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < first.size_bytes + (10 << 20)


@pytest.mark.parametrize(
    ("column", "copies"),
    [
        (pa.array(["x" * 120 if i % 5000 == 0 else "y" for i in range(30_000)]), 40),
        (pa.array([i % 400 - 200 for i in range(30_000)]), 40),
        (pa.array([None if i % 9 == 0 else i % 2 == 0 for i in range(30_000)]), 40),
        (pa.array(["x" * (i % 128) for i in range(60_000)]), 1),
        (pa.array(["x" * (i % 300) for i in range(60_000)]), 1),
        (pa.array(["x" * 600 if i % 300 == 0 else "z" for i in range(60_000)]), 5),
        (pa.array([{f"k{j}": j / 2 for j in range(i % 4)} for i in range(60_000)], pa.map_("string", "double")), 1),
    ],
    ids=[
        "strings of uneven length",
        "small negative numbers",
        "booleans with nulls",
        "strings up to 127 bytes",
        "strings up to 299 bytes",
        "few long strings",
        "maps",
    ],
)
def test_memory_beyond_the_result_is_bounded(column: pa.Array, copies: int) -> None:
    batch = pa.RecordBatch.from_arrays([column] * copies, [f"c{i}" for i in range(copies)])
    encoder = ProtoEncoder(TableSchema.from_arrow(batch.schema))
    tracemalloc.start()
    try:
        payloads = list(encoder.encode(batch))
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(len(payload.records) for payload in payloads) == len(column)
    assert peak - kept < 10_000_000
