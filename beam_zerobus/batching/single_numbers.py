"""A single number as what pyarrow converts exactly, or the reason why its column cannot hold it."""

from __future__ import annotations

import decimal
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from beam_zerobus.batching.json_objects import FIRST_LOST, JsonNumber, LostDigitsError
from beam_zerobus.batching.misfit import MisfitError, WrongTypeError
from beam_zerobus.errors import counted
from beam_zerobus.schema import Decimal, RowErrorType
from beam_zerobus.schema.casts.decimals import exact_decimal

__all__ = [
    "checked",
    "decimal_of",
    "double",
    "finite",
    "integer",
    "is_integer",
    "json_number",
    "single",
    "whole",
]

_FLOAT = struct.Struct("<f")  # unlike "f" it notices numbers that are too large
_TOO_LARGE = "is larger than any integer column can hold; correct the row, or use DECIMAL in the table"
_NOT_WHOLE = "is not a whole number; correct the row, or use DOUBLE in the table"


def is_integer(value: Any) -> bool:
    """Return whether a value is an integer of Python or numpy, and not a boolean."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)


def integer(value: Any) -> int:
    """Return a value of an integer column: an int, or a float that is a whole number."""
    if is_integer(value):
        return int(value)
    if isinstance(value, float | np.floating):
        return whole(value)
    if isinstance(value, JsonNumber):
        exact = exact_decimal(value.text, Decimal(38, 0))
        if isinstance(exact, decimal.Decimal):
            return int(exact)
        raise MisfitError(_NOT_WHOLE if exact is RowErrorType.INEXACT else _TOO_LARGE, exact)
    raise WrongTypeError("does not fit; pass an int")


def whole(value: Any) -> int:
    """Return a float that is a whole number as an int."""
    if value.is_integer():
        return int(value)
    if math.isnan(value):
        raise MisfitError(
            "is NaN, which pandas uses for a missing value; pass None, or use a nullable type such as Int64 in pandas",
            RowErrorType.INEXACT,
        )
    raise MisfitError(_NOT_WHOLE, RowErrorType.INEXACT)


def double(value: Any) -> float:
    """Return a value of a DOUBLE column."""
    return _unrounded(_nearest(value), value)


def single(value: Any) -> float:
    """Return a value of a FLOAT column; fractions are rounded, as Python has no smaller float."""
    try:
        (rounded,) = _FLOAT.unpack(_FLOAT.pack(_nearest(value)))
    except OverflowError:
        raise MisfitError(
            "is larger than FLOAT can be; correct the row, or use DOUBLE in the table", RowErrorType.OUT_OF_RANGE
        ) from None
    return _unrounded(rounded, value)


def _nearest(value: Any) -> float:
    if not (isinstance(value, float | np.floating) or is_integer(value)):
        raise WrongTypeError("does not fit; pass a float")
    try:
        return float(value)
    except OverflowError:
        raise MisfitError("is larger than DOUBLE can be; correct the row", RowErrorType.OUT_OF_RANGE) from None


def _unrounded(number: float, value: Any) -> float:
    if not is_integer(value) or number == int(value):  # numpy's integers compare as floats, rounded as well
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


def checked(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a converter of JSON's whole numbers, which rejects floats that are whole only because digits were lost."""

    def one(value: Any) -> Any:
        if type(value) is float and value.is_integer():
            raise LostDigitsError
        return convert(value)

    return one


def json_number(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a converter that reads JSON's numbers exactly, and leaves other values to `convert`."""

    def one(value: Any) -> Any:
        if type(value) is float and abs(value) >= FIRST_LOST:
            raise LostDigitsError
        return convert(value.number() if type(value) is JsonNumber else value)

    return one


def decimal_of(value: Any, delta_type: Decimal) -> decimal.Decimal:
    """Return a value of a DECIMAL column."""
    if is_integer(value):
        value = int(value)
    elif isinstance(value, JsonNumber):
        value = value.text
    elif not isinstance(value, decimal.Decimal | str):
        raise WrongTypeError("does not fit; pass a Decimal, an int, or decimal text")
    found = exact_decimal(value, delta_type)
    if isinstance(found, decimal.Decimal):
        return found
    before, after = delta_type.precision - delta_type.scale, delta_type.scale
    raise MisfitError(
        {
            RowErrorType.OUT_OF_RANGE: f"has more than {counted(before, 'digit')} before the decimal point; "
            "correct the row, or use a larger precision in the table",
            RowErrorType.INEXACT: f"has more than {counted(after, 'digit')} after the decimal point; "
            "correct the row, or use a larger scale in the table",
        }.get(found, "is not a plain decimal number; correct the row, or use STRING in the table"),
        found,
    )
