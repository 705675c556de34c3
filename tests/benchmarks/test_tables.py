"""What the benchmarks print fits a terminal of 80 columns, with every figure whole."""

from __future__ import annotations

import argparse
import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from tests.benchmarks import encode, harness, telemetry

pytestmark = pytest.mark.hostile  # the benchmarks' own imports take seconds

FIGURE = harness.Figure(
    name="RecordBatches, proto / bare SDK loop that encodes",
    value=12345.67,
    target=0.9,
    at_least=True,
    unit="µs",
    note="12,345,678 rows/s, loop 12,345,678 rows/s, encoded before 12,345,678 rows/s",
)
ENCODED = {
    "case": "d",
    "about": "struct, lists, map, 10% null",
    "bytes_per_row": 123_456,
    "ns_per_row": dict.fromkeys(("floor", "encoder", "protobuf", encode.PLAIN, "ptars"), 123_456),
    "times_protobuf": 123.4,
    "times_plain": 123.4,
    "times_ptars": 123.45,
    "same_bytes": {"ptars": False},
    "transient_mb": 123.4,
    "missed": [],
}
SMALL = {"case": "b", "times": dict.fromkeys(("protobuf", "plain"), dict.fromkeys(encode.SMALL_BATCHES, 123.45))}
EXPORTED = {
    "name": "metrics and spans over gRPC",
    "rows_per_second": 12_345_678,
    "throughput": 0.812,
    "throughput_interval": (0.79, 0.86),
    "core": 0.011,
    "core_interval": (0.01, 0.016),
    "rounds": 12,
    "paced_rounds": 12,
    "missed": True,
}


@pytest.mark.parametrize(
    ("tables", "figures"),
    [
        ([harness.table_of([FIGURE])], ["12345.67 µs", "at least 0.9 µs", "12,345,678 rows/s"]),
        (encode.tables_of([ENCODED], 100_000), ["123,456", "123.4", "123.45 (other bytes)", "10% null"]),
        ([encode.small_table([SMALL, SMALL | {"case": "d"}])], ["123.45", "b: protobuf", "d: plain"]),
        ([telemetry.table_of([EXPORTED], argparse.Namespace(rows=50_000))], ["12.35", "0.812", "1.10%"]),
    ],
)
def test_a_table_fits_80_columns(tables: list[RenderableType], figures: list[Any]) -> None:
    file = io.StringIO()
    Console(file=file, width=80).print(*tables)
    shown = file.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for figure in figures:
        assert figure in shown
