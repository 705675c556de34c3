"""Casts to DECIMAL."""

from __future__ import annotations

import decimal
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.errors import counted
from beam_zerobus.schema.arrow import canonical_type
from beam_zerobus.schema.casts.base import Cast, UnfitError, from_views, without
from beam_zerobus.schema.casts.text import checked_text
from beam_zerobus.schema.reasons import Place, Reason, RowErrorType
from beam_zerobus.schema.types import MAX_DECIMAL_PRECISION, Decimal

__all__ = ["exact_decimal", "from_integers", "from_text", "to_decimal"]

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_CONTEXT = decimal.Context(prec=80)
_UINT64_DIGITS = 20
_DECIMAL256_DIGITS = 76
_MOST_DIGITS = {4: 9, 8: 18, 16: 38, 32: _DECIMAL256_DIGITS}  # by width in bytes
_FIRST_ROWS = 1_000


def to_decimal(arrow_type: pa.DataType, delta_type: Decimal, path: str) -> Cast:
    """Choose the cast to DECIMAL: from decimals of any width, integers, and decimal text."""
    types = pa.types
    target = canonical_type(delta_type)
    if arrow_type == target:
        return _checked_digits(arrow_type, delta_type, path)
    is_text = types.is_string(arrow_type) or types.is_large_string(arrow_type) or types.is_string_view(arrow_type)
    if not (types.is_decimal(arrow_type) or types.is_integer(arrow_type) or is_text):
        raise UnfitError(
            "only Arrow's decimals, integers and decimal text fit; cast the column to "
            f"decimal128({delta_type.precision}, {delta_type.scale})"
        )
    if types.is_decimal(arrow_type) and abs(arrow_type.scale) > (digits := _MOST_DIGITS[arrow_type.byte_width]):
        # Arrow (25) accepts such a type, and crashes where it converts it.
        raise UnfitError(
            f"its scale is beyond the {counted(digits, 'digit')} that the type can have; correct the scale"
        )
    reasons = _reasons(arrow_type, delta_type, path)
    convert = from_text if is_text else from_integers if types.is_integer(arrow_type) else _from_decimals

    def cast(array: pa.Array, place: Place) -> pa.Array:
        if is_text:
            array = checked_text(from_views(array), reasons[RowErrorType.INVALID_TEXT], place)
        try:
            # Arrow words an error for each value that does not fit, so it gets the rest only if the first ones do.
            converted = convert(array.slice(0, _FIRST_ROWS), delta_type)
            if converted is not None and len(array) > _FIRST_ROWS:
                converted = convert(array, delta_type)
        except pa.ArrowInvalid:
            converted = None
        return _checked(array, delta_type, reasons, place) if converted is None else converted

    return cast


def _checked_digits(arrow_type: pa.DataType, delta_type: Decimal, path: str) -> Cast:
    """Return the cast from the same type, whose values may have more digits than it says where other code made them."""
    reasons = _reasons(arrow_type, delta_type, path)

    def cast(array: pa.Array, place: Place) -> pa.Array:
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:
            return _checked(array, delta_type, reasons, place)
        return array

    return cast


# Arrow (25) does not detect an overflow of digits in text and where a scale grows: the result would be another number.
# The next functions call Arrow only with values that cannot overflow, and return None otherwise.


def from_text(array: pa.Array, delta_type: Decimal) -> pa.Array | None:
    """Cast an array of decimal text; raises `pa.ArrowInvalid` where a value does not fit."""
    longest = pc.max(pc.binary_length(array)).as_py()
    if longest is not None and longest > MAX_DECIMAL_PRECISION - delta_type.scale:
        return None
    if _has_exponent(array):
        return None
    return array.cast(canonical_type(delta_type))


def from_integers(array: pa.Array, delta_type: Decimal) -> pa.Array:
    """Cast an array of integers; raises `pa.ArrowInvalid` where a value does not fit."""
    # Arrow casts an integer only to decimals that hold all of its type.
    roomy = pa.decimal256(_UINT64_DIGITS + delta_type.scale, delta_type.scale)
    return array.cast(roomy).cast(canonical_type(delta_type))


def _from_decimals(array: pa.Array, delta_type: Decimal) -> pa.Array | None:
    precision, scale = array.type.precision, array.type.scale
    if precision + max(delta_type.scale - scale, 0) > _DECIMAL256_DIGITS:
        return None
    return array.cast(pa.decimal256(precision, scale)).cast(canonical_type(delta_type))


