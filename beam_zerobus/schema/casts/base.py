"""What the casts share: their signature, and how values that do not fit are taken out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.schema.reasons import Place, Reason

__all__ = ["Cast", "UnfitError", "always", "divisible", "within", "without"]

Cast: TypeAlias = Callable[[pa.Array, Place], pa.Array]
"""Checks and converts an array; returns the very same array where nothing had to change."""


class UnfitError(Exception):
    """No value of the Arrow type can stand for the Delta type; the text says what fits and what to do."""


def always(target: pa.DataType) -> Cast:
    """Return the cast for types whose every value fits."""
    return lambda array, _: array.cast(target)


def without(array: pa.Array, bad: np.ndarray, reason: Reason, place: Place) -> pa.Array:
    """Reject the values marked in `bad` and return the array with nulls in their place."""
    place.reject(bad, reason)
    return pc.if_else(pa.array(bad), pa.scalar(None, array.type), array)


def within(numbers: pa.Array, bounds: tuple[int, int], reason: Reason, place: Place) -> pa.Array:
    """Reject whole numbers outside of the bounds, which the array's type can hold."""
    if not len(numbers):
        return numbers
    low, high = bounds
    sign = "u" if pa.types.is_unsigned_integer(numbers.type) else "i"
    width = np.dtype(f"{sign}{numbers.type.bit_width // 8}")  # to_pandas_dtype needs pandas before pyarrow 21
    shown = np.frombuffer(numbers.buffers()[1], width, count=len(numbers), offset=numbers.offset * width.itemsize)
    # What nulls hide counts here, so only a yes is an answer; it is quicker than asking Arrow for the bounds.
    if shown.min() >= low and shown.max() <= high:
        return numbers
    outside = pc.or_(pc.less(numbers, pa.scalar(low, numbers.type)), pc.greater(numbers, pa.scalar(high, numbers.type)))
    bad = np.asarray(outside.fill_null(False))
    return without(numbers, bad, reason, place) if bad.any() else numbers


def divisible(numbers: pa.Array, step: int, reason: Reason, place: Place) -> pa.Array:
    """Reject the whole numbers that `step` does not divide."""
    bad = np.asarray(numbers.fill_null(0)) % step != 0
    return without(numbers, bad, reason, place) if bad.any() else numbers
