"""Floats that are whole numbers in integer columns, and UUIDs in text: exactly, or the row is rejected."""

import math
import uuid

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_zerobus.schema import Conformer, TableSchema

WIDTHS = {"TINYINT": 8, "SMALLINT": 16, "INT": 32, "BIGINT": 64}


def conform(ddl, array):
    batch = pa.RecordBatch.from_arrays([array], names=["c"])
    return Conformer(TableSchema.from_ddl(f"c {ddl}")).conform(batch)


def reason(number, bits):
    if math.isnan(number):
        return "inexact"
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        return "out_of_range"
    return None if number.is_integer() else "inexact"


@pytest.mark.parametrize("ddl", WIDTHS)
@given(
    numbers=st.lists(
        st.none()
        | st.floats(width=32)
        | st.integers(-(2**65), 2**65).map(float)
        | st.sampled_from([float("nan"), float("inf"), -0.0, 2.0**63, -(2.0**63), 2.0**31, 127.0, 128.0, -128.5])
    ),
    arrow_type=st.sampled_from([pa.float64(), pa.float32()]),
)
def test_each_whole_float_arrives_exactly_and_no_other(ddl, numbers, arrow_type):
    column = pa.array(numbers, arrow_type)
    numbers = column.to_pylist()  # as float32 holds them
    conformed = conform(ddl, column)
    expected = [None if number is None else reason(number, WIDTHS[ddl]) for number in numbers]
    assert [(e.index, e.error_type) for e in conformed.rejected] == [
        (index, why) for index, why in enumerate(expected) if why
    ]
    assert conformed.batch.column(0).to_pylist() == [
        None if number is None else int(number) for number, why in zip(numbers, expected, strict=True) if not why
    ]


def test_half_floats_and_nested_ones():
    assert conform("INT", pa.array([np.float16(5), None], pa.float16())).batch.column(0).to_pylist() == [5, None]
    assert conform("ARRAY<INT>", pa.array([[5.0, None], None])).batch.column(0).to_pylist() == [[5, None], None]


def test_messages_name_column_type_and_remedy():
    table = "correct the row, or use DOUBLE in the table"
    messages = [e.message for e in conform("INT", pa.array([1.5, float("nan"), 1e300])).rejected]
    assert [message.removeprefix("column 'c' is INT: a value of Arrow type double is ") for message in messages] == [
        f"not a whole number; {table}",
        "NaN; use null for a missing value",
        f"outside -2147483648 to 2147483647; {table}",
    ]


def test_arrows_uuids_become_text():
    known = uuid.UUID(int=5)
    column = pa.array([None, uuid.uuid4().bytes, known.bytes], pa.uuid())
    assert conform("STRING", column[2:]).batch.column(0).to_pylist() == [str(known)]
    assert conform("STRING", column).batch.column(0).to_pylist()[::2] == [None, str(known)]
    assert conform("BINARY", column).batch.column(0).to_pylist()[2] == known.bytes
