"""Numbers of a JSON text: which Variant type holds each without a change.

| number in the text | Variant |
| --- | --- |
| without fraction and exponent | int8, int16, int32 or int64, the smallest; then decimal16 |
| with a fraction | decimal4, decimal8 or decimal16, the smallest, with every digit of the text |
| with an exponent, and -0.0 | double; then decimal16 |
| anything else | double; then no Variant |

A double is used only if the shortest text of that double is the number in the text again.
"""

from __future__ import annotations

import math
import struct
from decimal import Decimal, InvalidOperation
from typing import NoReturn

from beam_zerobus.variant.layout import DECIMAL4, DECIMAL8, DECIMAL16, DOUBLE, INT8, INT16, INT32, INT64
from beam_zerobus.variant.problems import Problem, VariantError

__all__ = ["Number", "encode_double", "encode_integer", "encode_number"]

_MAX_DIGITS = 38
_INTEGERS = ((INT8, 1), (INT16, 2), (INT32, 4), (INT64, 8))
_DECIMALS = ((DECIMAL4, 4, 9), (DECIMAL8, 8, 18), (DECIMAL16, 16, _MAX_DIGITS))


class Number(str):
    """A number as the JSON text has it."""

    __slots__ = ()


def encode_integer(value: int) -> bytes:
    """Return a whole number.

    Raises:
        VariantError: It is not exact.

    Example:
        >>> encode_integer(300).hex(" ")
        '10 2c 01'
    """
    for header, width in _INTEGERS:
        if -(1 << 8 * width - 1) <= value < 1 << 8 * width - 1:
            return bytes([header]) + value.to_bytes(width, "little", signed=True)
    return _decimal(value, 0) or _exact_double(str(value))


def encode_double(value: float) -> bytes:
    """Return a double."""
    return bytes([DOUBLE]) + struct.pack("<d", value)


def encode_number(token: str) -> bytes:
    """Return a number with a fraction, an exponent or very many digits.

    Raises:
        VariantError: It is not exact.

    Example:
        >>> encode_number("1.50").hex(" ")
        '20 02 96 00 00 00'
    """
    try:
        number = Decimal(token)
    except InvalidOperation:  # an exponent of more than 18 digits
        raise VariantError(Problem.INEXACT) from None
    negative_zero = number.is_signed() and not number
    if negative_zero or "e" in token or "E" in token:
        try:
            return _exact_double(token)
        except VariantError:
            return _from_decimal(number) or _inexact()
    return _from_decimal(number) or _exact_double(token)


def _from_decimal(number: Decimal) -> bytes | None:
    sign, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int) or len(digits) > _MAX_DIGITS or abs(exponent) > _MAX_DIGITS:
        return None
    unscaled = int("".join(map(str, digits)))
    if exponent > 0:
        unscaled, exponent = unscaled * 10**exponent, 0
    return _decimal(-unscaled if sign else unscaled, -exponent)


def _decimal(unscaled: int, scale: int) -> bytes | None:
    for header, width, digits in _DECIMALS:
        if abs(unscaled) < 10**digits and scale <= digits:
            return bytes([header, scale]) + unscaled.to_bytes(width, "little", signed=True)
    return None


def _exact_double(token: str) -> bytes:
    value = float(token)
    if math.isinf(value) or Decimal(repr(value)) != Decimal(token):
        _inexact()
    return encode_double(value)


def _inexact() -> NoReturn:
    raise VariantError(Problem.INEXACT)
