"""Single dates and times as what pyarrow converts exactly, or the reasons why their column cannot hold them."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from beam_zerobus.batching.datetime64 import exact_micros
from beam_zerobus.batching.json_objects import JsonNumber
from beam_zerobus.batching.misfit import MisfitError
from beam_zerobus.batching.single_numbers import is_integer, whole
from beam_zerobus.schema import Decimal, Primitive, RowErrorType
from beam_zerobus.schema.arrow import canonical_type
from beam_zerobus.schema.casts.decimals import exact_decimal
from beam_zerobus.schema.text_times import read_times
from beam_zerobus.schema.texts import read_text
from beam_zerobus.schema.time_rules import UNIT_NAMES, TimeRules, in_zone

__all__ = ["date", "has_usual_offset", "texts", "timestamp", "timestamp_ntz"]

_NAIVE = pa.timestamp("us")
_WHOLE = Decimal(38, 0)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}


def date(value: Any) -> dt.date | int:
    """Return a value of a DATE column."""
    if isinstance(value, dt.datetime):
        raise MisfitError("does not fit; pass a date, such as value.date()")
    if isinstance(value, dt.date):
        return value
    if isinstance(value, np.datetime64) and np.datetime_data(value.dtype)[0] == "D":
        return int(value.astype(np.int64))
    if isinstance(value, str):
        return _read(value, Primitive.DATE, TimeRules())
    if is_integer(value):
        return int(value)
    raise MisfitError("does not fit; pass a date, ISO 8601 text, or an int of days since 1970-01-01")


def timestamp(value: Any, times: TimeRules) -> dt.datetime | int:
    """Return a value of a TIMESTAMP column."""
    zone = times.assume_timezone
    if isinstance(value, dt.datetime):
        offset = value.utcoffset()
        if offset is None:
            if zone is not None:
                return _moment(_microseconds(value).replace(tzinfo=None), zone)
            raise MisfitError(
                'has no time zone; set assume_timezone="UTC" or the zone that it is in, or give it one, such as '
                "value.replace(tzinfo=datetime.timezone.utc)"
            )
        value = _microseconds(value)
        return (value - _EPOCH) // _MICROSECOND if offset.microseconds else value
    if isinstance(value, str):
        return _read(value, Primitive.TIMESTAMP, times)
    if isinstance(value, np.datetime64) and zone is not None:
        return _moment(_whole_microseconds(value), zone)
    micros = getattr(value, "micros", None)
    if micros is not None and is_integer(micros):
        return int(micros)
    if (number := _epoch(value, times)) is not None:
        return number
    raise MisfitError(
        "does not fit; pass a datetime with a time zone, a Beam Timestamp, ISO 8601 text, or an int of "
        f"{UNIT_NAMES[times.epoch_unit or 'us']} since 1970"
    )


def has_usual_offset(value: dt.datetime) -> bool:
    """Return whether a datetime has an offset from UTC, in whole seconds; pyarrow drops the rest, and takes none as 0.

    Example:
        >>> has_usual_offset(dt.datetime(2026, 1, 31, tzinfo=dt.timezone(dt.timedelta(microseconds=1))))
        False
    """
    offset = value.utcoffset()
    return offset is not None and not offset.microseconds


def _moment(naive: dt.datetime | int, zone: str) -> int:
    """Return the moment, in microseconds, at which the clocks of a zone show a timestamp."""
    try:
        moments, unclear = in_zone(pa.array([naive], _NAIVE), zone)
    except OverflowError:
        raise _outside() from None
    if unclear.any():
        raise _at_change(zone)
    return moments[0].value


def _epoch(value: Any, times: TimeRules) -> int | None:
    """Return the microseconds of a number in the unit that numbers have; None for anything else."""
    factor = _MICROSECONDS[times.epoch_unit or "us"]
    number = value.number() if isinstance(value, JsonNumber) else value
    if is_integer(number):
        return int(number) * factor
    if times.epoch_unit is None or not isinstance(number, float | np.floating):
        return None
    digits = exact_decimal(value.text, _WHOLE) if isinstance(value, JsonNumber) else None
    if digits is RowErrorType.OUT_OF_RANGE:
        raise _outside()
    if digits is RowErrorType.INEXACT or (math.isfinite(number) and not number.is_integer()):
        what = f"is not a whole number of {UNIT_NAMES[times.epoch_unit]}; correct the row, or pass a datetime"
        raise MisfitError(what, RowErrorType.INEXACT)
    return (int(digits) if isinstance(digits, decimal.Decimal) else whole(number)) * factor


def _outside() -> MisfitError:
    return MisfitError("is outside the years 1 to 9999; correct the row", RowErrorType.OUT_OF_RANGE)


def timestamp_ntz(value: Any, times: TimeRules) -> dt.datetime | int:
    """Return a value of a TIMESTAMP_NTZ column."""
    if isinstance(value, dt.datetime):
        if value.tzinfo is not None:
            raise MisfitError("has a time zone; drop it, such as value.replace(tzinfo=None), or use TIMESTAMP")
        return _microseconds(value)
    if isinstance(value, np.datetime64):
        return _whole_microseconds(value)
    if isinstance(value, str):
        return _read(value, Primitive.TIMESTAMP_NTZ, times)
    if (number := _epoch(value, times)) is not None:
        return number
    raise MisfitError(
        "does not fit; pass a datetime without a time zone, ISO 8601 text, or an int of "
        f"{UNIT_NAMES[times.epoch_unit or 'us']} since 1970"
    )


def _microseconds(value: dt.datetime) -> dt.datetime:
    # pandas' timestamps are datetimes that also have nanoseconds, and years that are not those of the datetime.
    moment = getattr(value, "asm8", None)
    if moment is not None:
        _whole_microseconds(moment)
        if not dt.MINYEAR <= value.year <= dt.MAXYEAR:
            raise _outside()
    return value


def _whole_microseconds(value: np.datetime64) -> int:
    micros = exact_micros(value)
    if micros is None:
        raise MisfitError("is finer than microseconds; round it first", RowErrorType.INEXACT)
    return micros


def texts(
    values: Sequence[str | None],
    delta_type: Primitive,
    times: TimeRules = TimeRules(),  # noqa: B008 - frozen
) -> tuple[pa.Array, dict[int, MisfitError]]:
    """Return dates or timestamps, and why the texts at some positions, which are null, do not fit.

    Example:
        >>> array, misfits = texts(["1970-01-02", "soon"], Primitive.DATE)
        >>> array.to_pylist(), misfits
        ([datetime.date(1970, 1, 2), None], {1: MisfitError('is not a date of the form YYYY-MM-DD; correct the row')})
    """
    try:
        column = pa.array(values, pa.large_string())
        array, found, unclear = (
            (*read_text(column, delta_type), np.zeros(len(values), dtype=bool))
            if delta_type is Primitive.DATE
            else read_times(column, delta_type, replace(times, epoch_unit=None))  # digits are not a time here
        )
    except (UnicodeEncodeError, OverflowError) as error:
        if len(values) > 1:  # one of them is at fault
            arrays, each = zip(*(texts([value], delta_type, times) for value in values), strict=True)
            return pa.concat_arrays(arrays), {at: misfits[0] for at, misfits in enumerate(each) if misfits}
        misfit = _invalid(delta_type, times) if isinstance(error, UnicodeEncodeError) else _outside()
        return pa.nulls(1, canonical_type(delta_type)), {0: misfit}
    misfits: dict[int, MisfitError] = {}
    for reason, bad in found.items():
        if reason is RowErrorType.INEXACT:
            finer = MisfitError("is finer than microseconds; round it first", RowErrorType.INEXACT)
            misfits |= dict.fromkeys(np.flatnonzero(bad & ~unclear).tolist(), finer)
            misfits |= dict.fromkeys(np.flatnonzero(bad & unclear).tolist(), _at_change(times.assume_timezone))
        else:
            misfits |= dict.fromkeys(np.flatnonzero(bad).tolist(), _invalid(delta_type, times))
    return array, misfits


def _read(value: str, delta_type: Primitive, times: TimeRules) -> int:
    array, misfits = texts([value], delta_type, times)
    if misfits:
        raise misfits[0]
    number: int = array[0].value  # as Python's types end with the year 9999, and start with the year 1 in every zone
    return number


def _invalid(delta_type: Primitive, times: TimeRules) -> MisfitError:
    wanted = {
        Primitive.DATE: "a date of the form YYYY-MM-DD; correct the row",
        Primitive.TIMESTAMP_NTZ: "an ISO 8601 timestamp without a time zone; correct the row",
        Primitive.TIMESTAMP: "an ISO 8601 timestamp with a time zone; correct the row"
        + ("" if times.assume_timezone else ', or set assume_timezone="UTC" if it only lacks the zone'),
    }
    return MisfitError(f"is not {wanted[delta_type]}", RowErrorType.INVALID_TEXT)


def _at_change(zone: str | None) -> MisfitError:
    return MisfitError(
        f"is at a change of the clocks in {zone}, which show it twice or never; give it a time zone",
        RowErrorType.INEXACT,
    )
