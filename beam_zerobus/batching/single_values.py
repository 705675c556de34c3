"""A single Python value as what pyarrow converts exactly, or the reason why its column cannot hold it."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import decimal
import json
import math
import uuid
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np
import pyarrow as pa

from beam_zerobus.batching.datetime64 import exact_micros
from beam_zerobus.batching.json_number import JsonNumber
from beam_zerobus.schema import Decimal, RowErrorType
from beam_zerobus.schema.casts.decimals import exact_decimal
from beam_zerobus.schema.time_rules import TimeRules, in_zone

__all__ = [
    "MisfitError",
    "base64_text",
    "binary",
    "boolean",
    "date",
    "decimal_of",
    "double",
    "integer",
    "present",
    "single",
    "text",
    "timestamp",
    "timestamp_ntz",
    "variant",
]

_LARGEST_FLOAT = float(np.finfo(np.float32).max)
_NAIVE = pa.timestamp("us")
_UTC = pa.timestamp("us", "UTC")
_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NOT_WHOLE = "is not a whole number; correct the row, or use DOUBLE in the table"
_MISSING_TYPES = frozenset({"NaTType", "NAType"})


class MisfitError(Exception):
    """A value does not fit its column.

    Attributes:
        error_type: The name to group by.
        what: The end of the sentence "a value of Python type x ...", with the remedy.
    """

    def __init__(self, what: str, error_type: RowErrorType = RowErrorType.WRONG_TYPE) -> None:
        super().__init__(what)
        self.what = what
        self.error_type = error_type


def present(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a converter that keeps nulls (of Python, pandas, numpy) and converts the value of an enum member."""

    def one(value: Any) -> Any:
        if isinstance(value, Enum):
            value = value.value
        if value is None or type(value).__name__ in _MISSING_TYPES:
            return None
        if isinstance(value, np.datetime64) and np.isnat(value):
            return None
        return convert(value)

    return one


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)


def integer(value: Any) -> int:
    """Return a value of an integer column: an int, or a float that is a whole number."""
    if _is_integer(value):
        return int(value)
    if isinstance(value, float | np.floating):
        return _whole(value)
    if isinstance(value, JsonNumber):
        whole = exact_decimal(value, Decimal(38, 0))
        if isinstance(whole, decimal.Decimal):
            return int(whole)
        raise MisfitError(_NOT_WHOLE, whole)
    raise MisfitError("does not fit; pass an int")


def _whole(value: Any) -> int:
    if value.is_integer():
        return int(value)
    if math.isnan(value):
        raise MisfitError(
            "is NaN, which pandas uses for a missing value; pass None, or use a nullable type such as Int64 in pandas",
            RowErrorType.INEXACT,
        )
    raise MisfitError(_NOT_WHOLE, RowErrorType.INEXACT)


def double(value: Any) -> float | int:
    """Return a value of a DOUBLE column."""
    if isinstance(value, float | np.floating | JsonNumber):
        return float(value)
    if _is_integer(value):
        return int(value)
    raise MisfitError("does not fit; pass a float")


def single(value: Any) -> float | int:
    """Return a value of a FLOAT column."""
    number = double(value)
    if isinstance(number, float) and math.isfinite(number) and abs(number) > _LARGEST_FLOAT:
        raise MisfitError(
            "is larger than FLOAT can be; correct the row, or use DOUBLE in the table", RowErrorType.OUT_OF_RANGE
        )
    return number


def boolean(value: Any) -> bool:
    """Return a value of a BOOLEAN column."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise MisfitError("does not fit; pass a bool")


def text(value: Any) -> str:
    """Return a value of a STRING column."""
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise MisfitError(
                "is not UTF-8; decode it first, or use BINARY in the table", RowErrorType.INVALID_UTF8
            ) from None
    if isinstance(value, uuid.UUID):
        return str(value)
    if not isinstance(value, str):
        missing = isinstance(value, float) and math.isnan(value)
        raise MisfitError(
            "is NaN, which pandas uses for a missing value; pass None" if missing else "does not fit; pass a str"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MisfitError("holds half a surrogate pair; correct the row", RowErrorType.INVALID_UTF8) from None
    return str(value)


def variant(value: Any) -> str:
    """Return a value of a VARIANT column: JSON text as it is, any other value as JSON text."""
    if isinstance(value, str | bytes | bytearray | memoryview):
        return text(value)
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"), default=_json_number)
    except (TypeError, ValueError, RecursionError):
        raise MisfitError("cannot be written as JSON; pass JSON text, or dicts, lists, numbers and text") from None


def _json_number(value: Any) -> float:
    if isinstance(value, JsonNumber):
        return float(value)
    raise TypeError


def binary(value: Any) -> bytes:
    """Return a value of a BINARY column."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise MisfitError("does not fit; pass bytes")


def base64_text(value: Any) -> bytes:
    """Return a value of a BINARY column, from JSON."""
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise MisfitError(
                "is not base64, which JSON needs for BINARY; correct the row", RowErrorType.INVALID_TEXT
            ) from None
    return binary(value)


def decimal_of(value: Any, delta_type: Decimal) -> decimal.Decimal:
    """Return a value of a DECIMAL column."""
    if _is_integer(value):
        value = int(value)
    elif not isinstance(value, decimal.Decimal | str):
        raise MisfitError("does not fit; pass a Decimal, an int, or decimal text")
    found = exact_decimal(value, delta_type)
    if isinstance(found, decimal.Decimal):
        return found
    before, after = delta_type.precision - delta_type.scale, delta_type.scale
    raise MisfitError(
        {
            RowErrorType.OUT_OF_RANGE: f"has more than {before} digits before the decimal point; "
            "correct the row, or use a larger precision in the table",
            RowErrorType.INEXACT: f"has more than {after} digits after the decimal point; "
            "correct the row, or use a larger scale in the table",
        }.get(found, "is not a plain decimal number; correct the row, or use STRING in the table"),
        found,
    )


