"""Conversions of single values that all wire formats share."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.emulator.rows.columns import BadValueError, Values
from beam_zerobus.schema import Decimal, DeltaType, Primitive, RowErrorType
from beam_zerobus.schema.casts.decimals import exact_decimal, from_text
from beam_zerobus.variant import Problem
from beam_zerobus.variant.parse import parse_all

__all__ = ["check_years", "decimals", "variants"]

_FIRST_DAY = (dt.date(1, 1, 1) - dt.date(1970, 1, 1)).days
_LAST_DAY = (dt.date(9999, 12, 31) - dt.date(1970, 1, 1)).days
_DAY = 86_400_000_000
_DAYS = (pa.int32(), _FIRST_DAY, _LAST_DAY)
_MICROSECONDS = (pa.int64(), _FIRST_DAY * _DAY, (_LAST_DAY + 1) * _DAY - 1)
_RANGES = {Primitive.DATE: _DAYS, Primitive.TIMESTAMP: _MICROSECONDS, Primitive.TIMESTAMP_NTZ: _MICROSECONDS}


def decimals(values: Values, arrow_type: pa.DataType) -> pa.Array:
    """Return decimals from text; more digits than the type holds are an error, never rounded.

    Raises:
        ValueError: A text is not a number of the type.
    """
    delta_type = Decimal(arrow_type.precision, arrow_type.scale)
    text = pa.array(values, pa.string())
    converted = from_text(text, delta_type)
    if converted is not None:
        return converted
    found = [None if value is None else exact_decimal(value, delta_type) for value in text.to_pylist()]
    if any(isinstance(value, RowErrorType) for value in found):
        raise ValueError("not a number of the type")
    return pa.array(found, arrow_type)


def variants(values: Values, path: str) -> pa.Array:
    """Return texts as they are; each must be JSON, without the same key twice in an object.

    Raises:
        BadValueError: One is not.
    """
    if any(isinstance(value, bytes) for value in values):  # protobuf's form of text that is not UTF-8
        raise BadValueError(path, "is VARIANT and has a value that is not UTF-8")
    problems: dict[int, Problem] = {}
    parse_all([value.encode() for value in values if value is not None], problems)
    if problems:
        raise BadValueError(path, f"is VARIANT and has a value that {problems[min(problems)].value}")
    return pa.array(values, pa.large_string())


def check_years(delta_type: DeltaType, array: pa.Array, path: str) -> pa.Array:
    """Return the array; reject a date or timestamp outside the years 1 to 9999, which Delta readers cannot show.

    Raises:
        BadValueError: There is one.
    """
    if isinstance(delta_type, Primitive) and delta_type in _RANGES:
        number, first, last = _RANGES[delta_type]
        found = pc.min_max(array.view(number))
        low, high = found["min"].as_py(), found["max"].as_py()
        if low is not None and (low < first or high > last):
            raise BadValueError(path, f"is {delta_type} and has a value outside the years 1 to 9999")
    return array
