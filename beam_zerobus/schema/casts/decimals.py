"""Casts to DECIMAL."""

from __future__ import annotations

import decimal
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.schema.arrow import canonical_type
from beam_zerobus.schema.casts.base import Cast, UnfitError
from beam_zerobus.schema.casts.text import checked_text
from beam_zerobus.schema.reasons import Place, Reason, RowErrorType
from beam_zerobus.schema.types import MAX_DECIMAL_PRECISION, Decimal

__all__ = ["exact_decimal", "from_integers", "from_text", "to_decimal"]

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_CONTEXT = decimal.Context(prec=80)
_UINT64_DIGITS = 20
_DECIMAL256_DIGITS = 76


def to_decimal(arrow_type: pa.DataType, delta_type: Decimal, path: str) -> Cast | None:
    """Choose the cast to DECIMAL: from decimals of any width, integers, and decimal text."""
    types = pa.types
    target = canonical_type(delta_type)
    if arrow_type == target:
        return None
    is_text = types.is_string(arrow_type) or types.is_large_string(arrow_type) or types.is_string_view(arrow_type)
    if not (types.is_decimal(arrow_type) or types.is_integer(arrow_type) or is_text):
        raise UnfitError(
            "only Arrow's decimals, integers and decimal text fit; cast the column to "
            f"decimal128({delta_type.precision}, {delta_type.scale})"
        )
    reasons = _reasons(arrow_type, delta_type, path)
    convert = from_text if is_text else from_integers if types.is_integer(arrow_type) else _from_decimals

    def cast(array: pa.Array, place: Place) -> pa.Array:
        if is_text:
            text = array.cast(pa.large_string()) if types.is_string_view(arrow_type) else array
            array = checked_text(text, reasons[RowErrorType.INVALID_TEXT], place)
        try:
            converted = convert(array, delta_type)
        except pa.ArrowInvalid:
            converted = None
        return _one_by_one(array, delta_type, reasons, place) if converted is None else converted

    return cast


# Arrow (25) does not detect an overflow of digits in text and where a scale grows: the result would be another number.
# The next three functions call Arrow only with values that cannot overflow, and return None otherwise.


def from_text(array: pa.Array, delta_type: Decimal) -> pa.Array | None:
    """Cast an array of decimal text; raises `pa.ArrowInvalid` where a value does not fit."""
    longest = pc.max(pc.binary_length(array)).as_py()
    if longest is not None and longest > MAX_DECIMAL_PRECISION - delta_type.scale:
        return None
    if pc.any(pc.match_substring(array, "e", ignore_case=True)).as_py():
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
            f"has more than {before} digits before the decimal point",
            "use a larger precision",
        ),
        RowErrorType.INEXACT: (f"has more than {after} digits after the decimal point", "use a larger scale"),
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
