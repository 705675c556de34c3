"""How the values of each Delta type become Arrow.

A column whose values all have one of the `direct` types is passed to pyarrow as it is. Any other column is converted as
a whole by `bulk`, or value by value by `one`. All this is needed because pyarrow alone truncates 1.5 to 1 in an integer
column, accepts text as a number and drops time zones.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa

from beam_zerobus.batching import bulk_values as bulk
from beam_zerobus.batching import single_numbers as number
from beam_zerobus.batching import single_times as time
from beam_zerobus.batching import single_values as one
from beam_zerobus.batching.misfit import MisfitError
from beam_zerobus.schema import Decimal, Primitive
from beam_zerobus.schema.time_rules import TimeRules

__all__ = ["Leaf", "leaf"]

_NONE = type(None)


@dataclass(frozen=True, slots=True)
class Leaf:
    """How the values of a type without children become Arrow.

    Attributes:
        direct: Python types whose every value pyarrow converts exactly, or rejects; None if it does so with all types.
        bulk: Given all values and the set of their types, returns what pyarrow converts exactly (or an array made of
            them), and None if the values must be converted one by one. It may raise pyarrow's errors.
        one: Turns a value of another type into one that pyarrow converts exactly, or raises `MisfitError`.
        texts: Turns texts and nulls into an array, and returns the `MisfitError` of each text that does not fit; None
            if the type does not read text.
    """

    direct: frozenset[type] | None
    bulk: Callable[[list[Any], set[type]], list[Any] | pa.Array | None]
    one: Callable[[Any], Any]
    texts: Callable[[list[Any]], tuple[pa.Array, dict[int, MisfitError]]] | None = None


def leaf(
    delta_type: Primitive | Decimal,
    *,
    from_json: bool,
    may_lack_digits: bool = False,
    times: TimeRules = TimeRules(),  # noqa: B008 - frozen
) -> Leaf:
    """Return how values of a type are converted.

    Args:
        delta_type: The column's type.
        from_json: The values were read from JSON, which has neither bytes nor infinity.
        may_lack_digits: Its floats may not have all digits of the text; where this matters, a
            `LostDigitsError` is raised.
        times: How timestamps without a time zone or a unit are read.

    Example:
        >>> leaf(Primitive.INT, from_json=False).one("1")
        Traceback (most recent call last):
        beam_zerobus.batching.misfit.WrongTypeError: does not fit; pass an int
    """
    if isinstance(delta_type, Decimal):
        return Leaf(
            frozenset({_NONE}),
            lambda values, kinds: bulk.decimals(values, kinds, delta_type),
            one.present(lambda value: number.decimal_of(value, delta_type)),
        )
    if delta_type in _TIMESTAMPS:
        found = _timestamps(times, delta_type, *_TIMESTAMPS[delta_type])
    else:
        found = (_JSON_LEAVES if from_json else _LEAVES)[delta_type]
    if may_lack_digits and (delta_type in _INTEGERS or delta_type in _TIMESTAMPS):
        return replace(found, bulk=bulk.checked(found.bulk), one=number.checked(found.one))
    return found


def _timestamps(
    times: TimeRules, delta_type: Primitive, all_at_once: Callable[..., Any], singly: Callable[..., Any]
) -> Leaf:
    as_microseconds = {int, _NONE} if times.epoch_unit in (None, "us") else {_NONE}
    return Leaf(
        frozenset(as_microseconds),
        lambda values, kinds: all_at_once(values, kinds, times),
        one.present(lambda value: singly(value, times)),
        lambda texts: time.texts(texts, delta_type, times),
    )


_TIMESTAMPS: dict[Primitive, tuple[Callable[..., Any], Callable[..., Any]]] = {
    Primitive.TIMESTAMP: (bulk.timestamps, time.timestamp),
    Primitive.TIMESTAMP_NTZ: (bulk.timestamps_ntz, time.timestamp_ntz),
}
_INTEGERS = {
    Primitive.TINYINT: pa.int8(),
    Primitive.SMALLINT: pa.int16(),
    Primitive.INT: pa.int32(),
    Primitive.BIGINT: pa.int64(),
}


_LEAVES = {
    **{
        name: Leaf(frozenset(), partial(bulk.integers, target), one.present(number.integer))
        for name, target in _INTEGERS.items()
    },
    Primitive.FLOAT: Leaf(frozenset({_NONE}), bulk.singles, one.present(number.single)),
    Primitive.DOUBLE: Leaf(bulk.NUMBERS_OR_NONE, bulk.never, one.present(number.double)),
    Primitive.BOOLEAN: Leaf(None, bulk.never, one.present(one.boolean)),
    Primitive.STRING: Leaf(None, bulk.never, one.present(one.text)),
    Primitive.VARIANT: Leaf(bulk.TEXT_OR_NONE, bulk.never, one.present(one.variant)),
    Primitive.BINARY: Leaf(frozenset({bytes, bytearray, _NONE}), bulk.never, one.present(one.binary)),
    Primitive.DATE: Leaf(
        frozenset({dt.date, int, _NONE}),
        bulk.never,
        one.present(time.date),
        partial(time.texts, delta_type=Primitive.DATE),
    ),
}


def _floats_from_json(target: pa.DataType, convert: Callable[[Any], float]) -> Leaf:
    return Leaf(
        frozenset({_NONE}), partial(bulk.json_floats, target), one.present(number.json_number(number.finite(convert)))
    )


_JSON_LEAVES = {
    **_LEAVES,
    Primitive.DATE: replace(_LEAVES[Primitive.DATE], one=number.json_number(_LEAVES[Primitive.DATE].one)),
    Primitive.FLOAT: _floats_from_json(pa.float32(), number.single),
    Primitive.DOUBLE: _floats_from_json(pa.float64(), number.double),
    Primitive.VARIANT: Leaf(bulk.TEXT_OR_NONE, bulk.never, one.present(one.json_variant)),
    Primitive.BINARY: Leaf(frozenset({_NONE}), bulk.never, one.present(one.base64_text)),
}
