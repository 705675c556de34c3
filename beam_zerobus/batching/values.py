"""Single Python values: what each Delta type takes, and why it does not take the rest.

A column whose values are all of the `direct` types goes to pyarrow as it is. Any other column is put right as a whole
by `bulk`, or value by value by `one`. The division is needed because pyarrow by itself cuts 1.5 to 1 for an integer
column, takes a UUID for a number and forgets time zones.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import decimal
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_zerobus.schema import Decimal, Primitive, RowErrorType
from beam_zerobus.schema.casts.decimals import exact_decimal, from_integers, from_text

__all__ = ["JsonNumber", "Leaf", "MisfitError", "leaf"]


class JsonNumber(decimal.Decimal):
    """A number with a fraction, read from JSON: exact for DECIMAL, and a plain float for FLOAT and DOUBLE."""


_NONE = type(None)
_NUMPY_INTEGERS: frozenset[type] = frozenset(
    {np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64}
)
_MANY = 1_000  # values from which on numpy's constructors pay off
_LARGEST_FLOAT = float(np.finfo(np.float32).max)
_TEXT_OR_NONE: frozenset[type] = frozenset({str, _NONE})
_DECIMAL_OR_NONE: frozenset[type] = frozenset({decimal.Decimal, JsonNumber, _NONE})
_INT_OR_NONE: frozenset[type] = frozenset({int, _NONE})
_INTEGERS_OR_NONE = _INT_OR_NONE | _NUMPY_INTEGERS
_DATETIME_OR_NONE: frozenset[type] = frozenset({dt.datetime, _NONE})
_NUMBERS_OR_NONE: frozenset[type] = frozenset({float, int, np.float64, np.float32, _NONE})
_MISSING_TYPES = frozenset({"NaTType", "NAType"})


class MisfitError(Exception):
    """A value does not fit its column.

    Attributes:
        error_type: The name to group by.
        what: The end of the sentence "a value of Python type x ...", with the remedy.
    """

    def __init__(self, what: str, error_type: RowErrorType = RowErrorType.WRONG_TYPE) -> None:
        super().__init__(what)
        self.what = what
        self.error_type = error_type


@dataclass(frozen=True, slots=True)
class Leaf:
    """How the values of a type without children become Arrow.

    Attributes:
        direct: Python types whose every value pyarrow converts exactly, or rejects; None where it does so with all.
        bulk: Given all values and the set of their types, returns what pyarrow converts exactly (or an array made of
            them), and None where the values must be looked at one by one. It may raise what pyarrow raises.
        one: Turns a value of another type into one that pyarrow converts exactly, or raises `MisfitError`.
    """

    direct: frozenset[type] | None
    bulk: Callable[[list[Any], set[type]], list[Any] | pa.Array | None]
    one: Callable[[Any], Any]


def leaf(delta_type: Primitive | Decimal, *, from_json: bool) -> Leaf:
    """Return how values of the type are taken.

    Args:
        delta_type: What the column holds.
        from_json: The values were read from JSON, which has no bytes and no decimals of its own.

    Example:
        >>> leaf(Primitive.INT, from_json=False).one(1.5)
        Traceback (most recent call last):
        beam_zerobus.batching.values.MisfitError: does not fit; pass an int
    """
    if isinstance(delta_type, Decimal):
        return Leaf(
            frozenset({_NONE}),
            lambda values, kinds: _bulk_decimal(values, kinds, delta_type),
            _present(lambda value: _decimal(value, delta_type)),
        )
    if delta_type is Primitive.BINARY and from_json:
        return Leaf(frozenset({_NONE}), _no_bulk, _present(_base64_text))
    return _LEAVES[delta_type]


def _present(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Pass null on, in the forms of Python and pandas, and look inside enum members."""

    def one(value: Any) -> Any:
        if isinstance(value, Enum):
            value = value.value
        if value is None or type(value).__name__ in _MISSING_TYPES:
            return None
        return convert(value)

    return one


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)


def _integer(value: Any) -> int:
    if _is_integer(value):
        return int(value)
    raise MisfitError("does not fit; pass an int")


def _float(value: Any) -> float | int:
    if isinstance(value, float | np.floating | JsonNumber):
        return float(value)
    if _is_integer(value):
        return int(value)
    raise MisfitError("does not fit; pass a float")


def _single(value: Any) -> float | int:
    number = _float(value)
    if isinstance(number, float) and math.isfinite(number) and abs(number) > _LARGEST_FLOAT:
        raise MisfitError(
            "is larger than FLOAT can be; correct the row, or use DOUBLE in the table", RowErrorType.OUT_OF_RANGE
        )
    return number


