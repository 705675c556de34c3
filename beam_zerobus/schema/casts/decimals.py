"""Casts to DECIMAL."""

from __future__ import annotations

import decimal
import re

import numpy as np
import pyarrow as pa

from beam_zerobus.schema.arrow import canonical_type
from beam_zerobus.schema.casts.base import Cast, UnfitError
from beam_zerobus.schema.casts.text import checked_text
from beam_zerobus.schema.reasons import Place, Reason, RowErrorType
from beam_zerobus.schema.types import Decimal

__all__ = ["to_decimal"]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_CONTEXT = decimal.Context(prec=80)
_UINT64_DIGITS = 20


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
    # Arrow casts an integer only to decimals that hold all of its type.
    roomy = pa.decimal256(_UINT64_DIGITS + delta_type.scale, delta_type.scale)

    def cast(array: pa.Array, place: Place) -> pa.Array:
        if is_text:
            text = array.cast(pa.large_string()) if types.is_string_view(arrow_type) else array
            array = checked_text(text, reasons[RowErrorType.INVALID_TEXT], place)
        try:
            return (array.cast(roomy) if types.is_integer(arrow_type) else array).cast(target)
        except pa.ArrowInvalid:
            return _one_by_one(array, delta_type, reasons, place)

    return cast


def _reasons(arrow_type: pa.DataType, delta_type: Decimal, path: str) -> dict[RowErrorType, Reason]:
    before, behind = delta_type.precision - delta_type.scale, delta_type.scale
    parts = {
        RowErrorType.OUT_OF_RANGE: (f"has more than {before} digits before the point", "use a larger precision"),
        RowErrorType.INEXACT: (f"has more than {behind} digits behind the point", "use a larger scale"),
        RowErrorType.INVALID_TEXT: ("is no plain decimal number", "use STRING"),
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
    values = array.to_pylist()
    faults = [None if value is None else decimal_fault(value, delta_type) for value in values]
    for error_type, reason in reasons.items():
        place.refuse(np.fromiter((fault is error_type for fault in faults), bool, len(faults)), reason)
    exact = [
        None if value is None or fault is not None else decimal.Decimal(value)
        for value, fault in zip(values, faults, strict=True)
    ]
    return pa.array(
        [value and value.quantize(_unit(delta_type), context=_CONTEXT) for value in exact], canonical_type(delta_type)
    )


def decimal_fault(value: decimal.Decimal | int | str, delta_type: Decimal) -> RowErrorType | None:
    """Say why DECIMAL cannot hold the value exactly; None where it can.

    Example:
        >>> decimal_fault("1.25", Decimal(10, 1))
        <RowErrorType.INEXACT: 'inexact'>
    """
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return RowErrorType.INVALID_TEXT
    number = decimal.Decimal(value)
    if not number.is_finite():
        return RowErrorType.INVALID_TEXT
    if number and number.adjusted() >= delta_type.precision - delta_type.scale:
        return RowErrorType.OUT_OF_RANGE
    return None if number.quantize(_unit(delta_type), context=_CONTEXT) == number else RowErrorType.INEXACT


def _unit(delta_type: Decimal) -> decimal.Decimal:
    return decimal.Decimal(1).scaleb(-delta_type.scale)
