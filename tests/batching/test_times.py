"""Timestamps that lack a zone or a unit: rejected, unless an option says what is meant; alike from every source."""

import datetime as dt
import json
import logging
import zoneinfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_zerobus import ConfigurationError, ZerobusWriter
from beam_zerobus.batching import element_converter
from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.schema import Conformer, TableSchema
from beam_zerobus.schema.time_rules import TimeRules

UTC = dt.UTC
NOON = dt.datetime(2026, 7, 1, 12)
TS = TableSchema.from_ddl("c TIMESTAMP")
NTZ = TableSchema.from_ddl("c TIMESTAMP_NTZ")


def elements(values, schema=TS, kind="row", **times):
    rows = [{"c": value} for value in values]
    rows = [json.dumps(row) for row in rows] if kind == "json" else rows
    converted = element_converter(kind, schema, times=TimeRules(**times))(rows)
    return converted.batch.column(0).to_pylist(), [(e.index, e.error_type) for e in converted.rejected]


def arrow(array, schema=TS, **times):
    conformed = Conformer(schema, times=TimeRules(**times)).conform(pa.RecordBatch.from_arrays([array], names=["c"]))
    return conformed.batch.column(0).to_pylist(), [(e.index, e.error_type) for e in conformed.rejected]


NAIVE = {
    "datetime": NOON,
    "pandas": pd.Timestamp(NOON),
    "numpy": np.datetime64(NOON),
    "text": NOON.isoformat(),
}