def _boolean(value: Any) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise MisfitError("does not fit; pass a bool")


def _text(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise MisfitError(
                "is not UTF-8; decode it first, or use BINARY in the table", RowErrorType.INVALID_UTF8
            ) from None
    if not isinstance(value, str):
        raise MisfitError("does not fit; pass a str")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MisfitError("holds half a surrogate pair; correct the row", RowErrorType.INVALID_UTF8) from None
    return str(value)


def _variant(value: Any) -> str:
    """Take text as JSON text, and turn anything else that JSON can hold into it."""
    if isinstance(value, str | bytes | bytearray | memoryview):
        return _text(value)
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"), default=_json_number)
    except (TypeError, ValueError, RecursionError):
        raise MisfitError("cannot be written as JSON; pass JSON text, or dicts, lists, numbers and text") from None


def _json_number(value: Any) -> float:
    if isinstance(value, JsonNumber):
        return float(value)
    raise TypeError


def _binary(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise MisfitError("does not fit; pass bytes")


def _base64_text(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise MisfitError(
                "is no base64, which JSON needs for BINARY; correct the row", RowErrorType.INVALID_TEXT
            ) from None
    return _binary(value)


def _decimal(value: Any, delta_type: Decimal) -> decimal.Decimal:
    if _is_integer(value):
        value = int(value)
    elif not isinstance(value, decimal.Decimal | str):
        raise MisfitError("does not fit; pass a Decimal, an int, or decimal text")
    found = exact_decimal(value, delta_type)
    if isinstance(found, decimal.Decimal):
        return found
    before, behind = delta_type.precision - delta_type.scale, delta_type.scale
    raise MisfitError(
        {
            RowErrorType.OUT_OF_RANGE: f"has more than {before} digits before the point; "
            "correct the row, or use a larger precision in the table",
            RowErrorType.INEXACT: f"has more than {behind} digits behind the point; "
            "correct the row, or use a larger scale in the table",
        }.get(found, "is no plain decimal number; correct the row, or use STRING in the table"),
        found,
    )


def _date(value: Any) -> dt.date | int:
    if isinstance(value, dt.datetime):
        raise MisfitError("does not fit; pass a date, such as value.date()")
    if isinstance(value, dt.date):
        return value
    if isinstance(value, np.datetime64) and np.datetime_data(value.dtype)[0] == "D":
        return int(value.astype(np.int64))
    if isinstance(value, str):
        return _parsed(value, pa.date32(), "is no date of the form YYYY-MM-DD; correct the row")
    if _is_integer(value):
        return int(value)
    raise MisfitError("does not fit; pass a date, ISO 8601 text, or an int of days since 1970-01-01")


def _timestamp(value: Any) -> dt.datetime | int:
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise MisfitError("has no time zone; give it one, such as value.replace(tzinfo=datetime.timezone.utc)")
        return _microseconds(value)
    if isinstance(value, str):
        return _parsed(
            value,
            pa.timestamp("us", "UTC"),
            "is no ISO 8601 timestamp with a zone and at most six digits of a second; correct the row",
        )
    micros = getattr(value, "micros", value)
    if _is_integer(micros):
        return int(micros)
    raise MisfitError(
        "does not fit; pass a datetime with a time zone, a Beam Timestamp, ISO 8601 text, or an int of microseconds "
        "since 1970"
    )


def _timestamp_ntz(value: Any) -> dt.datetime | int:
    if isinstance(value, dt.datetime):
        if value.tzinfo is not None:
            raise MisfitError("has a time zone; drop it, such as value.replace(tzinfo=None), or use TIMESTAMP")
        return _microseconds(value)
    if isinstance(value, np.datetime64):
        whole = value.astype("datetime64[us]")
        if whole != value:
            raise MisfitError("is finer than microseconds; round it first", RowErrorType.INEXACT)
        return int(whole.astype(np.int64))
    if isinstance(value, str):
        return _parsed(
            value,
            pa.timestamp("us"),
            "is no ISO 8601 timestamp without a zone and with at most six digits of a second; correct the row",
        )
    if _is_integer(value):
        return int(value)
    raise MisfitError(
        "does not fit; pass a datetime without a time zone, ISO 8601 text, or an int of microseconds since 1970"
    )


def _microseconds(value: dt.datetime) -> dt.datetime:
    # pandas' timestamps are datetimes that carry nanoseconds on top.
    if getattr(value, "nanosecond", 0):
        raise MisfitError("is finer than microseconds; round it first", RowErrorType.INEXACT)
    return value


def _parsed(value: str, arrow_type: pa.DataType, what: str) -> Any:
    try:
        return pa.scalar(value).cast(arrow_type).as_py()
    except (pa.ArrowInvalid, ValueError, OverflowError):
        raise MisfitError(what, RowErrorType.INVALID_TEXT) from None


def _no_bulk(_values: list[Any], _kinds: set[type]) -> None:
    return None


def _bulk_integers(target: pa.DataType, values: list[Any], kinds: set[type]) -> list[Any] | pa.Array | None:
    if kinds == {int} and len(values) >= _MANY:
        return pa.array(np.fromiter(values, np.int64, len(values)), target)  # pyarrow alone takes half as long again
    return values if kinds <= _INTEGERS_OR_NONE else None


def _bulk_text(target: pa.DataType, values: list[Any], kinds: set[type]) -> pa.Array | None:
    return pa.array(values, pa.large_string()).cast(target) if kinds <= _TEXT_OR_NONE else None


def _bulk_decimal(values: list[Any], kinds: set[type], delta_type: Decimal) -> pa.Array | None:
    # As text: what pyarrow makes of a Decimal with many digits is not always its value.
    if kinds <= _DECIMAL_OR_NONE:
        values, kinds = [None if value is None else str(value) for value in values], {str}
    if kinds <= _TEXT_OR_NONE:
        return from_text(pa.array(values, pa.string()), delta_type)
    return from_integers(pa.array(values, pa.int64()), delta_type) if kinds <= _INT_OR_NONE else None


def _bulk_single(values: list[Any], kinds: set[type]) -> pa.Array | None:
    if not kinds <= _NUMBERS_OR_NONE:
        return None
    array = pa.array(values, pa.float32())
    # Infinity may have been given, or be what pyarrow makes of a number that is too large.
    return None if pc.any(pc.is_inf(array)).as_py() else array


def _bulk_timestamp(values: list[Any], kinds: set[type]) -> list[Any] | pa.Array | None:
    if kinds <= _DATETIME_OR_NONE:
        return values if None not in _zones(values) else None
    if kinds <= _TEXT_OR_NONE:
        return _bulk_text(pa.timestamp("us", "UTC"), values, kinds)
    if all(kind is _NONE or hasattr(kind, "micros") for kind in kinds):
        return [None if value is None else value.micros for value in values]
    return None


def _bulk_timestamp_ntz(values: list[Any], kinds: set[type]) -> list[Any] | pa.Array | None:
    if kinds <= _DATETIME_OR_NONE:
        return values if _zones(values) <= {None} else None
    return _bulk_text(pa.timestamp("us"), values, kinds)


def _zones(values: list[Any]) -> set[Any]:
    return {value.tzinfo for value in values if value is not None}


def _integers(target: pa.DataType) -> Leaf:
    return Leaf(frozenset(), partial(_bulk_integers, target), _present(_integer))


_LEAVES = {
    Primitive.TINYINT: _integers(pa.int8()),
    Primitive.SMALLINT: _integers(pa.int16()),
    Primitive.INT: _integers(pa.int32()),
    Primitive.BIGINT: _integers(pa.int64()),
    Primitive.FLOAT: Leaf(frozenset({_NONE}), _bulk_single, _present(_single)),
    Primitive.DOUBLE: Leaf(_NUMBERS_OR_NONE, _no_bulk, _present(_float)),
    Primitive.BOOLEAN: Leaf(None, _no_bulk, _present(_boolean)),
    Primitive.STRING: Leaf(None, _no_bulk, _present(_text)),
    Primitive.VARIANT: Leaf(_TEXT_OR_NONE, _no_bulk, _present(_variant)),
    Primitive.BINARY: Leaf(frozenset({bytes, bytearray, _NONE}), _no_bulk, _present(_binary)),
    Primitive.DATE: Leaf(frozenset({dt.date, int, _NONE}), partial(_bulk_text, pa.date32()), _present(_date)),
    Primitive.TIMESTAMP: Leaf(frozenset({int, _NONE}), _bulk_timestamp, _present(_timestamp)),
    Primitive.TIMESTAMP_NTZ: Leaf(frozenset({int, _NONE}), _bulk_timestamp_ntz, _present(_timestamp_ntz)),
}