def _reasons(arrow_type: pa.DataType, delta_type: Decimal, path: str) -> dict[RowErrorType, Reason]:
    before, after = delta_type.precision - delta_type.scale, delta_type.scale
    parts = {
        RowErrorType.OUT_OF_RANGE: (
            f"has more than {counted(before, 'digit')} before the decimal point",
            "use a larger precision",
        ),
        RowErrorType.INEXACT: (
            f"has more than {counted(after, 'digit')} after the decimal point",
            "use a larger scale",
        ),
        RowErrorType.INVALID_TEXT: ("is not a plain decimal number", "use STRING"),
    }
    return {
        error_type: Reason(
            error_type,
            f"column {path!r} is {delta_type}: a value of Arrow type {arrow_type} {what}; "
            f"correct the row, or {remedy} in the table",
        )
        for error_type, (what, remedy) in parts.items()
    }


def _checked(array: pa.Array, delta_type: Decimal, reasons: dict[RowErrorType, Reason], place: Place) -> pa.Array:
    """Convert the values that DECIMAL holds exactly; reject the others."""
    try:
        exact = _with_all_digits(array)
    except pa.ArrowInvalid:
        exact = None
    # Arrow rounds away one digit less than the type has.
    if exact is None or exact.type.scale - delta_type.scale >= _DECIMAL256_DIGITS:
        return _one_by_one(array, delta_type, reasons, place)
    before = delta_type.precision - delta_type.scale
    if before < _DECIMAL256_DIGITS - exact.type.scale:
        bound = pa.scalar(decimal.Decimal(10) ** before, exact.type)
        outside = pc.greater_equal(pc.abs(exact), bound)
        exact = without(exact, np.asarray(outside.fill_null(False)), reasons[RowErrorType.OUT_OF_RANGE], place)
    finer = pc.not_equal(pc.round(exact, delta_type.scale, round_mode="towards_zero"), exact)
    exact = without(exact, np.asarray(finer.fill_null(False)), reasons[RowErrorType.INEXACT], place)
    return exact.cast(canonical_type(delta_type))


def _with_all_digits(array: pa.Array) -> pa.Array | None:
    """Return an array with all digits; None where Arrow cannot; raises `pa.ArrowInvalid` where text is not a number."""
    if pa.types.is_decimal(array.type):
        return array.cast(pa.decimal256(_DECIMAL256_DIGITS, array.type.scale)) if array.type.scale >= 0 else None
    if pa.types.is_integer(array.type):
        return array.cast(pa.decimal256(_DECIMAL256_DIGITS, 0))
    longest = pc.max(pc.binary_length(array)).as_py()
    if longest is None or longest > _DECIMAL256_DIGITS // 2 or _has_exponent(array):
        return None
    return array.cast(pa.decimal256(_DECIMAL256_DIGITS, _DECIMAL256_DIGITS // 2))


def _has_exponent(text: pa.Array) -> bool:
    return bool(pc.any(pc.match_substring(text, "e", ignore_case=True)).as_py())


def _one_by_one(array: pa.Array, delta_type: Decimal, reasons: dict[RowErrorType, Reason], place: Place) -> pa.Array:
    found = [None if value is None else exact_decimal(value, delta_type) for value in array.to_pylist()]
    for error_type, reason in reasons.items():
        place.reject(np.fromiter((value is error_type for value in found), bool, len(found)), reason)
    exact = [value if isinstance(value, decimal.Decimal) else None for value in found]
    return pa.array(exact, canonical_type(delta_type))


def exact_decimal(value: decimal.Decimal | int | str, delta_type: Decimal) -> decimal.Decimal | RowErrorType:
    """Return the value with the digits that DECIMAL keeps, or why DECIMAL cannot hold it exactly.

    Example:
        >>> exact_decimal("1.2", Decimal(10, 2)), exact_decimal("1.25", Decimal(10, 1))
        (Decimal('1.20'), <RowErrorType.INEXACT: 'inexact'>)
    """
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return RowErrorType.INVALID_TEXT
    try:
        number = decimal.Decimal(value)
    except decimal.InvalidOperation:
        return _with_extreme_exponent(str(value), delta_type)
    if not number.is_finite():
        return RowErrorType.INVALID_TEXT
    if number and number.adjusted() >= delta_type.precision - delta_type.scale:
        return RowErrorType.OUT_OF_RANGE
    if number and number.adjusted() < -delta_type.scale:
        return RowErrorType.INEXACT
    rounded = number.quantize(decimal.Decimal(1).scaleb(-delta_type.scale), context=_CONTEXT)
    return rounded if rounded == number else RowErrorType.INEXACT


def _with_extreme_exponent(number: str, delta_type: Decimal) -> decimal.Decimal | RowErrorType:
    """Judge a number whose exponent is beyond Python's decimals: some 10**18 digits, unless it is zero."""
    digits, _, exponent = number.lower().partition("e")
    if not digits.strip("+-.0"):
        return exact_decimal(0, delta_type)
    return RowErrorType.INEXACT if exponent.startswith("-") else RowErrorType.OUT_OF_RANGE
