"""The types of fields that a table lacks: a row fits the columns that were added for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from beam_zerobus.batching.elements import element_converter
from beam_zerobus.batching.new_fields import fields_to_add
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.additions import with_additions

TABLE = TableSchema.from_ddl("id INT")
NAN = float("nan")


@dataclass
class Reading:
    co2: int


def added_for(values: list[Any]) -> list[str]:
    """Return the DDL of what is added for some values of a field, which then fit, but for NaN."""
    rows = [{"id": 1, "x": value} for value in values]
    additions = fields_to_add(rows, "row", TABLE)
    convert = element_converter("row", with_additions(TABLE, additions), ignore_unknown_fields="nulls")
    rejected = convert(rows).rejected
    assert all("NaN" in error.message for error in rejected), rejected
    return [addition.field.to_ddl().removeprefix("x ") for addition in additions]


@pytest.mark.parametrize(
    ("values", "types"),
    [
        ([np.datetime64("2026-11-29T12:00:00", "ns")], ["TIMESTAMP_NTZ"]),
        ([np.datetime64("2026-11-29T12:00:00", "ms")], ["TIMESTAMP_NTZ"]),
        ([np.datetime64("2026-11-29")], ["DATE"]),
        ([np.datetime64("2026-11")], ["TIMESTAMP_NTZ"]),
        ([np.array(["2026-11-29"], "datetime64[ns]")], ["ARRAY<TIMESTAMP_NTZ>"]),
        ([pd.NaT, pd.Timestamp("2026-11-29", tz="UTC")], ["TIMESTAMP"]),
        ([pd.NA, np.int8(3)], ["BIGINT"]),
        ([NAN, "text"], ["STRING"]),
        ([NAN, 3], ["DOUBLE"]),
        ([NAN], ["DOUBLE"]),
        ([pd.NaT, pd.NA, None, np.datetime64("NaT", "ns")], []),
    ],
)
def test_times_of_numpy_and_missing_values_of_pandas(values, types):
    assert added_for(values) == types


@pytest.mark.parametrize("value", [np.timedelta64(3, "ns"), np.array(3), Reading, [[np.array([1]), "text"], {}]])
def test_a_value_without_a_type_of_a_table_adds_nothing(value):
    assert fields_to_add([{"id": 1, "x": value}], "row", TABLE) == []


@pytest.mark.parametrize(("extra", "said"), [({"x": 1}, "is"), ({"x": 1, "y": 2}, "are")])
def test_one_unknown_field_is_and_two_are_not_in_the_table(extra, said):
    [error] = element_converter("row", TABLE)([{"id": 1, **extra}]).rejected
    assert f"of Python type int {said} not in the table; " in error.message
