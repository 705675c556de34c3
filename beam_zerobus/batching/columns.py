"""Python values to Arrow arrays, column by column, nested ones included.

`fields_builder` combines the functions for the types once. Each converts the values of a whole column. Values that do
not fit are rejected with their reason and become null, so that there is always an array.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from beam_zerobus.batching.bulk_values import TEXT_OR_NONE
from beam_zerobus.batching.json_objects import json_key, type_name
from beam_zerobus.batching.misfit import MisfitError, WrongTypeError
from beam_zerobus.batching.records import columns_of, types_of
from beam_zerobus.batching.single_values import may_not_be_plain, plain
from beam_zerobus.batching.values import Leaf, leaf
from beam_zerobus.schema import Array, Decimal, DeltaType, Field, Map, Primitive, RowErrorType, Struct
from beam_zerobus.schema.arrow import canonical_type
from beam_zerobus.schema.reasons import Place, Reason
from beam_zerobus.schema.time_rules import TimeRules
from beam_zerobus.schema.unknown_fields import IgnoreUnknown

__all__ = ["ColumnBuilder", "FieldsBuilder", "Options", "fields_builder"]

ColumnBuilder: TypeAlias = Callable[[list[Any], Place], pa.Array]
"""Makes the array of a column; rejected positions are null."""

FieldsBuilder: TypeAlias = Callable[[list[Any], Place], list[pa.Array]]
"""Makes the arrays of a record's fields."""

