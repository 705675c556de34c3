"""The text of a CSV column as values of a table's column."""

from __future__ import annotations

import base64
import binascii
import calendar
import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus import ConversionError
from beam_zerobus.schema import Decimal, DeltaType, Primitive, RowErrorType
from beam_zerobus.schema.arrow import canonical_type
from beam_zerobus.schema.reasons import Place, Reason

__all__ = ["Column", "RawText"]

_Cast: TypeAlias = Callable[[pa.Array], pa.Array]

_WHOLE_NUMBER = "a whole number in its range"
_NUMBER = "a number in its range"
_WANTED: dict[Primitive, str] = {
    Primitive.TINYINT: _WHOLE_NUMBER,
    Primitive.SMALLINT: _WHOLE_NUMBER,
    Primitive.INT: _WHOLE_NUMBER,
    Primitive.BIGINT: _WHOLE_NUMBER,
    Primitive.FLOAT: _NUMBER,
    Primitive.DOUBLE: _NUMBER,
    Primitive.BOOLEAN: "true or false",
    Primitive.DATE: "a date of the form YYYY-MM-DD",
    Primitive.TIMESTAMP: "an ISO 8601 timestamp with a zone, such as 2026-01-31T12:00:00Z",
    Primitive.TIMESTAMP_NTZ: "an ISO 8601 timestamp without a zone",
    Primitive.BINARY: "base64",
}

_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_HOUR, _SIXTY = "([01][0-9]|2[0-3])", "[0-5][0-9]"
_MICROSECONDS = "{1,6}"
_TIME = f"[ T]{_HOUR}(:{_SIXTY}(:{_SIXTY}([.][0-9]{_MICROSECONDS})?)?)?"
_ZONE = f"(Z|[+-]{_HOUR}(:?{_SIXTY})?)"
_WHOLE = "^[+-]?[0-9]+$"
# What Arrow's casts take; text that does not match is rejected without trying a cast, which fails for a whole column.
_INTEGERS = (Primitive.TINYINT, Primitive.SMALLINT, Primitive.INT, Primitive.BIGINT)
_FORMS: dict[Primitive, str] = {
    **dict.fromkeys(_INTEGERS, "^-?[0-9]+$"),
    **dict.fromkeys(
        (Primitive.FLOAT, Primitive.DOUBLE),
        r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$|^[+-]?(?i:inf|infinity|nan)$",
    ),
    Primitive.BOOLEAN: "^(?i:true|false|0|1)$",
    Primitive.DATE: f"^{_DATE}$",
    Primitive.TIMESTAMP: f"^{_DATE}{_TIME}{_ZONE}$",
    Primitive.TIMESTAMP_NTZ: f"^{_DATE}({_TIME})?$",
}
_ZEROS_AFTER_MICROSECONDS = r"([.][0-9]{6})0+(Z|[+-].*)?$"
_DIGITS_OF_INT64 = 19
# From here on, not every whole number is a value of the type.
_FIRST_GAP = {Primitive.FLOAT: 2.0**24, Primitive.DOUBLE: 2.0**53}


class RawText(bytes):
    """Text of a CSV value that is not UTF-8, as in the file."""

    def __str__(self) -> str:
        return self.decode(errors="backslashreplace")


