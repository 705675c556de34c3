"""How the values of each Delta type become Arrow.

A column whose values all have one of the `direct` types is passed to pyarrow as it is. Any other column is converted as
a whole by `bulk`, or value by value by `one`. All this is needed because pyarrow alone truncates 1.5 to 1 in an integer
column, accepts a UUID as a number and drops time zones.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa

from beam_zerobus.batching import bulk_values as bulk
from beam_zerobus.batching import single_values as one
from beam_zerobus.schema import Decimal, Primitive

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


def leaf(delta_type: Primitive | Decimal, *, from_json: bool) -> Leaf:
    """Return how values of a type are converted.

    Args:
        delta_type: The column's type.
        from_json: The values were read from JSON, which has neither bytes nor infinity.

    Example:
        >>> leaf(Primitive.INT, from_json=False).one(1.5)
        Traceback (most recent call last):
        beam_zerobus.batching.single_values.MisfitError: does not fit; pass an int
    """
    if isinstance(delta_type, Decimal):
        return Leaf(
            frozenset({_NONE}),
            lambda values, kinds: bulk.decimals(values, kinds, delta_type),
            one.present(lambda value: one.decimal_of(value, delta_type)),
        )
    return (_JSON_LEAVES if from_json else _LEAVES)[delta_type]


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
    Primitive.DATE: Leaf(frozenset({dt.date, int, _NONE}), partial(bulk.texts, Primitive.DATE), one.present(one.date)),
    Primitive.TIMESTAMP: Leaf(frozenset({int, _NONE}), bulk.timestamps, one.present(one.timestamp)),
    Primitive.TIMESTAMP_NTZ: Leaf(frozenset({int, _NONE}), bulk.timestamps_ntz, one.present(one.timestamp_ntz)),
}


def _floats_from_json(target: pa.DataType, convert: Callable[[Any], float]) -> Leaf:
    return Leaf(
        frozenset({_NONE}), partial(bulk.json_floats, target), one.present(one.json_number(one.finite(convert)))
    )


_NUMBERS = (
    Primitive.TINYINT,
    Primitive.SMALLINT,
    Primitive.INT,
    Primitive.BIGINT,
    Primitive.DATE,
    Primitive.TIMESTAMP,
    Primitive.TIMESTAMP_NTZ,
)
_JSON_LEAVES = {
    **_LEAVES,
    **{name: replace(_LEAVES[name], one=one.json_number(_LEAVES[name].one)) for name in _NUMBERS},
    Primitive.FLOAT: _floats_from_json(pa.float32(), one.single),
    Primitive.DOUBLE: _floats_from_json(pa.float64(), one.double),
    Primitive.VARIANT: Leaf(bulk.TEXT_OR_NONE, bulk.never, one.present(one.json_variant)),
    Primitive.BINARY: Leaf(frozenset({_NONE}), bulk.never, one.present(one.base64_text)),
}