_ARROW_REJECTS = (pa.ArrowException, ValueError, TypeError, ArithmeticError)
_BUILT_IN = frozenset({str, bytes, bool, int, float, list, tuple, dict})  # not enums: the member counts
_OUT_OF_RANGE = MisfitError(
    "is out of range; correct the row, or use a larger type in the table", RowErrorType.OUT_OF_RANGE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What all columns share.

    Attributes:
        from_json: The values were read from JSON.
        ignore_unknown_fields: Drop fields that the table does not have; with ``"nulls"`` only those without a value.
        times: How timestamps without a time zone or a unit are read.
        may_lack_digits: Floats from JSON may not have all digits of the text; where this matters, a
            `LostDigitsError` is raised.
    """

    from_json: bool
    ignore_unknown_fields: IgnoreUnknown
    times: TimeRules
    may_lack_digits: bool = False


def fields_builder(fields: tuple[Field, ...], parent: str, options: Options) -> FieldsBuilder:
    """Return the function that makes the arrays of a record's fields.

    Args:
        fields: The table's columns, or a struct's fields.
        parent: The path of the struct; empty for columns.
        options: What all columns share.

    Returns:
        A function from records (dicts, NamedTuples, Beam rows, dataclasses) to one array for each field.
    """
    prefix = f"{parent}." if parent else ""
    builders = [_builder(field.type, prefix + field.name, options) for field in fields]
    names = [field.name for field in fields]

    def build(records: list[Any], place: Place) -> list[pa.Array]:
        columns = columns_of(records, names, parent, place, ignore_unknown_fields=options.ignore_unknown_fields)
        return [
            pa.nulls(len(records), canonical_type(field.type)) if values is None else builder(values, place)
            for field, builder, values in zip(fields, builders, columns, strict=True)
        ]

    return build


def _builder(delta_type: DeltaType, path: str, options: Options) -> ColumnBuilder:
    if isinstance(delta_type, Struct):
        return _struct_builder(delta_type, path, options)
    if isinstance(delta_type, Array):
        return _array_builder(delta_type, path, options)
    if isinstance(delta_type, Map):
        return _map_builder(delta_type, path, options)
    return _leaf_builder(delta_type, path, options)


def _leaf_builder(delta_type: Primitive | Decimal, path: str, options: Options) -> ColumnBuilder:
    target = canonical_type(delta_type)
    rules = leaf(delta_type, from_json=options.from_json, may_lack_digits=options.may_lack_digits, times=options.times)
    reject = _Rejecter(delta_type, path)

    def build(values: list[Any], place: Place) -> pa.Array:
        if rules.texts is not None and types_of(values) <= TEXT_OR_NONE:
            array, misfits = rules.texts(values)
            reject(misfits, values, place)
            return array
        try:
            ready = values if rules.direct is None else _ready(values, rules, rules.direct)
            if ready is not None:
                return ready if isinstance(ready, pa.Array) else pa.array(ready, target)
        except _ARROW_REJECTS:
            pass
        return _one_by_one(values, rules, target, reject, place)

    return build


def _ready(values: list[Any], rules: Leaf, direct: frozenset[type]) -> list[Any] | pa.Array | None:
    kinds = types_of(values)
    return values if kinds <= direct else rules.bulk(values, kinds)


def _one_by_one(values: list[Any], rules: Leaf, target: pa.DataType, reject: _Rejecter, place: Place) -> pa.Array:
    converted: list[Any] = []
    misfits: dict[int, MisfitError] = {}
    # Texts are read at once, and each type that does not fit is tried once: reading or raising singly costs far more.
    known, wrong = _texts_at_once(values, rules), dict[type, MisfitError]()
    for position, value in enumerate(values):
        if (found := known.get(position, wrong.get(type(value)))) is None:
            try:
                found = rules.one(value)
            except MisfitError as misfit:
                found = misfit
                if isinstance(misfit, WrongTypeError) and type(value) in _BUILT_IN:
                    wrong[type(value)] = misfit
            except ArithmeticError:
                found = _OUT_OF_RANGE
        if isinstance(found, MisfitError):
            misfits[position], found = found, None
        converted.append(found)
    try:
        array = pa.array(converted, target)
    except _ARROW_REJECTS:
        for position, value in enumerate(converted):
            try:
                pa.scalar(value, target)
            except _ARROW_REJECTS:
                misfits[position] = _OUT_OF_RANGE
                converted[position] = None
        array = pa.array(converted, target)
    reject(misfits, values, place)
    return array


def _texts_at_once(values: list[Any], rules: Leaf) -> dict[int, Any]:
    """Return for the positions of texts their values, or why they do not fit, where the type reads text."""
    positions = [] if rules.texts is None else [at for at, value in enumerate(values) if type(value) is str]
    if rules.texts is None or not positions:
        return {}
    array, misfits = rules.texts([values[at] for at in positions])
    # Numbers, as Python's types end with the year 9999, and start with the year 1 in every zone.
    found: list[Any] = array.view(pa.int32() if array.type.bit_width == 32 else pa.int64()).to_pylist()
    for number, misfit in misfits.items():
        found[number] = misfit
    return dict(zip(positions, found, strict=True))


class _Rejecter:
    """Rejects values of one column, each with its reason."""

    def __init__(self, delta_type: DeltaType, path: str) -> None:
        self._column = f"column {path!r} is {delta_type}"

    def __call__(self, misfits: Mapping[int, MisfitError], values: list[Any], place: Place) -> None:
        """Reject the values at some positions; those with the same reason together, since there may be very many.

        A row whose list has several faults gets the reason of the first, whatever else is in the batch.
        """

        def reason(position: int) -> tuple[str, str, RowErrorType]:
            misfit = misfits[position]
            return type_name(values[position]), misfit.what, misfit.error_type

        runs = [(why, list(run)) for why, run in groupby(sorted(misfits), reason)]
        if place.locate is None:  # each position is a row of its own, so their order does not matter
            alike: dict[tuple[str, str, RowErrorType], list[int]] = {}
            for why, run in runs:
                alike.setdefault(why, []).extend(run)
            runs = list(alike.items())
        for (kind, what, error_type), positions in runs:
            message = f"{self._column}: a value of Python type {kind} {what}"
            place.reject_at(np.array(positions), Reason(error_type, message))


def _sized(
    values: list[Any], delta_type: DeltaType, path: str, place: Place, sized: Callable[[Any], Collection[Any] | None]
) -> tuple[list[Collection[Any]], pa.Array | None]:
    """Return each value's children, and the mask of nulls if there are any; other values are rejected."""
    reject = _Rejecter(delta_type, path)
    held: list[Collection[Any]] = []
    misfits: dict[int, MisfitError] = {}
    null = np.zeros(len(values), dtype=bool)
    for position, value in enumerate(values):
        children = None if value is None else sized(value)
        if children is None and value is not None and (usual := plain(value)) is not None:
            children = sized(usual)
            if children is None:
                wanted = "a list or tuple" if isinstance(delta_type, Array) else "a dict or a list of pairs"
                misfits[position] = MisfitError(f"does not fit; pass {wanted}")
        null[position] = children is None
        held.append(() if children is None else children)
    reject(misfits, values, place)
    return held, pa.array(null) if null.any() else None


def _offsets(held: list[Collection[Any]]) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(np.fromiter(map(len, held), np.int64, len(held)))))


