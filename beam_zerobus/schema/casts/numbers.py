"""Casts to BOOLEAN, the integers, FLOAT and DOUBLE."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from beam_zerobus.schema.arrow import canonical_type
from beam_zerobus.schema.casts.base import Cast, UnfitError, always, within, without
from beam_zerobus.schema.reasons import Place, Reason, RowErrorType
from beam_zerobus.schema.types import Primitive

__all__ = ["to_boolean", "to_float", "to_integer", "whole_numbers"]

_WHOLE_NUMBERS_EXACT_TO = {Primitive.FLOAT: 1 << 24, Primitive.DOUBLE: 1 << 53}


def to_boolean(arrow_type: pa.DataType, _delta_type: Primitive, _path: str) -> Cast | None:
    """Choose the cast to BOOLEAN."""
    if pa.types.is_boolean(arrow_type):
        return None
    raise UnfitError("only Arrow's bool fits; cast the column to bool")


def to_integer(arrow_type: pa.DataType, delta_type: Primitive, path: str) -> Cast | None:
    """Choose the cast to TINYINT, SMALLINT, INT or BIGINT."""
    target = canonical_type(delta_type)
    if pa.types.is_floating(arrow_type):
        return whole_numbers(arrow_type, target, f"column {path!r} is {delta_type}")
    if not pa.types.is_integer(arrow_type):
        raise UnfitError(
            "only Arrow's integers fit, and floats that are whole numbers; cast the column to int64, or change the "
            "table's column"
        )
    if arrow_type == target:
        return None
    (low, high), (type_low, type_high) = _bounds(target), _bounds(arrow_type)
    if low <= type_low and type_high <= high:
        return always(target)
    wider = "use DECIMAL(20,0)" if delta_type is Primitive.BIGINT else "use a wider integer"
    reason = Reason(
        RowErrorType.OUT_OF_RANGE,
        f"column {path!r} is {delta_type}: a value of Arrow type {arrow_type} is outside {low} to {high}; "
        f"correct the row, or {wider} in the table",
    )
    bounds = (max(low, type_low), min(high, type_high))
    return lambda array, place: within(array, bounds, reason, place).cast(target)


def whole_numbers(
    arrow_type: pa.DataType,
    target: pa.DataType,
    column: str,
    *,
    of: str = "",
    remedy: str = "correct the row, or use DOUBLE in the table",
) -> Cast:
    """Return the cast from floats that are whole numbers to integers.

    Args:
        arrow_type: The floats' type.
        target: The integers' type.
        column: The beginning of the message for a value that is rejected.
        of: What the numbers count, for the message.
        remedy: The end of the message for a number that is rejected.
    """
    low, high = _bounds(target)
    missing, fraction, outside = (
        Reason(error_type, f"{column}: a value of Arrow type {arrow_type} {what}")
        for error_type, what in (
            (RowErrorType.INEXACT, "is NaN; use null for a missing value"),
            (RowErrorType.INEXACT, f"is not a whole number{of}; {remedy}"),
            (RowErrorType.OUT_OF_RANGE, f"is outside {low} to {high}; {remedy}"),
        )
    )

    def cast(array: pa.Array, place: Place) -> pa.Array:
        array = array.cast(pa.float64())
        try:
            return array.cast(target)  # fails unless every value is exact
        except pa.ArrowInvalid:
            numbers = np.asarray(array.fill_null(0.0))
        # The upper bound is a power of two, which a float holds exactly; the largest integer it may not.
        beyond = ~np.isnan(numbers) & ((numbers < low) | (numbers >= float(high + 1)))
        broken = ~np.isnan(numbers) & ~beyond & (numbers != np.trunc(numbers))
        for bad, reason in ((np.isnan(numbers), missing), (beyond, outside), (broken, fraction)):
            array = without(array, bad, reason, place)
        return array.cast(target)

    return cast


def to_float(arrow_type: pa.DataType, delta_type: Primitive, path: str) -> Cast | None:
    """Choose the cast to FLOAT or DOUBLE."""
    target = canonical_type(delta_type)
    if arrow_type == target:
        return None
    if pa.types.is_floating(arrow_type):
        if arrow_type.bit_width < target.bit_width:
            return always(target)
        raise UnfitError("float32 would round the values; cast the column to float32, or use DOUBLE in the table")
    if not pa.types.is_integer(arrow_type):
        raise UnfitError("only Arrow's floats and integers fit; cast the column to float64")
    largest = _WHOLE_NUMBERS_EXACT_TO[delta_type]
    type_low, type_high = _bounds(arrow_type)
    if type_high <= largest:
        return always(target)
    reason = Reason(
        RowErrorType.INEXACT,
        f"column {path!r} is {delta_type}: a value of Arrow type {arrow_type} is a whole number that the column would "
        "round; correct the row, or use BIGINT or DECIMAL in the table",
    )

    def cast(array: pa.Array, place: Place) -> pa.Array:
        numbers = np.asarray(array.fill_null(0))
        if numbers.size and (numbers.max() > largest or (type_low < 0 and numbers.min() < -largest)):
            bad = _rounded(numbers, largest)
            array = without(array, bad, reason, place) if bad.any() else array
        return array.cast(target, safe=False)

    return cast


def _rounded(numbers: np.ndarray, largest: int) -> np.ndarray:
    """Mark the whole numbers that a float rounds: those whose digits, without zeros at the end, are too many bits."""
    size = numbers.astype(np.uint64)
    if numbers.dtype.kind == "i":
        size = np.where(numbers < 0, -size, size)
    size[size == 0] = 1
    return size // (size & -size) > largest


def _bounds(integer: pa.DataType) -> tuple[int, int]:
    """Return the smallest and the largest value of an Arrow integer type."""
    if pa.types.is_signed_integer(integer):
        half = 1 << integer.bit_width - 1
        return -half, half - 1
    return 0, (1 << integer.bit_width) - 1