@pytest.mark.parametrize("kind", NAIVE)
def test_a_timestamp_without_a_zone_is_rejected_unless_one_is_assumed(kind):
    value = NAIVE[kind]
    assert elements([value])[1] != []
    assert elements([value], assume_timezone="UTC") == ([NOON.replace(tzinfo=UTC)], [])
    berlin = NOON.replace(tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    assert elements([value], assume_timezone="Europe/Berlin") == ([berlin], [])
    assert elements([value, None, berlin], assume_timezone="Europe/Berlin") == ([berlin, None, berlin], [])


def test_what_has_a_zone_keeps_it():
    aware = NOON.replace(tzinfo=UTC)
    values = [aware, aware.isoformat(), "2026-07-01T14:00:00+02:00"]
    assert elements(values, assume_timezone="Europe/Berlin") == ([aware] * 3, [])
    assert elements(values[1:], assume_timezone="Europe/Berlin") == ([aware] * 2, [])


def test_json_text_without_a_zone():
    assert elements([NOON.isoformat()] * 2, kind="json", assume_timezone="UTC") == ([NOON.replace(tzinfo=UTC)] * 2, [])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_arrow_without_a_zone(unit):
    column = pa.array([NOON, None], pa.timestamp(unit))
    with pytest.raises(Exception, match='set assume_timezone="UTC"'):
        arrow(column)
    assert arrow(column, assume_timezone="UTC") == ([NOON.replace(tzinfo=UTC), None], [])


CHANGES = [dt.datetime(2026, 3, 29, 2, 30), dt.datetime(2026, 10, 25, 2, 30)]  # never shown; shown twice


def test_a_time_that_the_clocks_show_twice_or_never_is_rejected():
    values = [NOON, CHANGES[0], None, CHANGES[1]]
    berlin = NOON.replace(tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    expected = ([berlin, None], [(1, "inexact"), (3, "inexact")])
    assert elements(values, assume_timezone="Europe/Berlin") == expected
    assert elements([v and v.isoformat() for v in values], assume_timezone="Europe/Berlin") == expected
    assert arrow(pa.array(values, pa.timestamp("us")), assume_timezone="Europe/Berlin") == expected
    assert elements(values, assume_timezone="UTC")[1] == []


def test_the_ends_of_the_calendar():
    first, last = dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59)
    column = pa.array([first, last], pa.timestamp("us"))
    assert arrow(column, assume_timezone="UTC")[1] == []
    assert arrow(column, assume_timezone="Asia/Tokyo") == (
        [last.replace(tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo"))],
        [(0, "out_of_range")],
    )


@given(
    st.lists(st.datetimes(dt.datetime(1, 1, 3), dt.datetime(9999, 12, 30)), min_size=1),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)
def test_every_source_agrees_with_pythons_zones(values, zone):
    info = zoneinfo.ZoneInfo(zone)
    clear = [v for v in values if v.replace(tzinfo=info).utcoffset() == v.replace(tzinfo=info, fold=1).utcoffset()]
    expected = [v.replace(tzinfo=info).astimezone(UTC) for v in clear]
    for found, rejected in (
        elements(values, assume_timezone=zone),
        elements([v.isoformat() for v in values], assume_timezone=zone),
        arrow(pa.array(values, pa.timestamp("us")), assume_timezone=zone),
    ):
        assert found == expected
        assert len(rejected) == len(values) - len(clear)


SECONDS = int(NOON.replace(tzinfo=UTC).timestamp())
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000}


@pytest.mark.parametrize(("schema", "expected"), [(TS, NOON.replace(tzinfo=UTC)), (NTZ, NOON)])
@pytest.mark.parametrize("unit", UNITS)
def test_numbers_count_in_the_unit(unit, schema, expected):
    number = SECONDS * UNITS[unit]
    for kind in ("row", "json"):
        assert elements([number, None], schema, kind, epoch_unit=unit) == ([expected, None], [])
        assert elements([float(number), number], schema, kind, epoch_unit=unit) == ([expected] * 2, [])
        assert elements([number, expected.isoformat()], schema, kind, epoch_unit=unit) == ([expected] * 2, [])
    for arrow_type in (pa.int64(), pa.uint64(), pa.float64()):
        assert arrow(pa.array([number, None], arrow_type), schema, epoch_unit=unit) == ([expected, None], [])


def test_numbers_that_do_not_fit_are_rejected_alone():
    values = [SECONDS, 0.5, 2**62, float("nan")]
    rejected = [(1, "inexact"), (2, "out_of_range"), (3, "inexact")]
    assert elements(values, epoch_unit="s") == ([NOON.replace(tzinfo=UTC)], rejected)
    floats = [SECONDS, 0.5, 1e300, float("nan")]
    assert arrow(pa.array(floats, pa.float64()), epoch_unit="s") == ([NOON.replace(tzinfo=UTC)], rejected)
    assert arrow(pa.array([2**64 - 1, 0], pa.uint64()), epoch_unit="s")[1] == [(0, "out_of_range")]


def test_arrows_numbers_need_the_unit():
    with pytest.raises(Exception, match='set epoch_unit to "s", "ms" or "us"'):
        arrow(pa.array([SECONDS]))


def test_without_the_unit_pythons_numbers_count_microseconds():
    assert elements([SECONDS * 1_000_000]) == ([NOON.replace(tzinfo=UTC)], [])


def batch_of(values):
    return pa.record_batch({"c": pa.array(values, pa.timestamp("us", "UTC"))})


def test_whole_batches_in_january_1970_are_warned_of_once(caplog):
    conversion = Conversion(TS, "proto", table="main.iot.january")
    with caplog.at_level(logging.WARNING):
        list(conversion.payloads(batch_of([SECONDS * 1_000_000, SECONDS])))  # not the whole batch
        list(conversion.payloads(batch_of([None, None])))
        list(conversion.payloads(batch_of([])))
        assert caplog.text == ""
        for _ in range(3):
            list(conversion.payloads(batch_of([None, SECONDS, SECONDS * 1_000])))
        list(Conversion(TS, "arrow", table="main.iot.january").payloads(batch_of([SECONDS])))
    (record,) = caplog.records
    assert "main.iot.january" in record.getMessage()
    assert "column 'c'" in record.getMessage()
    assert 'set epoch_unit="s"' in record.getMessage()


@pytest.mark.parametrize("zone", ["CEST", "Europe/", "../etc/passwd", "utc\0", "x" * 10_000])
def test_an_unknown_zone_is_rejected_at_once(zone):
    with pytest.raises(ConfigurationError, match="assume_timezone is not a time zone"):
        ZerobusWriter("main.iot.air", schema="c TIMESTAMP", dry_run=True, assume_timezone=zone)


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
def test_the_options_reach_the_table(emulator, connect, wire_format):
    table = emulator.create_table("main.iot.times", "t TIMESTAMP, e TIMESTAMP")
    writer = connect("main.iot.times", wire_format=wire_format, assume_timezone="UTC", epoch_unit="s")
    assert writer.send([{"t": NOON, "e": SECONDS}]).success
    assert writer.send(pa.table({"t": [NOON], "e": [SECONDS]})).success
    assert table.to_arrow().to_pylist() == [dict.fromkeys(("t", "e"), NOON.replace(tzinfo=UTC))] * 2


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_a_fraction_of_a_unit_has_a_remedy_for_times(unit):
    """Such as that of `time.time()`; a DOUBLE in the table would be no remedy for it."""
    from_python = element_converter("dict", TS, times=TimeRules(epoch_unit=unit))([{"c": 1.5}]).rejected
    from_json = element_converter("json", TS, times=TimeRules(epoch_unit=unit))(['{"c": 1.5}']).rejected
    conformer = Conformer(TS, times=TimeRules(epoch_unit=unit))
    from_arrow = conformer.conform(pa.record_batch({"c": pa.array([1.5])})).rejected
    for [error] in (from_python, from_json, from_arrow):
        assert error.error_type == "inexact"
        assert "is not a whole number of" in error.message
        assert "a datetime" in error.message
        assert "DOUBLE" not in error.message
