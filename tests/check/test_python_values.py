"""What a check says of elements' types is what a sink does with Python values of them."""

from __future__ import annotations

import datetime as dt
import decimal
import typing

import pytest

from beam_zerobus import ZerobusWriter
from beam_zerobus.check.fit import why_not_written
from beam_zerobus.check.plans import Plans
from beam_zerobus.check.rows import Rows
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.time_rules import TimeRules
from beam_zerobus.sink.row_types import row_type_schema


class Point(typing.NamedTuple):
    x: int


VALUES: dict[typing.Any, list[typing.Any]] = {
    bool: [True],
    int: [1],
    float: [1.0],
    str: ["1", "2026-11-30", "2026-11-30T00:00:00Z"],
    bytes: [b"1"],
    decimal.Decimal: [decimal.Decimal(1)],
    dt.date: [dt.date(2026, 11, 30)],
    dt.datetime: [dt.datetime(2026, 11, 30, tzinfo=dt.UTC), dt.datetime(2026, 11, 30)],
    list[int]: [[1]],
    dict[str, int]: [{"a": 1}],
    Point: [Point(1)],
}
TYPES = ["BOOLEAN", "INT", "BIGINT", "FLOAT", "DOUBLE", "STRING", "BINARY", "DATE", "TIMESTAMP", "TIMESTAMP_NTZ"]
TYPES += ["DECIMAL(12,2)", "VARIANT", "ARRAY<TIMESTAMP>", "MAP<STRING, BIGINT>", "STRUCT<x: TIMESTAMP>"]


@pytest.mark.parametrize("delta_type", TYPES)
def test_a_type_fits_where_a_value_of_it_is_written(delta_type: str) -> None:
    columns = TableSchema.from_ddl(f"c {delta_type}")
    plans = Plans(
        wire_format="proto",
        schema=None,
        times=TimeRules(),
        on_unknown_fields="reject",
        rescue_column="",
        create_table="never",
        warehouse_id=None,
    )
    with ZerobusWriter("main.iot.air", schema=columns.to_ddl(), dry_run=True) as writer:
        for python_type, values in VALUES.items():
            if python_type is Point and delta_type.startswith("ARRAY"):
                continue  # a NamedTuple is a tuple, too
            rows = Rows.of(row_type_schema(typing.NamedTuple("Row", [("c", python_type)])), python_values=True)
            assert rows is not None
            fits = why_not_written("main.iot.air", rows, columns, plans) is None
            assert fits == any(writer.send([{"c": value}]).success for value in values), python_type
