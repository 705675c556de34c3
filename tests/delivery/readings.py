"""Batches for the table of the delivery's tests, and what that table holds."""

from __future__ import annotations

import pyarrow as pa
import pytest

from beam_zerobus import Retry
from beam_zerobus.emulator import Emulator

DDL = "id BIGINT NOT NULL, name STRING"
FORMATS = pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
QUICK = Retry(initial_backoff=0.01, max_backoff=0.05)


def rows(start: int, count: int = 10) -> pa.RecordBatch:
    names = pa.array([f"n{i}" for i in range(count)], pa.string())
    return pa.record_batch({"id": pa.array(range(start, start + count), pa.int64()), "name": names})


def ids(emulator: Emulator) -> list[int]:
    return sorted(emulator.table("main.iot.air").to_arrow()["id"].to_pylist())
