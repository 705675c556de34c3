"""What a check says of a RecordBatch's schema is what a write of such a batch does."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterator
from itertools import count
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from beam_zerobus import OAuthClientCredentials, ZerobusError, ZerobusWriter
from beam_zerobus.emulator import Emulator

# Each with a value that every type takes which takes the type at all.
ARROW: list[tuple[pa.DataType, Any]] = [
    (pa.null(), None),
    (pa.bool_(), True),
    *((kind, 1) for kind in (pa.int8(), pa.int32(), pa.int64(), pa.uint16(), pa.uint64())),
    *((kind, 1.0) for kind in (pa.float16(), pa.float32(), pa.float64())),
    *(
        (kind, "1")
        for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()))
    ),
    *((kind, b"1") for kind in (pa.binary(), pa.binary(1), pa.binary_view())),
    *((kind, dt.date(2026, 11, 30)) for kind in (pa.date32(), pa.date64())),
    *((kind, dt.time(1)) for kind in (pa.time32("s"), pa.time64("ns"))),
    (pa.duration("s"), dt.timedelta(1)),
    (pa.month_day_nano_interval(), pa.MonthDayNano([1, 1, 1])),
    *((pa.timestamp(unit), dt.datetime(2026, 11, 30)) for unit in ("s", "ns")),
    (pa.timestamp("us", "UTC"), dt.datetime(2026, 11, 30, tzinfo=dt.UTC)),
    *((kind, decimal.Decimal(1)) for kind in (pa.decimal128(5, 2), pa.decimal128(38, 10), pa.decimal256(50, 0))),
    (pa.struct({"x": pa.int32()}), {"x": 1}),
    (pa.struct({"x": pa.int32(), "new": pa.time32("s"), "none": pa.null()}), {"x": 1, "new": dt.time(1), "none": None}),
    (pa.list_(pa.int32()), [1]),
    (pa.list_(pa.list_(pa.int32())), [[1]]),
    (pa.map_(pa.string(), pa.int32()), [("a", 1)]),
    (pa.map_(pa.float64(), pa.int32()), [(1.0, 1)]),
    (pa.json_(), "1"),
    (pa.uuid(), b"0123456789abcdef"),
]
TYPES = [
    "BOOLEAN",
    "TINYINT",
    "BIGINT",
    "FLOAT",
    "DOUBLE",
    "STRING",
    "BINARY",
    "DATE",
    "TIMESTAMP",
    "TIMESTAMP_NTZ",
    "DECIMAL(12,2)",
    "VARIANT",
    "STRUCT<x: INT>",
    "ARRAY<INT>",
    "MAP<STRING, INT>",
]


@pytest.fixture(scope="module")
def workspace() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


numbers = count()
columns = st.none() | st.tuples(st.sampled_from(TYPES), st.sampled_from(["", " NOT NULL"])).map("".join)
options = st.fixed_dictionaries(
    {
        "wire_format": st.sampled_from(["proto", "arrow", "json"]),
        "on_unknown_fields": st.sampled_from(["reject", "ignore", "add", "rescue"]),
        "create_table": st.sampled_from(["never", "if_needed"]),
    },
    optional={
        "epoch_unit": st.just("s"),
        "assume_timezone": st.just("UTC"),
        "schema": st.sampled_from(["elements", "c BIGINT, _rescued_data VARIANT", "c DOUBLE, d STRING"]),
    },
).filter(lambda drawn: drawn["on_unknown_fields"] != "add" or "schema" not in drawn)


@pytest.mark.hostile
@settings(max_examples=60)
@given(
    arrow=st.sampled_from(ARROW),
    column=columns,
    is_there=st.booleans(),
    chosen=options,
)
def test_a_check_passes_where_a_write_works(
    workspace: Emulator, arrow: tuple[pa.DataType, Any], column: str | None, is_there: bool, chosen: dict[str, Any]
) -> None:
    kind, value = arrow
    fields = [("id", pa.int64()), ("c", kind)]
    batch = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([value], kind)], schema=pa.schema(fields))
    table = f"main.iot.t{next(numbers)}"
    if is_there or chosen["create_table"] == "never":
        workspace.create_table(table, f"id BIGINT, {f'c {column}, ' if column else ''}_rescued_data VARIANT")
    try:
        writer = ZerobusWriter(
            table,
            endpoint=workspace.endpoint,
            workspace_url=workspace.workspace_url,
            credentials=OAuthClientCredentials(client_id=workspace.client_id, client_secret=workspace.client_secret),
            warehouse_id=workspace.warehouse_id,
            **chosen,
        )
    except ZerobusError:
        return  # such options make no writer
    with writer:
        report = writer.check(batch.schema)
        note(report.as_text())
        try:
            result = writer.send_batch(batch)
            note(f"{result}")
            written = result.success
        except ZerobusError as error:
            note(f"{type(error).__name__}: {error}")
            written = False
    if chosen["wire_format"] == "json" and "schema" in chosen and written:
        return  # the service converts the JSON of another schema value by value; the check is stricter
    assert (report.exit_code < 2) == written
