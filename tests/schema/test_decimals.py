"""DECIMAL judges the values of a batch together as it judges each alone."""

from __future__ import annotations

import decimal

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.errors import ConversionError
from beam_zerobus.schema import Conformer, RowErrorType, TableSchema
from beam_zerobus.schema.casts.decimals import exact_decimal
from beam_zerobus.schema.types import Decimal

digits = st.text("0019", max_size=39)
texts = st.builds("{}{}{}{}".format, st.sampled_from(["", "-", "+"]), digits, st.sampled_from(["", "."]), digits)
decimals = st.sampled_from([Decimal(10, 2), Decimal(38, 0), Decimal(38, 38), Decimal(1, 0), Decimal(20, 18)])
unscaled = st.integers(-(10**38) + 1, 10**38 - 1) | st.integers(0, 38).map(lambda power: 10**power - 1)


def check(array, delta_type):
    schema = TableSchema.from_ddl(f"x {delta_type}")
    conformed = Conformer(schema).conform(pa.RecordBatch.from_arrays([array], ["x"]))
    found = [None if value is None else exact_decimal(value, delta_type) for value in array.to_pylist()]
    expected = [(row, kind.value) for row, kind in enumerate(found) if isinstance(kind, RowErrorType)]
    assert [(error.index, error.error_type) for error in conformed.rejected] == expected
    assert conformed.batch["x"].to_pylist() == [value for value in found if not isinstance(value, RowErrorType)]


@given(st.lists(texts.map(lambda text: text[:39]) | st.none(), max_size=4), decimals)
def test_text(values, delta_type):
    check(pa.array(values, pa.string()), delta_type)


@given(st.lists(unscaled, max_size=4), st.integers(0, 38), decimals)
def test_other_decimals(values, scale, delta_type):
    context = decimal.Context(prec=38)
    check(pa.array([decimal.Decimal(v).scaleb(-scale, context) for v in values], pa.decimal128(38, scale)), delta_type)


@pytest.mark.parametrize("kind", [pa.string(), pa.decimal128(20, 2), pa.int64()])
@pytest.mark.parametrize("bad", [0, 999, 1_000, 2_499])
def test_a_value_that_does_not_fit_is_found_wherever_it_is(kind, bad):
    values = [417] * 2_500
    values[bad] = 123_456_789_012
    check(pa.array(values, pa.int64()).cast(pa.decimal128(21, 2)).cast(kind), Decimal(10, 2))


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=4), decimals)
def test_integers(values, delta_type):
    check(pa.array(values, pa.int64()), delta_type)


@given(st.lists(st.integers(-(10**76) + 1, 10**76 - 1) | st.none(), max_size=4), st.integers(0, 76), decimals)
@example([0, 5 * 10**75], 76, Decimal(5, 0))
def test_decimals_of_76_digits(values, scale, delta_type):
    context = decimal.Context(prec=76)
    wide = [None if value is None else decimal.Decimal(value).scaleb(-scale, context) for value in values]
    check(pa.array(wide, pa.decimal256(76, scale)), delta_type)


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
@pytest.mark.parametrize("scale", [39, 2_066, -39, 2**31 - 1])
def test_a_scale_beyond_all_digits_does_not_fit(scale, wire_format):
    column = pa.Array.from_buffers(pa.decimal128(12, scale), 1, [None, pa.py_buffer(bytes([1] + [0] * 15))])
    conversion = Conversion(TableSchema.from_ddl("x DECIMAL(10,2)"), wire_format, table="main.iot.air")
    with pytest.raises(ConversionError, match="its scale is beyond the 38 digits"):
        list(conversion.payloads(pa.record_batch({"x": column})))


@pytest.mark.parametrize("scale", [38, 37, -38])
@pytest.mark.parametrize("delta_type", ["DECIMAL(10,2)", "DECIMAL(38,0)"])
def test_a_large_scale_is_exact_or_rejected(scale, delta_type):
    column = pa.Array.from_buffers(pa.decimal128(12, scale), 2, [None, pa.py_buffer(bytes([1] + [0] * 31))])
    conversion = Conversion(TableSchema.from_ddl(f"x {delta_type}"), "json", table="main.iot.air")
    payloads = list(conversion.payloads(pa.record_batch({"x": column})))
    assert [error.index for payload in payloads for error in payload.rejected] == [0]
    assert [row for payload in payloads for row in payload.rows] == [1]