class Column:
    """Makes the text of a column values of the table's type.

    Args:
        name: The column's name in the file.
        delta_type: The type of the table's column.
        path: The file, for messages.

    Attributes:
        name: The column's name in the file.
        no_values: An empty array of the type that `typed` returns.

    Raises:
        ConversionError: CSV cannot represent the type.
    """

    def __init__(self, name: str, delta_type: DeltaType, path: str) -> None:
        self.name = name
        self._type = delta_type
        self._about = f"column {name!r} is {delta_type}: a value"
        text = isinstance(delta_type, Decimal) or delta_type in (Primitive.STRING, Primitive.VARIANT)
        if not text and not isinstance(delta_type, Primitive):
            raise ConversionError(
                f"{path}, column {name!r} is {delta_type}, which CSV cannot represent: use JSON lines or Parquet"
            )
        self._cast: _Cast
        if text:
            self._cast = _to_text  # the sink reads a decimal's digits itself
        elif delta_type is Primitive.BINARY:
            self._cast = _to_bytes
        else:
            self._cast = partial(_to, canonical_type(delta_type))
        self._form = _FORMS.get(delta_type, "") if isinstance(delta_type, Primitive) else ""
        self.no_values = self._cast(pa.array([], pa.binary()))

    @property
    def is_text(self) -> bool:
        """Whether the text itself is what the sink or a replay reads."""
        return self._type not in (*_INTEGERS, *_FIRST_GAP, Primitive.BOOLEAN)

    def typed(self, text: pa.Array, place: Place) -> pa.Array:
        """Return the values; those that the type cannot hold exactly are rejected and become null.

        Args:
            text: The column as bytes.
            place: Where rejected rows are gathered.
        """
        try:
            if self._type in _INTEGERS and _may_be_hexadecimal(text):
                raise pa.ArrowInvalid
            values = self._cast(text)
        except pa.ArrowInvalid:
            values, text = self._one_by_one(text, place)
        if self._type in _FIRST_GAP:
            bad = _rounded(values, text, _FIRST_GAP[self._type])
            if bad is not None:
                place.reject(bad[0], self._misfit())
                place.reject(
                    bad[1],
                    self._reason(RowErrorType.INEXACT, "a whole number that it would round; use BIGINT or DECIMAL"),
                )
                values = pc.if_else(pa.array(bad[0] | bad[1]), pa.scalar(None, values.type), values)
        return values

    def _one_by_one(self, text: pa.Array, place: Place) -> tuple[pa.Array, pa.Array]:
        """Reject what does not fit; return the other values and their text."""
        if self._type is Primitive.BINARY:
            bad = np.array([not _is_base64(value) for value in text.to_pylist()], dtype=bool)
            return self._without(text, bad, self._misfit(), place)
        try:
            values = _to_text(text)
        except pa.ArrowInvalid:
            bad = np.array([not _is_utf8(value) for value in text.to_pylist()], dtype=bool)
            reason = self._reason(RowErrorType.INVALID_UTF8, "not UTF-8")
            values, text = self._without(text, bad, reason, place, _to_text)
        if self._cast is _to_text:
            return values, text
        trimmed = pc.utf8_trim_whitespace(values)
        if not (self._type in _INTEGERS and _has_hexadecimal(trimmed)):
            with contextlib.suppress(pa.ArrowInvalid):
                return trimmed.cast(canonical_type(self._type)), trimmed
        if self._type in (Primitive.TIMESTAMP, Primitive.TIMESTAMP_NTZ):
            trimmed = pc.replace_substring_regex(trimmed, _ZEROS_AFTER_MICROSECONDS, r"\1\2")
            finer = self._form.replace(_MICROSECONDS, "{7,}")
            fine = _marked(pc.match_substring_regex(trimmed, finer)) & ~_marked(
                pc.match_substring_regex(trimmed, self._form)
            )
            reason = self._reason(RowErrorType.INEXACT, "finer than microseconds; round it")
            trimmed, _ = self._without(trimmed, fine, reason, place, _unchanged)
        bad = ~_marked(pc.match_substring_regex(trimmed, self._form)) & ~_marked(trimmed.is_null())
        trimmed, _ = self._without(trimmed, bad, self._misfit(), place, _unchanged)
        bad = _out_of_range(trimmed, self._type)
        trimmed, _ = self._without(trimmed, bad, self._misfit(), place, _unchanged)
        try:
            return trimmed.cast(canonical_type(self._type)), trimmed
        except pa.ArrowInvalid:  # text that matches its form, and that Arrow rejects all the same
            bad = np.zeros(len(trimmed), dtype=bool)
            bad[list(_misfits(trimmed, canonical_type(self._type)))] = True
            return self._without(trimmed, bad, self._misfit(), place, partial(_to, canonical_type(self._type)))

    def _without(
        self, text: pa.Array, bad: np.ndarray, reason: Reason, place: Place, cast: _Cast | None = None
    ) -> tuple[pa.Array, pa.Array]:
        if bad.any():
            place.reject(bad, reason)
            text = pc.if_else(pa.array(bad), pa.scalar(None, text.type), text)
        return (cast or self._cast)(text), text

    def _reason(self, kind: RowErrorType, what: str) -> Reason:
        remedies = {RowErrorType.INVALID_UTF8: "; encode the file as UTF-8", RowErrorType.INEXACT: ""}
        return Reason(kind, f"{self._about} is {what}{remedies.get(kind, '')}")

    def _misfit(self) -> Reason:
        wanted = _WANTED[self._type] if isinstance(self._type, Primitive) else ""
        message = f"{self._about} is not {wanted}; correct the row, or use STRING in the table"
        return Reason(RowErrorType.INVALID_TEXT, message)


