"""Text to numbers, booleans, dates and times: exact, or marked with the reason why not.

Arrow's casts of text are fast, but fail for a whole column, give no reason, read ``0x10`` as 16 and make infinity of
``1e400``. Here they get only text of a known form.
"""

from __future__ import annotations

import calendar
import contextlib
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.schema.arrow import canonical_type
from beam_zerobus.schema.reasons import RowErrorType
from beam_zerobus.schema.types import Primitive

__all__ = ["FLOATS", "INTEGERS", "Misfits", "read_text"]

Misfits: TypeAlias = dict[RowErrorType, np.ndarray]
"""For each reason the positions that are rejected, as a mask."""

INTEGERS = (Primitive.TINYINT, Primitive.SMALLINT, Primitive.INT, Primitive.BIGINT)
FLOATS = (Primitive.FLOAT, Primitive.DOUBLE)
_TIMESTAMPS = (Primitive.TIMESTAMP, Primitive.TIMESTAMP_NTZ)

_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_HOUR, _SIXTY = "([01][0-9]|2[0-3])", "[0-5][0-9]"
_TIME = f"[ T]{_HOUR}(:{_SIXTY}(:{_SIXTY}([.][0-9]+)?)?)?"
_ZONE = f"(Z|[+-]{_HOUR}(:?{_SIXTY})?)"
_FORMS: dict[Primitive, str] = {
    **dict.fromkeys(INTEGERS, "^-?[0-9]+$"),
    **dict.fromkeys(FLOATS, r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$|^[+-]?(?i:inf|infinity|nan)$"),
    Primitive.BOOLEAN: "^(?i:true|false|0|1)$",
    Primitive.DATE: f"^{_DATE}$",
    Primitive.TIMESTAMP: f"^{_DATE}{_TIME}{_ZONE}$",
    Primitive.TIMESTAMP_NTZ: f"^{_DATE}({_TIME})?$",
}
_WHOLE = "^[+-]?[0-9]+$"
_FINER = "[.][0-9]{7}"
_ZEROS_AFTER_MICROSECONDS = r"([.][0-9]{6})0+(Z|[+-].*)?$"
_DIGITS_OF_INT64 = 19
# From here on, not every whole number is a value of the type.
_FIRST_GAP = {Primitive.FLOAT: 2.0**24, Primitive.DOUBLE: 2.0**53}


def read_text(text: pa.Array, delta_type: Primitive, *, trim: bool = False) -> tuple[pa.Array, Misfits]:
    """Read text as the values of a type.

    Args:
        text: An array of strings.
        delta_type: A number, BOOLEAN, DATE, TIMESTAMP or TIMESTAMP_NTZ.
        trim: Ignore blanks around values.

    Returns:
        The values, with null where a text is rejected; and for each reason which ones are.

    Example:
        >>> values, misfits = read_text(pa.array(["7", "1e3", "300"]), Primitive.TINYINT)
        >>> values.to_pylist(), {str(reason): bad.tolist() for reason, bad in misfits.items()}
        ([7, None, None], {'invalid_text': [False, True, False], 'out_of_range': [False, False, True]})
    """
    misfits: Misfits = {}
    values = None
    if not (delta_type in INTEGERS and _may_be_hexadecimal(text)):
        with contextlib.suppress(pa.ArrowInvalid):
            values = _as_values(text, delta_type)
    if values is None:
        text = pc.utf8_trim_whitespace(text) if trim else text
        text = _fitting(text, delta_type, misfits)
        values = _cast(text, delta_type, misfits)
    if delta_type in _FIRST_GAP:
        values = _unrounded(values, text, _FIRST_GAP[delta_type], misfits)
    return values, misfits


def _may_be_hexadecimal(text: pa.Array) -> bool:
    """Return whether a byte is above the digits, as in ``0x10``."""
    _, offsets, data = text.buffers()
    if data is None or not len(text):
        return False
    width = np.dtype(np.int64 if pa.types.is_large_string(text.type) else np.int32)
    start, stop = np.frombuffer(offsets, width, text.offset + len(text) + 1)[[text.offset, text.offset + len(text)]]
    return bool(np.frombuffer(data, np.uint8)[start:stop].max(initial=0) > ord("9"))


def _fitting(text: pa.Array, delta_type: Primitive, misfits: Misfits) -> pa.Array:
    """Return the text that has the form of the type and is within its range; the rest is null."""
    form = _FORMS[delta_type]
    text = _without(text, ~_matches(text, form) & np.asarray(text.is_valid()), RowErrorType.INVALID_TEXT, misfits)
    if text.null_count == len(text):
        return text
    if delta_type in INTEGERS:
        return _without(text, _too_large(text, delta_type), RowErrorType.OUT_OF_RANGE, misfits)
    if delta_type is Primitive.DATE or delta_type in _TIMESTAMPS:
        text = _without(text, _no_day(text), RowErrorType.INVALID_TEXT, misfits)
    if delta_type in _TIMESTAMPS:
        text = pc.replace_substring_regex(text, _ZEROS_AFTER_MICROSECONDS, r"\1\2")
        text = _without(text, _matches(text, _FINER), RowErrorType.INEXACT, misfits)
    return text


def _cast(text: pa.Array, delta_type: Primitive, misfits: Misfits) -> pa.Array:
    try:
        return _as_values(text, delta_type)
    except pa.ArrowInvalid:  # text that has its form, and that Arrow rejects all the same
        bad = np.zeros(len(text), dtype=bool)
        bad[list(_rejected(text, delta_type))] = True
        return _as_values(_without(text, bad, RowErrorType.INVALID_TEXT, misfits), delta_type)


def _as_values(text: pa.Array, delta_type: Primitive) -> pa.Array:
    if delta_type is Primitive.FLOAT:  # from a DOUBLE, as in JSON and dicts, so that all three round alike
        text = text.cast(canonical_type(Primitive.DOUBLE))
    return text.cast(canonical_type(delta_type))


def _rejected(text: pa.Array, delta_type: Primitive, first: int = 0) -> Iterator[int]:
    """Yield the positions that a cast rejects, by halving."""
    try:
        _as_values(text, delta_type)
    except pa.ArrowInvalid:
        half = len(text) // 2
        if not half:
            yield first
            return
        yield from _rejected(text.slice(0, half), delta_type, first)
        yield from _rejected(text.slice(half), delta_type, first + half)


def _unrounded(values: pa.Array, text: pa.Array, gap: float, misfits: Misfits) -> pa.Array:
    """Reject numbers that are too large for the type, and whole numbers that it rounds."""
    bounds = pc.min_max(values)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low is None or (low > -gap and high < gap):
        return values
    large = _marked(pc.greater_equal(pc.abs(values), gap))
    infinite = large & _marked(pc.is_inf(values))
    too_large = infinite & ~_marked(pc.match_substring(text, "inf", ignore_case=True))
    rounds = large & ~infinite & _matches(text, _WHOLE)
    for position in np.flatnonzero(rounds).tolist():
        digits = text[position].as_py().lstrip("+-0")  # Python reads at most 4,300
        rounds[position] = int(digits or 0) != int(abs(values[position].as_py()))
    values = _without(values, too_large, RowErrorType.OUT_OF_RANGE, misfits)
    return _without(values, rounds, RowErrorType.INEXACT, misfits)


def _too_large(text: pa.Array, delta_type: Primitive) -> np.ndarray:
    bits = canonical_type(delta_type).bit_width
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    long = _marked(pc.greater_equal(pc.utf8_length(text), _DIGITS_OF_INT64))
    bad = np.zeros(len(text), dtype=bool)
    for position in np.flatnonzero(long).tolist():
        digits = text[position].as_py().lstrip("-0")
        negative = text[position].as_py().startswith("-")
        bad[position] = len(digits) > _DIGITS_OF_INT64 or not low <= int(f"{'-' * negative}{digits or 0}") <= high
    short = pc.if_else(pa.array(long), pa.scalar("0", text.type), text).cast(pa.int64())
    return bad | _marked(pc.or_(pc.less(short, low), pc.greater(short, high)))


def _no_day(text: pa.Array) -> np.ndarray:
    """Mark dates that no calendar has, such as 30 February."""
    days = pc.utf8_slice_codeunits(text, 0, 10).dictionary_encode()
    known = np.array([_is_day(day) for day in days.dictionary.to_pylist()], dtype=bool)
    if not len(known):
        return np.zeros(len(text), dtype=bool)
    return ~known[np.asarray(days.indices.fill_null(0))] & np.asarray(text.is_valid())


def _is_day(text: str) -> bool:
    year, month, day = map(int, text.split("-"))
    # Year 0 is left to the check of the table's range; it was a leap year.
    return 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year or 4, month)[1]


def _matches(text: pa.Array, pattern: str) -> np.ndarray:
    return _marked(pc.match_substring_regex(text, pattern))


def _marked(mask: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(mask, False))


def _without(array: pa.Array, bad: np.ndarray, reason: RowErrorType, misfits: Misfits) -> pa.Array:
    if not bad.any():
        return array
    misfits[reason] = misfits[reason] | bad if reason in misfits else bad
    return pc.if_else(pa.array(bad), pa.scalar(None, array.type), array)
