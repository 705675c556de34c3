"""How the values of each Delta type become Arrow.

A column whose values all have one of the `direct` types is passed to pyarrow as it is. Any other column is converted as
a whole by `bulk`, or value by value by `one`. All this is needed because pyarrow alone truncates 1.5 to 1 in an integer
column, accepts text as a number and drops time zones.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from beam_zerobus.batching import bulk_values as bulk
from beam_zerobus.batching import single_values as one
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
    """

    direct: frozenset[type] | None
    bulk: Callable[[list[Any], set[type]], list[Any] | pa.Array | None]
    one: Callable[[Any], Any]


def leaf(
    delta_type: Primitive | Decimal,
    *,
    from_json: bool,
    times: TimeRules = TimeRules(),  # noqa: B008 - frozen
) -> Leaf:
    """Return how values of a type are converted.

    Args:
        delta_type: The column's type.
        from_json: The values were read from JSON, which has neither bytes nor decimals.
        times: What timestamps may leave open.

    Example:
        >>> leaf(Primitive.INT, from_json=False).one("1")
        Traceback (most recent call last):
        beam_zerobus.batching.single_values.MisfitError: does not fit; pass an int
    """
    if isinstance(delta_type, Decimal):
        return Leaf(
            frozenset({_NONE}),
            lambda values, kinds: bulk.decimals(values, kinds, delta_type),
            one.present(lambda value: one.decimal_of(value, delta_type)),
        )
    if delta_type is Primitive.BINARY and from_json:
        return Leaf(frozenset({_NONE}), bulk.never, one.present(one.base64_text))
    if delta_type is Primitive.TIMESTAMP:
        return _timestamps(times, bulk.timestamps, one.timestamp)
    if delta_type is Primitive.TIMESTAMP_NTZ:
        return _timestamps(times, bulk.timestamps_ntz, one.timestamp_ntz)
    return _LEAVES[delta_type]


def _timestamps(times: TimeRules, all_at_once: Callable[..., Any], singly: Callable[..., Any]) -> Leaf:
    as_microseconds = {int, _NONE} if times.epoch_unit in (None, "us") else {_NONE}
    return Leaf(
        frozenset(as_microseconds),
        lambda values, kinds: all_at_once(values, kinds, times),
        one.present(lambda value: singly(value, times)),
    )


def _integers(target: pa.DataType) -> Leaf:
    return Leaf(frozenset(), partial(bulk.integers, target), one.present(one.integer))


_LEAVES = {
    Primitive.TINYINT: _integers(pa.int8()),
    Primitive.SMALLINT: _integers(pa.int16()),
    Primitive.INT: _integers(pa.int32()),
    Primitive.BIGINT: _integers(pa.int64()),
    Primitive.FLOAT: Leaf(frozenset({_NONE}), bulk.singles, one.present(one.single)),
    Primitive.DOUBLE: Leaf(bulk.NUMBERS_OR_NONE, bulk.never, one.present(one.double)),
    Primitive.BOOLEAN: Leaf(None, bulk.never, one.present(one.boolean)),
    Primitive.STRING: Leaf(None, bulk.never, one.present(one.text)),
    Primitive.VARIANT: Leaf(bulk.TEXT_OR_NONE, bulk.never, one.present(one.variant)),
    Primitive.BINARY: Leaf(frozenset({bytes, bytearray, _NONE}), bulk.never, one.present(one.binary)),
    Primitive.DATE: Leaf(frozenset({dt.date, int, _NONE}), partial(bulk.texts, pa.date32()), one.present(one.date)),
}