def _may_be_hexadecimal(text: pa.Array) -> bool:
    """Return whether a byte is above the digits, as in ``0x10``, which Arrow reads and this module rejects."""
    _, offsets, data = text.buffers()
    if data is None or not len(text):
        return False
    start, stop = np.frombuffer(offsets, np.int32)[[text.offset, text.offset + len(text)]]
    return bool(np.frombuffer(data, np.uint8)[start:stop].max(initial=0) > ord("9"))


def _has_hexadecimal(text: pa.Array) -> bool:
    return any(pc.any(pc.match_substring(text, prefix)).as_py() for prefix in ("0x", "0X"))


def _unchanged(text: pa.Array) -> pa.Array:
    return text


def _marked(mask: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(mask, False))


def _is_utf8(value: bytes | None) -> bool:
    try:
        return value is None or value.decode() is not None
    except UnicodeDecodeError:
        return False


def _is_base64(value: bytes | None) -> bool:
    try:
        return value is None or base64.b64decode(value, validate=True) is not None
    except binascii.Error:
        return False


def _out_of_range(text: pa.Array, delta_type: DeltaType) -> np.ndarray:
    """Mark what has the form of its type, but no value in it: a large number, 30 February."""
    if delta_type in (Primitive.DATE, Primitive.TIMESTAMP, Primitive.TIMESTAMP_NTZ):
        days = pc.utf8_slice_codeunits(text, 0, 10).dictionary_encode()
        known = np.array([_is_day(day) for day in days.dictionary.to_pylist()], dtype=bool)
        if not len(known):
            return np.zeros(len(text), dtype=bool)
        return ~known[np.asarray(days.indices.fill_null(0))] & _marked(text.is_valid())
    if delta_type in _FIRST_GAP or delta_type is Primitive.BOOLEAN:
        return np.zeros(len(text), dtype=bool)
    bits = canonical_type(delta_type).bit_width
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    long = _marked(pc.greater_equal(pc.utf8_length(text), _DIGITS_OF_INT64))
    bad = np.zeros(len(text), dtype=bool)
    for position in np.flatnonzero(long).tolist():
        digits = text[position].as_py().lstrip("-0")
        negative = text[position].as_py().startswith("-")
        bad[position] = len(digits) > _DIGITS_OF_INT64 or not low <= int(f"{'-' * negative}{digits or 0}") <= high
    short = pc.if_else(pa.array(long), pa.scalar("0"), text).cast(pa.int64())
    return bad | _marked(pc.or_(pc.less(short, low), pc.greater(short, high)))


def _is_day(text: str) -> bool:
    year, month, day = map(int, text.split("-"))
    # Year 0 is for the sink to reject, with the table's range; it was a leap year.
    return 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year or 4, month)[1]


def _rounded(values: pa.Array, text: pa.Array, gap: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Mark numbers too large for the type, and whole numbers that it rounds; None if there are none."""
    bounds = pc.min_max(values)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low is None or (low > -gap and high < gap):
        return None
    large = _marked(pc.greater_equal(pc.abs(values), gap))
    trimmed = pc.utf8_trim_whitespace(_to_text(text))
    infinite = large & _marked(pc.is_inf(values))
    too_large = infinite & ~_marked(pc.match_substring(trimmed, "inf", ignore_case=True))
    rounds = large & ~infinite & _marked(pc.match_substring_regex(trimmed, _WHOLE))
    for position in np.flatnonzero(rounds).tolist():
        rounds[position] = int(trimmed[position].as_py()) != int(values[position].as_py())
    return (too_large, rounds) if too_large.any() or rounds.any() else None


def _misfits(text: pa.Array, target: pa.DataType, first: int = 0) -> Iterator[int]:
    """Yield the positions that a cast rejects, by halving."""
    try:
        text.cast(target)
    except pa.ArrowInvalid:
        half = len(text) // 2
        if not half:
            yield first
            return
        yield from _misfits(text.slice(0, half), target, first)
        yield from _misfits(text.slice(half), target, first + half)


def _to_text(text: pa.Array) -> pa.Array:
    return text.cast(pa.string())


def _to(target: pa.DataType, text: pa.Array) -> pa.Array:
    return text.cast(pa.string()).cast(target)


def _to_bytes(text: pa.Array) -> pa.Array:
    try:
        values: list[Any] = [
            None if value is None else base64.b64decode(value, validate=True) for value in text.to_pylist()
        ]
    except binascii.Error as error:
        raise pa.ArrowInvalid(str(error)) from error
    return pa.array(values, pa.binary())
