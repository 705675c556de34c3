"""All values of a column at once, where pyarrow converts them exactly; None where they must be converted singly."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.batching.json_objects import FIRST_LOST, JsonNumber, LostDigitsError
from beam_zerobus.batching.single_times import has_usual_offset
from beam_zerobus.schema import Decimal
from beam_zerobus.schema.casts.decimals import from_integers, from_text
from beam_zerobus.schema.time_rules import TimeRules, in_zone

__all__ = [
    "NUMBERS_OR_NONE",
    "TEXT_OR_NONE",
    "checked",
    "decimals",
    "integers",
    "json_floats",
    "never",
    "singles",
    "timestamps",
    "timestamps_ntz",
]

_Bulk: TypeAlias = Callable[[list[Any], set[type]], list[Any] | pa.Array | None]

_NONE = type(None)
_NAIVE = pa.timestamp("us")
_UTC = pa.timestamp("us", "UTC")
_MANY = 1_000  # numpy's constructors are faster from about as many values
TEXT_OR_NONE: frozenset[type] = frozenset({str, _NONE})
NUMBERS_OR_NONE: frozenset[type] = frozenset({float, int, np.float64, np.float32, _NONE})
_DECIMAL_OR_NONE: frozenset[type] = frozenset({decimal.Decimal, JsonNumber, int, _NONE})
_JSON_NUMBERS_OR_NONE: frozenset[type] = frozenset({float, int, JsonNumber, _NONE})
_INT_OR_NONE: frozenset[type] = frozenset({int, _NONE})
_INTEGERS_OR_NONE = _INT_OR_NONE | frozenset(
    {np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64}
)
_FLOAT_OR_NONE: frozenset[type] = frozenset({float, _NONE})
_DATETIME_OR_NONE: frozenset[type] = frozenset({dt.datetime, _NONE})


def never(_values: list[Any], _kinds: set[type]) -> None:
    """Return None: the values are converted singly."""
    return


def integers(target: pa.DataType, values: list[Any], kinds: set[type]) -> list[Any] | pa.Array | None:
    """Convert integers, and floats that are whole numbers."""
    if kinds <= _FLOAT_OR_NONE and float in kinds:
        return pa.array(values, pa.float64()).cast(target)  # fails unless every value is exact
    if kinds == {int} and len(values) >= _MANY:
        return pa.array(np.fromiter(values, np.int64, len(values)), target)  # 1.5 times as fast as pyarrow alone
    return values if kinds <= _INTEGERS_OR_NONE else None


def checked(bulk: _Bulk) -> _Bulk:
    """Return a conversion of JSON's whole numbers, which rejects floats that are whole only because digits were lost.

    Its function raises `LostDigitsError`.
    """

    def convert(values: list[Any], kinds: set[type]) -> list[Any] | pa.Array | None:
        if float in kinds and any(type(value) is float and value.is_integer() for value in values):
            raise LostDigitsError
        return bulk(values, kinds)

    return convert


def decimals(values: list[Any], kinds: set[type], delta_type: Decimal) -> pa.Array | None:
    """Convert Decimals, integers or decimal text."""
    if kinds <= _INT_OR_NONE:
        return from_integers(pa.array(values, pa.int64()), delta_type)
    # As text, because pyarrow does not convert every Decimal with many digits exactly.
    if kinds <= _DECIMAL_OR_NONE:
        values, kinds = [None if value is None else str(value) for value in values], {str}
    return from_text(pa.array(values, pa.string()), delta_type) if kinds <= TEXT_OR_NONE else None


def singles(values: list[Any], kinds: set[type]) -> pa.Array | None:
    """Convert numbers to FLOAT."""
    if not kinds <= NUMBERS_OR_NONE:
        return None
    array = pa.array(values, pa.float32())
    # Infinity may be a value, or pyarrow's result for a number that is too large.
    return None if pc.any(pc.is_inf(array)).as_py() else array


def json_floats(target: pa.DataType, values: list[Any], kinds: set[type]) -> pa.Array | None:
    """Convert JSON's numbers to FLOAT or DOUBLE.

    Raises:
        LostDigitsError: A float may have been a whole number with other digits.
    """
    if not kinds <= _JSON_NUMBERS_OR_NONE:
        return None
    numbers = values
    if JsonNumber in kinds:
        numbers = [value.number() if type(value) is JsonNumber else value for value in values]
    array = pa.array(numbers, target)
    bounds = pc.min_max(array)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low is None or (low > -FIRST_LOST and high < FIRST_LOST):
        return array
    if float in kinds and any(type(value) is float and abs(value) >= FIRST_LOST for value in values):
        raise LostDigitsError
    return None if pc.any(pc.is_inf(array)).as_py() else array


def timestamps(values: list[Any], kinds: set[type], times: TimeRules) -> list[Any] | pa.Array | None:
    """Convert datetimes, objects with `micros`, or numbers in the unit that they count."""
    zone = times.assume_timezone
    if kinds <= _DATETIME_OR_NONE:
        zones = _zones(values)
        if None not in zones:
            is_exact = all(map(_has_usual_offsets, zones)) or all(map(has_usual_offset, filter(None, values)))
            return values if is_exact else None
        return _clear(pa.array(values, _NAIVE), zone) if zone is not None and zones == {None} else None
    if kinds <= _INT_OR_NONE:
        return _numbers(values, times, _UTC)
    if all(kind is _NONE or hasattr(kind, "micros") for kind in kinds):
        return [None if value is None else value.micros for value in values]
    return None


def timestamps_ntz(values: list[Any], kinds: set[type], times: TimeRules) -> list[Any] | pa.Array | None:
    """Convert datetimes without a time zone, or numbers in the unit that they count."""
    if kinds <= _DATETIME_OR_NONE:
        return values if _zones(values) <= {None} else None
    return _numbers(values, times, _NAIVE) if kinds <= _INT_OR_NONE else None


def _clear(naive: pa.Array, zone: str) -> pa.Array | None:
    moments, unclear = in_zone(naive, zone)
    return None if unclear.any() else moments


def _numbers(values: list[Any], times: TimeRules, target: pa.DataType) -> pa.Array:
    unit = pa.timestamp(times.epoch_unit or "us", target.tz)
    return pa.array(values, pa.int64()).cast(unit).cast(target)


def _has_usual_offsets(zone: dt.tzinfo) -> bool:
    """Return whether all offsets of a zone from UTC are usual ones; False where each must be looked at."""
    if type(zone) is dt.timezone:
        return not zone.utcoffset(None).microseconds
    return isinstance(zone, ZoneInfo)


def _zones(values: list[Any]) -> set[Any]:
    return {value.tzinfo for value in values if value is not None}
