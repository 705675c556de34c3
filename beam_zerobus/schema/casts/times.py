"""Casts to DATE, TIMESTAMP and TIMESTAMP_NTZ."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa

from beam_zerobus.schema.arrow import canonical_type
from beam_zerobus.schema.casts.base import Cast, UnfitError, divisible, within
from beam_zerobus.schema.reasons import Place, Reason, RowErrorType
from beam_zerobus.schema.types import Primitive

__all__ = ["to_date", "to_timestamp"]

_EPOCH = dt.date(1970, 1, 1)
_FIRST_DAY = (dt.date(1, 1, 1) - _EPOCH).days
_LAST_DAY = (dt.date(9999, 12, 31) - _EPOCH).days
_UNITS_A_DAY = {"d": 1, "s": 86_400, "ms": 86_400_000, "us": 86_400_000_000}


def _bounds(unit: str) -> tuple[int, int]:
    """Return the first and the last value of the years 1 to 9999, counted from the epoch."""
    return _FIRST_DAY * _UNITS_A_DAY[unit], (_LAST_DAY + 1) * _UNITS_A_DAY[unit] - 1


def to_date(arrow_type: pa.DataType, delta_type: Primitive, path: str) -> Cast:
    """Choose the cast to DATE."""
    if not pa.types.is_date(arrow_type):
        raise UnfitError("only Arrow's date32 and date64 fit; cast the column to date32")
    outside = _outside(arrow_type, delta_type, path)
    unequal = Reason(
        RowErrorType.INEXACT,
        f"column {path!r} is DATE: a value of Arrow type {arrow_type} is not a whole day; "
        "correct the row, or use TIMESTAMP_NTZ in the table",
    )

    def from_days(array: pa.Array, place: Place) -> pa.Array:
        days = array.view(pa.int32())
        checked = within(days, _bounds("d"), outside, place)
        return array if checked is days else checked.view(pa.date32())

    def from_milliseconds(array: pa.Array, place: Place) -> pa.Array:
        numbers = within(array.view(pa.int64()), _bounds("ms"), outside, place)
        return divisible(numbers, _UNITS_A_DAY["ms"], unequal, place).view(pa.date64()).cast(pa.date32())

    return from_days if pa.types.is_date32(arrow_type) else from_milliseconds


def to_timestamp(arrow_type: pa.DataType, delta_type: Primitive, path: str) -> Cast:
    """Choose the cast to TIMESTAMP or TIMESTAMP_NTZ."""
    if not pa.types.is_timestamp(arrow_type):
        raise UnfitError("only Arrow's timestamps fit; cast the column to one of microseconds")
    if delta_type is Primitive.TIMESTAMP and arrow_type.tz is None:
        raise UnfitError(
            "TIMESTAMP is a moment in time and the column has no time zone; set one with "
            "pyarrow.compute.assume_timezone, or use TIMESTAMP_NTZ in the table"
        )
    if delta_type is Primitive.TIMESTAMP_NTZ and arrow_type.tz is not None:
        raise UnfitError(
            "TIMESTAMP_NTZ has no time zone and the column has one; drop it with pyarrow.compute.local_timestamp, "
            "or use TIMESTAMP in the table"
        )
    target = canonical_type(delta_type)
    if arrow_type.unit == "ns":
        # Nanoseconds in 64 bits range from 1677 to 2262: always within the years that Delta accepts.
        return _from_nanoseconds(arrow_type, target, path, delta_type)
    outside = _outside(arrow_type, delta_type, path)
    bounds = _bounds(arrow_type.unit)

    def cast(array: pa.Array, place: Place) -> pa.Array:
        numbers = array.view(pa.int64())
        checked = within(numbers, bounds, outside, place)
        if arrow_type.unit == "us":
            return array if checked is numbers and arrow_type == target else checked.view(target)
        return checked.view(arrow_type).cast(target)

    return cast


def _outside(arrow_type: pa.DataType, delta_type: Primitive, path: str) -> Reason:
    return Reason(
        RowErrorType.OUT_OF_RANGE,
        f"column {path!r} is {delta_type}: a value of Arrow type {arrow_type} is outside the years 1 to 9999; "
        "correct the row",
    )


def _from_nanoseconds(arrow_type: pa.DataType, target: pa.DataType, path: str, delta_type: Primitive) -> Cast:
    finer = Reason(
        RowErrorType.INEXACT,
        f"column {path!r} is {delta_type}, which holds microseconds: a value of Arrow type {arrow_type} is finer; "
        "round the column first, for example with pyarrow.compute.floor_temporal(column, unit='microsecond')",
    )

    def cast(array: pa.Array, place: Place) -> pa.Array:
        try:
            return array.cast(target)
        except pa.ArrowInvalid:
            return divisible(array.view(pa.int64()), 1_000, finer, place).view(arrow_type).cast(target)

    return cast