def _inside(place: Place, offsets: np.ndarray) -> Place:
    return place.inside(lambda positions: np.searchsorted(offsets, positions, side="right") - 1)


def _array_builder(delta_type: Array, path: str, options: Options) -> ColumnBuilder:
    of_element = _builder(delta_type.element, f"{path}.element", options)

    def build(values: list[Any], place: Place) -> pa.Array:
        all_lists = types_of(values) == {list}
        held, mask = (values, None) if all_lists else _sized(values, delta_type, path, place, _elements)
        offsets = _offsets(held)
        elements = of_element(list(chain.from_iterable(held)), _inside(place, offsets))
        return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), elements, mask=mask)

    return build


def _elements(value: Any) -> Collection[Any] | None:
    if isinstance(value, list | tuple):
        return value
    return list(value) if isinstance(value, np.ndarray) and value.ndim else None


def _map_builder(delta_type: Map, path: str, options: Options) -> ColumnBuilder:
    of_key = _builder(delta_type.key, f"{path}.key", options)
    of_value = _builder(delta_type.value, f"{path}.value", options)
    null_key = Reason(
        RowErrorType.NULL_IN_NOT_NULL_COLUMN,
        f"column {path + '.key'!r} is {delta_type.key}: a value of Python type NoneType does not fit, as keys of a map "
        "are never null; drop the entry",
    )

    def build(values: list[Any], place: Place) -> pa.Array:
        all_dicts = types_of(values) == {dict}
        held, mask = (
            ([value.items() for value in values], None)
            if all_dicts
            else _sized(values, delta_type, path, place, _pairs)
        )
        offsets = _offsets(held)
        inside = _inside(place, offsets)
        entries = list(chain.from_iterable(held))
        keys = of_key([json_key(key, delta_type.key) if options.from_json else key for key, _ in entries], inside)
        items = of_value([item for _, item in entries], inside)
        if keys.null_count:
            # Arrow does not build a map with null keys; their rows are rejected, so the entries can be dropped.
            valid = np.asarray(keys.is_valid())
            inside.reject(~valid, null_key)
            keys, items = keys.filter(pa.array(valid)), items.filter(pa.array(valid))
            offsets = np.concatenate(([0], np.cumsum(valid)))[offsets]
        return pa.MapArray.from_arrays(pa.array(offsets.astype(np.int32)), keys, items, mask=mask)

    return build


def _pairs(value: Any) -> Collection[Any] | None:
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, list | tuple) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value):
        return value
    return None


def _struct_builder(delta_type: Struct, path: str, options: Options) -> ColumnBuilder:
    build_fields = fields_builder(delta_type.fields, path, options)
    arrow_fields = list(canonical_type(delta_type))

    def build(values: list[Any], place: Place) -> pa.Array:
        if any(map(may_not_be_plain, types_of(values))):
            values = list(map(plain, values))
        null = np.fromiter((value is None for value in values), bool, len(values))
        present = np.flatnonzero(~null)
        if not null.any():
            return _struct(build_fields(values, place), None)
        inside = place.inside(lambda positions: present[positions])
        children = build_fields([values[position] for position in present], inside)
        # The position of each value among those that are present; null structs have none.
        indices = pa.array(np.cumsum(~null) - 1, mask=null)
        return _struct([child.take(indices) for child in children], pa.array(null))

    def _struct(children: Iterable[pa.Array], mask: pa.Array | None) -> pa.Array:
        children = list(children)
        fields = [pa.field(field.name, child.type) for field, child in zip(arrow_fields, children, strict=True)]
        return pa.StructArray.from_arrays(children, fields=fields, mask=mask)

    return build