def date(value: Any) -> dt.date | int:
    """Return a value of a DATE column."""
    if isinstance(value, dt.datetime):
        raise MisfitError("does not fit; pass a date, such as value.date()")
    if isinstance(value, dt.date):
        return value
    if isinstance(value, np.datetime64) and np.datetime_data(value.dtype)[0] == "D":
        return int(value.astype(np.int64))
    if isinstance(value, str):
        return _parsed(value, pa.date32(), "is not a date of the form YYYY-MM-DD; correct the row")
    if _is_integer(value):
        return int(value)
    raise MisfitError("does not fit; pass a date, ISO 8601 text, or an int of days since 1970-01-01")


def timestamp(value: Any, times: TimeRules) -> dt.datetime | int:
    """Return a value of a TIMESTAMP column."""
    zone = times.assume_timezone
    if isinstance(value, dt.datetime):
        if value.tzinfo is None and zone is None:
            raise MisfitError(
                'has no time zone; set assume_timezone="UTC" or the zone that it is in, or give it one, such as '
                "value.replace(tzinfo=datetime.timezone.utc)"
            )
        value = _microseconds(value)
        return value if value.tzinfo is not None or zone is None else _moment(value, zone)
    if isinstance(value, str):
        if zone is not None and (naive := _parsed_or_none(value, _NAIVE)) is not None:
            return _moment(naive.value, zone)
        return _parsed(
            value,
            _UTC,
            "is not an ISO 8601 timestamp with a time zone and at most six decimal places; correct the row"
            + ("" if zone else ', or set assume_timezone="UTC" if it only lacks the zone'),
        )
    if isinstance(value, np.datetime64) and zone is not None:
        return _moment(_whole_microseconds(value), zone)
    micros = getattr(value, "micros", None)
    if micros is not None and _is_integer(micros):
        return int(micros)
    if (number := _epoch(value, times)) is not None:
        return number
    raise MisfitError(
        "does not fit; pass a datetime with a time zone, a Beam Timestamp, ISO 8601 text, or an int of "
        f"{_UNITS[times.epoch_unit or 'us']} since 1970"
    )


def _moment(naive: dt.datetime | int, zone: str) -> int:
    """Return the moment, in microseconds, at which the clocks of a zone show a timestamp."""
    try:
        moments, unclear = in_zone(pa.array([naive], _NAIVE), zone)
    except OverflowError:
        raise MisfitError("is outside the years 1 to 9999; correct the row", RowErrorType.OUT_OF_RANGE) from None
    if unclear.any():
        raise MisfitError(
            f"is at a change of the clocks in {zone}, which show it twice or never; give it a time zone",
            RowErrorType.INEXACT,
        )
    return moments[0].value


def _epoch(value: Any, times: TimeRules) -> int | None:
    """Return the microseconds of a number in the unit that numbers have; None for anything else."""
    factor = _MICROSECONDS[times.epoch_unit or "us"]
    if _is_integer(value):
        return int(value) * factor
    if times.epoch_unit is not None and isinstance(value, float | np.floating):
        return _whole(value) * factor
    return None


def timestamp_ntz(value: Any, times: TimeRules) -> dt.datetime | int:
    """Return a value of a TIMESTAMP_NTZ column."""
    if isinstance(value, dt.datetime):
        if value.tzinfo is not None:
            raise MisfitError("has a time zone; drop it, such as value.replace(tzinfo=None), or use TIMESTAMP")
        return _microseconds(value)
    if isinstance(value, np.datetime64):
        return _whole_microseconds(value)
    if isinstance(value, str):
        return _parsed(
            value,
            _NAIVE,
            "is not an ISO 8601 timestamp without a time zone and at most six decimal places; correct the row",
        )
    if (number := _epoch(value, times)) is not None:
        return number
    raise MisfitError(
        "does not fit; pass a datetime without a time zone, ISO 8601 text, or an int of "
        f"{_UNITS[times.epoch_unit or 'us']} since 1970"
    )


def _microseconds(value: dt.datetime) -> dt.datetime:
    # pandas' timestamps are datetimes that also have nanoseconds, and years that are not those of the datetime.
    moment = getattr(value, "asm8", None)
    if moment is not None:
        _whole_microseconds(moment)
        if not dt.MINYEAR <= value.year <= dt.MAXYEAR:
            raise MisfitError("is outside the years 1 to 9999; correct the row", RowErrorType.OUT_OF_RANGE)
    return value


def _whole_microseconds(value: np.datetime64) -> int:
    micros = exact_micros(value)
    if micros is None:
        raise MisfitError("is finer than microseconds; round it first", RowErrorType.INEXACT)
    return micros


def _parsed(value: str, arrow_type: pa.DataType, what: str) -> Any:
    parsed = _parsed_or_none(value, arrow_type)
    if parsed is None:
        raise MisfitError(what, RowErrorType.INVALID_TEXT)
    return parsed.value


def _parsed_or_none(value: str, arrow_type: pa.DataType) -> Any:
    try:
        return pa.scalar(value).cast(arrow_type)
    except (pa.ArrowInvalid, ValueError, OverflowError):
        return None
