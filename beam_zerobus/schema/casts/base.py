"""What the casts share: their signature, and the rejection of values that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.schema.reasons import Place, Reason

__all__ = ["Cast", "UnfitError", "always", "divisible", "from_views", "within", "without"]

Cast: TypeAlias = Callable[[pa.Array, Place], pa.Array]
"""Checks and converts an array; returns the same object if nothing had to change."""


class UnfitError(Exception):
    """The Arrow type does not fit the Delta type; the text says which types fit, and the remedy.

    Args:
        why: Why it does not fit.
        remedy: What to do, if `why` does not say it.
        option: The option of sink and writer that would make it fit.
    """

    def __init__(self, why: str, remedy: str = "", *, option: str = "") -> None:
        super().__init__(why, remedy, option)

    def text(self, *, with_options: bool) -> str:
        """Return reason and remedy."""
        why, remedy, option = self.args
        remedies = ", or ".join(filter(None, (option if with_options else "", remedy)))
        return "; ".join(filter(None, (why, remedies)))


def always(target: pa.DataType) -> Cast:
    """Return the cast for a type whose values all fit."""
    return lambda array, _: array.cast(target)


def without(array: pa.Array, bad: np.ndarray, reason: Reason, place: Place) -> pa.Array:
    """Reject the values marked in `bad`; return the array with nulls in their place."""
    place.reject(bad, reason)
    return pc.if_else(pa.array(bad), pa.scalar(None, array.type), array)


def from_views(array: pa.Array) -> pa.Array:
    """Return views of text or bytes as large text or bytes; any other array as it is.

    Arrow (25) follows the views of nulls too, which may be anything, even out of its memory: these are emptied first.
    """
    is_text = pa.types.is_string_view(array.type)
    if not is_text and not pa.types.is_binary_view(array.type):
        return array
    if array.null_count:
        validity, content, *data = array.buffers()
        end = array.offset + len(array)  # the buffer may have more
        views = np.frombuffer(content, np.int64, 2 * end).reshape(-1, 2)[array.offset :]
        is_null = np.asarray(array.is_null())
        if views[is_null].any():
            emptied = np.zeros((end, 2), np.int64)
            emptied[array.offset :] = np.where(is_null[:, np.newaxis], 0, views)
            buffers = [validity, pa.py_buffer(emptied), *data]
            array = pa.Array.from_buffers(array.type, len(array), buffers, array.null_count, array.offset)
    return array.cast(pa.large_string() if is_text else pa.large_binary())


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
