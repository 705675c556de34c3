"""Elements to RecordBatches, against an oracle that looks at one value at a time."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import uuid

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from apache_beam.utils.timestamp import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus.batching import RowLimit, element_converter
from beam_zerobus.options import Batching
from beam_zerobus.schema import Conformer, Decimal, Field, TableSchema
from tests.batching.conversion import SECRET, convert

UTC = dt.UTC
PLUS_TWO = dt.timezone(dt.timedelta(hours=2))
D = decimal.Decimal
ODD = dt.timezone(dt.timedelta(seconds=1, microseconds=3))
EXACT = decimal.Context(prec=200)


class OddZone(dt.tzinfo):
    def utcoffset(self, when):
        return ODD.utcoffset(when)


class NoOffset(dt.tzinfo):
    """Makes datetimes that have no time zone, by Python's own rule."""

    def utcoffset(self, when):
        return None


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


Preset = enum.Enum("Preset", {"LIST": [1], "DICT": {"x": 1}})


# For each type: values that fit, with the converted value; and values that do not, with the reason.
TABLE = {
    "TINYINT": ([(5, 5), (np.int64(7), 7), (Level.HIGH, 3)], [(300, "out_of_range"), (1.5, "inexact")]),
    "BIGINT": (
        [(2**63 - 1, 2**63 - 1), (np.uint8(7), 7), (1.0, 1), (-0.0, 0), (2.0**62, 2**62), (np.float32(5), 5)],
        [
            (2**63, "out_of_range"),
            (2.0**63, "out_of_range"),
            (0.5, "inexact"),
            (float("inf"), "inexact"),
            (True, "wrong_type"),
            ("5", "wrong_type"),
            (D(1), "wrong_type"),
            (uuid.UUID(int=5), "wrong_type"),
            (float("nan"), "inexact"),
            (np.bool_(True), "wrong_type"),
            (np.timedelta64(5, "ns"), "wrong_type"),
        ],
    ),
    "FLOAT": ([(0.5, 0.5), (3, 3.0), (np.float16(1.5), 1.5), (float("inf"), float("inf")), (2**60, 2.0**60)],
              [(1e300, "out_of_range"), (2**60 + 1, "inexact"), (2**24 + 1, "inexact"), (10**39, "out_of_range"),
               (np.int64(2**53 + 1), "inexact"),
               (True, "wrong_type"), ("1", "wrong_type")]),
    "DOUBLE": ([(0.1, 0.1), (3, 3.0), (np.float32(1.5), 1.5), (2**70, 2.0**70), (float("-inf"), float("-inf"))],
               [(2**53 + 1, "inexact"), (np.int64(2**53 + 1), "inexact"), (np.uint64(2**64 - 1), "inexact"),
                (10**400, "out_of_range"), (True, "wrong_type"), (D("0.1"), "wrong_type")]),
    "BOOLEAN": ([(True, True), (np.bool_(False), False)], [(1, "wrong_type"), ("true", "wrong_type")]),
    "STRING": ([("é", "é"), (b"ab", "ab"), (Color.RED, "red"), (np.str_("x"), "x"),
                (uuid.UUID(int=5), str(uuid.UUID(int=5)))],
               [(5, "wrong_type"), (b"\xff", "invalid_utf8"), ("\ud800", "invalid_utf8"), ({}, "wrong_type")]),
    "BINARY": ([(b"\xff", b"\xff"), (bytearray(b"a"), b"a"), (memoryview(b"b"), b"b")],
               [("text", "wrong_type"), (5, "wrong_type"), ([1], "wrong_type")]),
    "DECIMAL(5,2)": ([(D("1.5"), D("1.50")), (7, D("7.00")), ("1.25", D("1.25")), (np.int8(3), D("3.00")),
                      (D("1E+2"), D(100)), (D("0E-60"), D("0.00")), (D("1." + "0" * 60), D("1.00"))],
                     [(1.5, "wrong_type"), (D("NaN"), "invalid_text"), (D("1.555"), "inexact"), (1000, "out_of_range"),
                      ("abc", "invalid_text"), (True, "wrong_type"), ("1" + "0" * 300, "out_of_range")]),
    "DATE": ([(dt.date(2024, 1, 2), dt.date(2024, 1, 2)), ("2024-01-02", dt.date(2024, 1, 2)), (1, dt.date(1970, 1, 2)),
              (np.datetime64("2024-01-02"), dt.date(2024, 1, 2))],
             [(dt.datetime(2024, 1, 2), "wrong_type"), ("2024-1-2", "invalid_text"), (1.5, "wrong_type"),
              (np.datetime64("2024-01-02T01"), "wrong_type"), (pd.Timestamp(0), "wrong_type"), (True, "wrong_type")]),
    "TIMESTAMP": ([(dt.datetime(2024, 1, 2, 3, tzinfo=PLUS_TWO), dt.datetime(2024, 1, 2, 1, tzinfo=UTC)),
                   (Timestamp(micros=5), dt.datetime(1970, 1, 1, 0, 0, 0, 5, tzinfo=UTC)),
                   (1_000_000, dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
                   ("2024-01-02T03:04:05.000006+02:00", dt.datetime(2024, 1, 2, 1, 4, 5, 6, tzinfo=UTC)),
                   (pd.Timestamp("2024-01-02", tz="UTC"), dt.datetime(2024, 1, 2, tzinfo=UTC)),
                   (dt.datetime(2024, 1, 2, 0, 0, 1, 5, tzinfo=ODD), dt.datetime(2024, 1, 2, 0, 0, 0, 2, tzinfo=UTC)),
                   (dt.datetime(2024, 1, 2, 0, 0, 1, 5, OddZone()), dt.datetime(2024, 1, 2, 0, 0, 0, 2, tzinfo=UTC))],
                  [(dt.datetime(2024, 1, 2), "wrong_type"), ("2024-01-02T03:04:05", "invalid_text"),
                   (dt.datetime(2024, 1, 2, tzinfo=NoOffset()), "wrong_type"),
                   ("2024-01-02T03:04:05.1234567Z", "inexact"), (dt.date(2024, 1, 2), "wrong_type"),
                   (pd.Timestamp(1, tz="UTC"), "inexact"), (np.datetime64("2024-01-02T01"), "wrong_type"),
                   (1.5, "wrong_type"), (2**70, "out_of_range")]),
    "TIMESTAMP_NTZ": ([(dt.datetime(2024, 1, 2, 3), dt.datetime(2024, 1, 2, 3)),
                       (5, dt.datetime(1970, 1, 1, 0, 0, 0, 5)),
                       ("2024-01-02 03:04:05", dt.datetime(2024, 1, 2, 3, 4, 5)),
                       (np.datetime64("2024-01-02T03", "ns"), dt.datetime(2024, 1, 2, 3))],
                      [(dt.datetime(2024, 1, 2, tzinfo=UTC), "wrong_type"), ("2024-01-02T03:04:05Z", "invalid_text"),
                       (np.datetime64(1, "ns"), "inexact"), (Timestamp(1), "wrong_type")]),
    "VARIANT": ([('{"a":1}', '{"a":1}'), ({"a": [1, None]}, '{"a":[1,null]}'), (5, "5"), (b"1", "1"),
                 ({Color.RED: (pd.NA, {"a": Color.RED, "at": pd.NaT})}, '{"red":[null,{"a":"red","at":null}]}')],
                [(object(), "wrong_type"), ({"a": float("nan")}, "wrong_type"), (b"\xff", "invalid_utf8")]),
    "ARRAY<INT>": ([([1, None], [1, None]), ((), []), (np.array([1, 2]), [1, 2]), (pd.NA, None), (Preset.LIST, [1])],
                   [("ab", "wrong_type"), (b"ab", "wrong_type"), ({1}, "wrong_type"), ([1, "x"], "wrong_type"),
                    ([2**40], "out_of_range"), ({"a": 1}, "wrong_type"), (np.array(5), "wrong_type")]),
    "MAP<STRING, INT>": ([({"a": 1, "b": None}, [("a", 1), ("b", None)]), ([("a", 1)], [("a", 1)]), ({}, []),
                          (pd.NaT, None), (Preset.DICT, [("x", 1)])],
                         [({5: 1}, "wrong_type"), ({"a": "x"}, "wrong_type"), ({None: 1}, "null_in_not_null_column"),
                          ("ab", "wrong_type"), ([1, 2], "wrong_type")]),
    "STRUCT<x: INT, y: STRING>": ([({"x": 1, "y": "a"}, {"x": 1, "y": "a"}), ({}, {"x": None, "y": None}),
                                   ({"X": 1}, {"x": 1, "y": None}), (beam.Row(x=1, y="a"), {"x": 1, "y": "a"}),
                                   (pd.NA, None), (Preset.DICT, {"x": 1, "y": None})],
                                  [({"x": "a"}, "wrong_type"), ({"z": 1}, "unknown_field"), (5, "wrong_type"),
                                   ([1, 2], "wrong_type"), ({"x": 1, "X": 2}, "unknown_field"),
                                   ({5: 1}, "unknown_field")]),
    "ARRAY<STRUCT<a: MAP<STRING, ARRAY<INT>>>>": ([([{"a": {"k": [1]}}, None], [{"a": [("k", [1])]}, None])],
                                                  [([{"a": {"k": ["x"]}}], "wrong_type"),
                                                   ([{"b": 1}], "unknown_field")]),
}  # fmt: skip


@st.composite
def columns_of_values(draw):
    ddl = draw(st.sampled_from(sorted(TABLE)))
    good, bad = TABLE[ddl]
    choices = [(value, expected, None) for value, expected in good] + [(value, None, reason) for value, reason in bad]
    choices += [(missing, None, None) for missing in (None, pd.NaT, pd.NA) if missing is None or "<" not in ddl]
    return ddl, draw(st.lists(st.sampled_from(choices), max_size=10))


@st.composite
def decimal_columns(draw):
    precision = draw(st.integers(1, 38))
    delta_type = Decimal(precision, draw(st.integers(0, precision)))
    digits = st.integers(0, 45).flatmap(lambda n: st.integers(-(10**n), 10**n))
    number = st.builds(lambda n, e: D(n).scaleb(e, EXACT), digits, st.integers(-45, 10))
    fitting = st.integers(-(10**precision) + 1, 10**precision - 1).map(lambda n: D(n).scaleb(-delta_type.scale, EXACT))
    return delta_type, draw(st.lists(number | fitting, max_size=5))


def fits_decimal(number, delta_type):
    shifted = number.scaleb(delta_type.scale, EXACT)
    return shifted.copy_abs() < 10**delta_type.precision and shifted == shifted.to_integral_value(context=EXACT)


@settings(deadline=None, max_examples=300)
@given(columns_of_values(), st.sampled_from([dict, beam.Row]))
def test_each_value_arrives_exactly_or_is_rejected(drawn, element_type):
    ddl, cells = drawn
    elements = [element_type(id=index, c=value) for index, (value, _, _) in enumerate(cells)]
    converted = convert("row", f"id BIGINT, c {ddl}", elements)
    assert [(e.index, e.error_type) for e in converted.rejected] == [
        (index, reason) for index, (_, _, reason) in enumerate(cells) if reason
    ]
    kept = [index for index, (_, _, reason) in enumerate(cells) if not reason]
    assert (list(range(len(cells))) if converted.rows is None else converted.rows.tolist()) == kept
    converted.batch.validate(full=True)
    assert converted.batch.to_pylist() == [{"id": index, "c": cells[index][1]} for index in kept]
    for error in converted.rejected:
        assert error.stage == "batching"
        assert "'c" in error.message


@pytest.mark.parametrize(("ddl", "bits"), [("TINYINT", 8), ("SMALLINT", 16), ("INT", 32), ("BIGINT", 64)])
@pytest.mark.parametrize("odd", [None, True, 1.0, np.int8(5), 2**7, -(2**15) - 1, 2**31, 2**63, 2**70])
def test_thousands_of_integers_are_converted_like_few(ddl, bits, odd):
    most = 2 ** (bits - 1)
    values = [most - 1, -most, *range(100), *[7] * 2_000]
    values.insert(1_000, odd)
    convert = element_converter("row", TableSchema.from_ddl(f"x {ddl}"))
    many, alone = convert([{"x": value} for value in values]), convert([{"x": odd}])
    assert many.batch.column("x").to_pylist() == [
        int(value) if value is not None else None for value in values if value is not odd or not alone.rejected
    ]
    assert [(error.index, error.message) for error in many.rejected] == [
        (1_000, error.message) for error in alone.rejected
    ]


@pytest.mark.parametrize("ddl", sorted(TABLE))
def test_every_value_alone_and_all_together(ddl):
    good, bad = TABLE[ddl]
    for value, expected in good:
        converted = convert("row", f"c {ddl}", [{"c": value}])
        assert (converted.batch.to_pylist(), converted.rejected) == ([{"c": expected}], ()), value
    for value, reason in bad:
        converted = convert("row", f"c {ddl}", [{"c": value}])
        assert [e.error_type for e in converted.rejected] == [reason], value
        assert converted.batch.num_rows == 0
    everything = convert("row", f"c {ddl}", [{"c": value} for value, _ in [*good, *bad]])
    assert everything.batch.to_pylist() == [{"c": expected} for _, expected in good]
    assert [e.error_type for e in everything.rejected] == [reason for _, reason in bad]


@settings(deadline=None)
@given(decimal_columns(), st.data())
def test_decimals_arrive_digit_by_digit_or_are_rejected(drawn, data):
    """pyarrow loses digits without a word where a scale grows or text is long; none of that may happen here."""
    delta_type, numbers = drawn
    schema = TableSchema((Field(name="c", type=delta_type, number=1),))
    fits = [fits_decimal(number, delta_type) for number in numbers]
    as_text = data.draw(st.booleans())
    elements = [{"c": str(number) if as_text else number} for number in numbers]
    converted = element_converter("row", schema)(elements)
    expected = [number for number, fit in zip(numbers, fits, strict=True) if fit]
    assert converted.batch.column(0).to_pylist() == expected
    assert [e.index for e in converted.rejected] == [index for index, fit in enumerate(fits) if not fit]

    text = pa.RecordBatch.from_pydict({"c": pa.array([f"{number:f}" for number in numbers], pa.string())})
    assert Conformer(schema).conform(text).batch.column(0).to_pylist() == expected
    try:
        array = pa.array(numbers, data.draw(st.sampled_from([pa.decimal128(38, 19), pa.decimal256(76, 38)])))
    except pa.ArrowInvalid:
        return
    if array.to_pylist() == numbers:
        batch = pa.RecordBatch.from_arrays([array], names=["c"])
        assert Conformer(schema).conform(batch).batch.column(0).to_pylist() == expected


def test_converted_rows_fit_the_table():
    schema = TableSchema.from_ddl(", ".join(f"c{i} {ddl}" for i, ddl in enumerate(TABLE)))
    row = {f"c{i}": good[0][0] for i, (good, _) in enumerate(TABLE.values())}
    batch = element_converter("row", schema)([row]).batch
    conformed = Conformer(schema).conform(batch)
    assert conformed.rejected == ()
    assert conformed.batch.schema.equals(batch.schema)


def test_a_list_with_several_faults_has_the_reason_of_the_first_whatever_its_batch():
    faulty = {"a": [5, b"\xff"]}
    for before in ([], [{"a": [b"\xff"]}]):
        *_, error = convert("row", "a ARRAY<STRING>", [*before, faulty]).rejected
        assert error.error_type == "wrong_type"


def test_no_elements():
    for kind in ("row", "json"):
        assert convert(kind, "id BIGINT, p STRUCT<x: INT>, a ARRAY<INT>", []).batch.num_rows == 0


def test_messages_name_column_type_and_remedy_never_the_value():
    ddl = "a INT, b DECIMAL(5,2), c TIMESTAMP, d ARRAY<INT>, p STRUCT<x: INT>, r BINARY"
    for name, value in [
        ("a", SECRET),
        ("b", SECRET),
        ("c", SECRET),
        ("d", [SECRET]),
        ("p", {"x": SECRET}),
        ("r", SECRET),
    ]:
        for kind, element in (("row", {name: value}), ("json", json.dumps({name: value}))):
            (error,) = convert(kind, ddl, [element]).rejected
            assert error.message.startswith(f"column '{name}")
            assert "Python type str" in error.message
            assert SECRET not in error.message
    (error,) = convert("json", ddl, [f"{{{SECRET}"]).rejected
    assert SECRET not in error.message


def test_the_row_limit_follows_the_bytes():
    limit = RowLimit(Batching(max_rows=10_000, max_bytes=100_000))
    assert limit.rows == 1000
    limit.learn(rows=1000, nbytes=10_000)
    assert limit.rows == 10_000
    limit.learn(rows=10_000, nbytes=100_000_000)
    assert limit.rows == 10
    limit.learn(rows=1, nbytes=10**9)
    assert limit.rows == 1
    limit.learn(rows=0, nbytes=0)
    assert limit.rows == 1
    assert RowLimit(Batching(max_rows=5)).rows == 5
