"""Casts to DATE, TIMESTAMP and TIMESTAMP_NTZ."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa

from beam_zerobus.schema.arrow import canonical_type
from beam_zerobus.schema.casts.base import Cast, UnfitError, divisible, within, without
from beam_zerobus.schema.casts.numbers import whole_numbers
from beam_zerobus.schema.reasons import Place, Reason, RowErrorType
from beam_zerobus.schema.time_rules import UNIT_NAMES, EpochUnit, TimeRules, in_zone
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


def to_timestamp(arrow_type: pa.DataType, delta_type: Primitive, path: str, times: TimeRules) -> Cast:
    """Choose the cast to TIMESTAMP or TIMESTAMP_NTZ."""
    is_number = pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type)
    if is_number and times.epoch_unit is not None:
        return _from_numbers(arrow_type, delta_type, path, times.epoch_unit)
    if is_number:
        raise UnfitError(
            "", "cast it to a timestamp", option='set epoch_unit to "s", "ms" or "us", which it counts from 1970'
        )
    if not pa.types.is_timestamp(arrow_type):
        raise UnfitError("only Arrow's timestamps fit; cast the column to one of microseconds")
    if delta_type is Primitive.TIMESTAMP_NTZ and arrow_type.tz is not None:
        raise UnfitError(
            "TIMESTAMP_NTZ has no time zone and the column has one; drop it with pyarrow.compute.local_timestamp, "
            "or use TIMESTAMP in the table"
        )
    if delta_type is Primitive.TIMESTAMP_NTZ or arrow_type.tz is not None:
        return _to_microseconds(arrow_type, canonical_type(delta_type), path, delta_type)
    if times.assume_timezone is None:
        raise UnfitError(
            "TIMESTAMP is a moment in time and the column has no time zone",
            "use TIMESTAMP_NTZ in the table",
            option='set assume_timezone="UTC" or the zone that it is in',
        )
    return _from_clock(arrow_type, delta_type, path, times.assume_timezone)


def _to_microseconds(arrow_type: pa.DataType, target: pa.DataType, path: str, delta_type: Primitive) -> Cast:
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


def _from_clock(arrow_type: pa.DataType, delta_type: Primitive, path: str, zone: str) -> Cast:
    """Return the cast from timestamps without a time zone, which a zone's clocks show."""
    to_microseconds = _to_microseconds(arrow_type, pa.timestamp("us"), path, delta_type)
    outside = _outside(arrow_type, delta_type, path)
    twice = Reason(
        RowErrorType.INEXACT,
        f"column {path!r} is {delta_type}: a value of Arrow type {arrow_type} is at a change of the clocks in {zone}, "
        "which show it twice or never; give the column a time zone, or correct the row",
    )

    def cast(array: pa.Array, place: Place) -> pa.Array:
        naive = to_microseconds(array, place)
        moments, unclear = in_zone(naive, zone)
        if unclear.any():
            moments = without(moments, unclear, twice, place)
        numbers = moments.view(pa.int64())
        checked = within(numbers, _bounds("us"), outside, place)  # at the ends, the zone matters
        return moments if checked is numbers else checked.view(moments.type)

    return cast


def _from_numbers(arrow_type: pa.DataType, delta_type: Primitive, path: str, unit: EpochUnit) -> Cast:
    """Return the cast from seconds, milliseconds or microseconds since 1970."""
    integers = pa.int64()
    whole = whole_numbers(
        arrow_type,
        integers,
        f"column {path!r} is {delta_type} with epoch_unit={unit!r}",
        of=f" of {UNIT_NAMES[unit]}",
        remedy="correct the row, or send a datetime",
    )
    is_float = pa.types.is_floating(arrow_type)
    outside = _outside(arrow_type, delta_type, path)
    low, high = _bounds(unit)
    target = canonical_type(delta_type)

    def cast(array: pa.Array, place: Place) -> pa.Array:
        if is_float:
            numbers = whole(array, place)
        elif arrow_type == pa.uint64():  # its largest values have no place in int64
            numbers = within(array, (0, high), outside, place).cast(integers)
        else:
            numbers = array.cast(integers)
        return within(numbers, (low, high), outside, place).cast(pa.timestamp(unit, target.tz)).cast(target)

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
