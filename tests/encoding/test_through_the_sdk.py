"""Columns with unusual names and keys, sent by the real SDK to the emulator, read from its Delta table."""

from __future__ import annotations

import datetime as dt
import decimal

import pytest

from beam_zerobus.emulator import Emulator
from tests.emulator.sdk import Stream

DDL = (
    "_1 STRUCT<_1: INT, _2: ARRAY<STRUCT<_1: STRING>>>, _2 ARRAY<STRUCT<_1: INT>>, _3 MAP<STRING, STRUCT<_1: INT>>, "
    "user_id INT, userId INT, message STRING, by_day MAP<DATE, INT>, by_time MAP<TIMESTAMP, STRING>, "
    "by_price MAP<DECIMAL(5,2), INT>"
)


@pytest.mark.parametrize("wire_format", ["proto", "arrow"])
def test_tuples_names_that_collide_in_json_and_map_keys_of_any_type_arrive(wire_format: str) -> None:
    row = {
        "_1": {"_1": 1, "_2": [{"_1": "a"}]},
        "_2": [{"_1": 2}],
        "_3": [("k", {"_1": 3})],
        "user_id": 4,
        "userId": 5,
        "message": "m",
        "by_day": [(dt.date(2026, 1, 2), 6)],
        "by_time": [(dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.UTC), "t")],
        "by_price": [(decimal.Decimal("1.50"), 7)],
    }
    with Emulator() as emulator:
        emulator.create_table("main.tests.names", DDL)
        with Stream(emulator, "main.tests.names", DDL, wire_format) as stream:
            stream.wait(stream.send([row]))
        assert emulator.table("main.tests.names").to_arrow().to_pylist() == [row]
