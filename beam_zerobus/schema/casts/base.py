"""What the casts share: their signature, and the rejection of values that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.schema.reasons import Place, Reason

__all__ = ["Cast", "UnfitError", "always", "divisible", "within", "without"]

Cast: TypeAlias = Callable[[pa.Array, Place], pa.Array]
"""Checks and converts an array; returns the same object if nothing had to change."""


class UnfitError(Exception):
    """The Arrow type does not fit the Delta type; the text says which types fit, and the remedy."""


def always(target: pa.DataType) -> Cast:
    """Return the cast for a type whose values all fit."""
    return lambda array, _: array.cast(target)


def without(array: pa.Array, bad: np.ndarray, reason: Reason, place: Place) -> pa.Array:
    """Reject the values marked in `bad`; return the array with nulls in their place."""
    place.reject(bad, reason)
    return pc.if_else(pa.array(bad), pa.scalar(None, array.type), array)


def within(numbers: pa.Array, bounds: tuple[int, int], reason: Reason, place: Place) -> pa.Array:
    """Reject whole numbers outside of the bounds; the array's type can hold the bounds."""
    if not len(numbers):
        return numbers
    low, high = bounds
    sign = "u" if pa.types.is_unsigned_integer(numbers.type) else "i"
    width = np.dtype(f"{sign}{numbers.type.bit_width // 8}")  # to_pandas_dtype needs pandas before pyarrow 21
    shown = np.frombuffer(numbers.buffers()[1], width, count=len(numbers), offset=numbers.offset * width.itemsize)
    # This includes the values under nulls, so only a pass is conclusive; it is faster than Arrow's min_max.
    if shown.min() >= low and shown.max() <= high:
        return numbers
    outside = pc.or_(pc.less(numbers, pa.scalar(low, numbers.type)), pc.greater(numbers, pa.scalar(high, numbers.type)))
    bad = np.asarray(outside.fill_null(False))
    return without(numbers, bad, reason, place) if bad.any() else numbers


def divisible(numbers: pa.Array, step: int, reason: Reason, place: Place) -> pa.Array:
    """Reject whole numbers that are not a multiple of `step`."""
    bad = np.asarray(numbers.fill_null(0)) % step != 0
    return without(numbers, bad, reason, place) if bad.any() else numbers
