"""numpy's and pandas' times: exact, or rejected; numpy's casts wrap around, pandas' years may not be the datetime's."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_zerobus.batching import element_converter
from beam_zerobus.batching.datetime64 import exact_micros
from beam_zerobus.schema import TableSchema

UNITS = {"W": 604_800, "D": 86_400, "h": 3_600, "m": 60, "s": 1}
FRACTIONS = {"ms": 10**3, "us": 10**6, "ns": 10**9, "ps": 10**12, "fs": 10**15, "as": 10**18}


@given(st.integers(-(2**63) + 1, 2**63 - 1) | st.integers(-(10**6), 10**6), st.sampled_from([*UNITS, *FRACTIONS]))
def test_microseconds_are_exact(number, unit):
    micros, rest = divmod(number * UNITS.get(unit, 1) * 10**6, FRACTIONS.get(unit, 1))
    assert exact_micros(np.datetime64(number, unit)) == (None if rest else micros)


@given(st.datetimes(), st.sampled_from(["Y", "M", "3D", "2h", "us"]))
def test_microseconds_are_those_of_python(moment, unit):
    moment64 = np.datetime64(moment).astype(f"datetime64[{unit}]")
    expected = moment64.astype("datetime64[us]").item() - dt.datetime(1970, 1, 1)
    assert exact_micros(moment64) == expected // dt.timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("value", "column"),
    [
        (pd.Timestamp(np.datetime64("10000-01-01", "s"), tz="UTC"), "TIMESTAMP"),  # was written as 1972
        (pd.Timestamp(np.datetime64("10000-01-01", "s")), "TIMESTAMP_NTZ"),
        (pd.Timestamp(np.datetime64("-0001-01-01", "s")), "TIMESTAMP_NTZ"),
        (np.datetime64(2**62, "s"), "TIMESTAMP_NTZ"),  # was written as 1970
        (np.datetime64(2**62, "Y"), "TIMESTAMP_NTZ"),
        (np.datetime64(-(2**62), "M"), "TIMESTAMP_NTZ"),
    ],
    ids=["pandas in UTC", "pandas", "pandas before year 1", "seconds", "years", "months"],
)
def test_a_time_beyond_the_table_is_rejected(value, column):
    converted = element_converter("row", TableSchema.from_ddl(f"x {column}"))([{"x": value}])
    assert [error.error_type for error in converted.rejected] == ["out_of_range"]


@pytest.mark.parametrize("column", ["DATE", "TIMESTAMP", "TIMESTAMP_NTZ"])
def test_not_a_time_is_null(column):
    convert = element_converter("row", TableSchema.from_ddl(f"x {column}"))
    assert convert([{"x": np.datetime64("NaT", "D")}]).batch.to_pylist() == [{"x": None}]
