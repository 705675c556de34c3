"""A single Python value as what pyarrow converts exactly, or the reason why its column cannot hold it."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import decimal
import json
import math
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np
import pyarrow as pa

from beam_zerobus.batching.json_objects import JsonNumber, LostDigitsError, json_text
from beam_zerobus.schema import Decimal, Primitive, RowErrorType
from beam_zerobus.schema.casts.decimals import exact_decimal
from beam_zerobus.schema.texts import read_text

__all__ = [
    "MisfitError",
    "base64_text",
    "binary",
    "boolean",
    "date",
    "decimal_of",
    "double",
    "finite",
    "integer",
    "json_number",
    "json_variant",
    "present",
    "single",
    "text",
    "timestamp",
    "timestamp_ntz",
    "variant",
]

_LARGEST_FLOAT = float(np.finfo(np.float32).max)
_FIRST_LOST = 2**63  # whole numbers from here on may have been read as floats
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
    """Return a converter that keeps nulls, those of Python and of pandas, and converts the value of an enum member."""

    def one(value: Any) -> Any:
        if isinstance(value, Enum):
            value = value.value
        if value is None or type(value).__name__ in _MISSING_TYPES:
            return None
        return convert(value)

    return one


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)


def integer(value: Any) -> int:
    """Return a value of an integer column."""
    if _is_integer(value):
        return int(value)
    raise MisfitError("does not fit; pass an int")


def double(value: Any) -> float:
    """Return a value of a DOUBLE column."""
    return _unrounded(_nearest(value), value)


def single(value: Any) -> float:
    """Return a value of a FLOAT column; fractions are rounded, as Python has no smaller float."""
    number = _nearest(value)
    if math.isfinite(number) and abs(number) > _LARGEST_FLOAT:
        raise MisfitError(
            "is larger than FLOAT can be; correct the row, or use DOUBLE in the table", RowErrorType.OUT_OF_RANGE
        )
    return _unrounded(float(np.float32(number)), value)


def _nearest(value: Any) -> float:
    if not (isinstance(value, float | np.floating) or _is_integer(value)):
        raise MisfitError("does not fit; pass a float")
    try:
        return float(value)
    except OverflowError:
        raise MisfitError("is larger than DOUBLE can be; correct the row", RowErrorType.OUT_OF_RANGE) from None


def _unrounded(number: float, value: Any) -> float:
    if number == value or not _is_integer(value):
        return number
    raise MisfitError(
        "is a whole number that the column would round; correct the row, or use BIGINT or DECIMAL in the table",
        RowErrorType.INEXACT,
    )


def finite(convert: Callable[[Any], float]) -> Callable[[Any], float]:
    """Return a converter of JSON's numbers, which are never infinite: infinity is a number that is too large."""

    def one(value: Any) -> float:
        number = convert(value)
        if math.isinf(number):
            raise MisfitError("is larger than DOUBLE can be; correct the row", RowErrorType.OUT_OF_RANGE)
        return number

    return one


def json_number(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a converter that reads JSON's numbers exactly, and leaves other values to `convert`."""

    def one(value: Any) -> Any:
        if type(value) is float and abs(value) >= _FIRST_LOST:
            raise LostDigitsError
        return convert(value.number() if type(value) is JsonNumber else value)

    return one


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
    if not isinstance(value, str):
        raise MisfitError("does not fit; pass a str")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MisfitError("holds half a surrogate pair; correct the row", RowErrorType.INVALID_UTF8) from None
    return str(value)


def variant(value: Any) -> str:
    """Return a value of a VARIANT column: JSON text as it is, any other value as JSON text."""
    return _variant(value, _python_as_json)


def json_variant(value: Any) -> str:
    """Return a value of a VARIANT column, from JSON: its numbers stay as they are in the text."""
    return _variant(value, json_text)


def _variant(value: Any, write: Callable[[Any], str]) -> str:
    if isinstance(value, str | bytes | bytearray | memoryview):
        return text(value)
    try:
        return write(value)
    except (TypeError, ValueError, RecursionError):
        raise MisfitError("cannot be written as JSON; pass JSON text, or dicts, lists, numbers and text") from None


def _python_as_json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


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
    elif isinstance(value, JsonNumber):
        value = value.text
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
        return _read(value, Primitive.DATE, "is not a date of the form YYYY-MM-DD; correct the row")
    if _is_integer(value):
        return int(value)
    raise MisfitError("does not fit; pass a date, ISO 8601 text, or an int of days since 1970-01-01")


def timestamp(value: Any) -> dt.datetime | int:
    """Return a value of a TIMESTAMP column."""
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise MisfitError("has no time zone; give it one, such as value.replace(tzinfo=datetime.timezone.utc)")
        return _microseconds(value)
    if isinstance(value, str):
        return _read(value, Primitive.TIMESTAMP, "is not an ISO 8601 timestamp with a time zone; correct the row")
    micros = getattr(value, "micros", value)
    if _is_integer(micros):
        return int(micros)
    raise MisfitError(
        "does not fit; pass a datetime with a time zone, a Beam Timestamp, ISO 8601 text, or an int of microseconds "
        "since 1970"
    )


def timestamp_ntz(value: Any) -> dt.datetime | int:
    """Return a value of a TIMESTAMP_NTZ column."""
    if isinstance(value, dt.datetime):
        if value.tzinfo is not None:
            raise MisfitError("has a time zone; drop it, such as value.replace(tzinfo=None), or use TIMESTAMP")
        return _microseconds(value)
    if isinstance(value, np.datetime64):
        whole = value.astype("datetime64[us]")
        if whole != value:
            raise MisfitError("is finer than microseconds; round it first", RowErrorType.INEXACT)
        return int(whole.astype(np.int64))
    if isinstance(value, str):
        return _read(
            value, Primitive.TIMESTAMP_NTZ, "is not an ISO 8601 timestamp without a time zone; correct the row"
        )
    if _is_integer(value):
        return int(value)
    raise MisfitError(
        "does not fit; pass a datetime without a time zone, ISO 8601 text, or an int of microseconds since 1970"
    )


def _microseconds(value: dt.datetime) -> dt.datetime:
    # pandas' timestamps are datetimes that also have nanoseconds.
    if getattr(value, "nanosecond", 0):
        raise MisfitError("is finer than microseconds; round it first", RowErrorType.INEXACT)
    return value


def _read(value: str, delta_type: Primitive, what: str) -> Any:
    try:
        text = pa.array([value], pa.string())
    except UnicodeEncodeError:
        raise MisfitError(what, RowErrorType.INVALID_TEXT) from None
    values, misfits = read_text(text, delta_type)
    if not misfits:
        # As a number: Python's types end with the year 9999, and start with the year 1 in every zone.
        return values.view(pa.int32() if delta_type is Primitive.DATE else pa.int64())[0].as_py()
    if RowErrorType.INEXACT in misfits:
        raise MisfitError("is finer than microseconds; round it first", RowErrorType.INEXACT)
    raise MisfitError(what, RowErrorType.INVALID_TEXT)
