"""Fields of elements that a table lacks, with the types that their values have."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from beam_zerobus.batching.elements import RowKind
from beam_zerobus.batching.json_objects import JsonNumber, parse_strictly
from beam_zerobus.batching.records import as_dict
from beam_zerobus.batching.single_values import is_missing
from beam_zerobus.destinations import KeptFields
from beam_zerobus.schema import Array, Decimal, DeltaType, Field, Map, Primitive, Struct, TableSchema
from beam_zerobus.schema.additions import Addition, Room, addable

__all__ = ["fields_to_add"]

_Records: TypeAlias = Sequence[Mapping[Any, Any]]

_NAME = re.compile(r"[A-Za-z0-9_]+")
_DIGITS = 38
_LEAVES: tuple[tuple[type | tuple[type, ...], Primitive], ...] = (
    (bool, Primitive.BOOLEAN),
    (float, Primitive.DOUBLE),
    ((str, uuid.UUID), Primitive.STRING),
    ((bytes, bytearray, memoryview), Primitive.BINARY),
    (dt.date, Primitive.DATE),
)


def fields_to_add(
    elements: Sequence[Any], kind: RowKind, schema: TableSchema, kept: KeptFields | None = None
) -> list[Addition]:
    """Return the fields of elements that a table lacks, at any depth.

    A type follows from all values of a field together: whole numbers are BIGINT, with fractions among them DOUBLE; of
    values that fit no common type the first one counts that is not NaN. A field of which every value is missing or an
    empty list has no type yet, and is left out, as is one that Zerobus could not write. So are the fields of an element
    for which the table has no room: the element is rejected, and others are not.

    Args:
        elements: The elements; those that cannot be read are skipped.
        kind: ``"json"`` or ``"row"``.
        schema: The table.
        kept: The fields that are written; None for all.

    Example:
        >>> table = TableSchema.from_ddl("id INT, at STRUCT<x: INT>")
        >>> added = fields_to_add([{"id": 1, "at": {"y": 1.5}}, {"note": "a", "none": None}], "row", table)
        >>> [(addition.path, addition.field.to_ddl()) for addition in added]
        [(('at',), 'y DOUBLE'), ((), 'note STRING')]
    """
    records = [record for element in elements if (record := _record(element, kind)) is not None]
    if kept is not None:
        records = kept.of_dicts(records)
    found = list(_missing(records, schema.columns, ()))
    if not Room.of(schema).takes(found):
        found = list(_missing(_records_with_room(records, schema), schema.columns, ()))
    return addable(found, schema)


def _records_with_room(records: _Records, schema: TableSchema) -> _Records:
    """Return the records without those for whose fields there is no room left after the records before."""
    room = Room.of(schema)
    return [record for record in records if room.takes(_missing([record], schema.columns, ()))]


def _record(element: Any, kind: RowKind) -> dict[Any, Any] | None:
    if kind == "row":
        return as_dict(element)
    try:
        record = parse_strictly(element)
    except (ValueError, TypeError, RecursionError, AttributeError):
        return None
    return record if isinstance(record, dict) else None


def _missing(
    records: Sequence[Mapping[Any, Any]], fields: Sequence[Field], path: tuple[str, ...]
) -> Iterator[Addition]:
    known = {field.name.lower(): field for field in fields}
    for name, values in _by_name(records).items():
        field = known.get(name.lower())
        if field is not None:
            yield from _missing_inside(values, field.type, (*path, field.name))
        elif (found := _type_of(values)) is not None:
            yield Addition(path, Field(name=name, type=found, number=1))


def _by_name(records: _Records) -> dict[str, list[Any]]:
    """Return the values of each field, which has the name that is read first of those that differ in case only."""
    names: dict[str, str] = {}
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for record in records:
        for key, value in record.items():
            if isinstance(key, str) and not is_missing(value) and _NAME.fullmatch(key):
                found[names.setdefault(key.lower(), key)].append(value)
    return found


def _missing_inside(values: list[Any], delta_type: DeltaType, path: tuple[str, ...]) -> Iterator[Addition]:
    match delta_type:
        case Struct(fields):
            yield from _missing(_dicts(values), fields, path)
        case Array(element):
            yield from _missing_inside(_elements(values), element, (*path, "element"))
        case Map(_, value):
            inside = [
                item for each in values if isinstance(each, Mapping) for item in each.values() if not is_missing(item)
            ]
            yield from _missing_inside(inside, value, (*path, "value"))


def _dicts(values: list[Any]) -> list[dict[Any, Any]]:
    return [record for value in values if (record := as_dict(value)) is not None]


def _elements(values: list[Any]) -> list[Any]:
    lists = (
        value for value in values if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim)
    )
    return [element for element in chain.from_iterable(lists) if not is_missing(element)]


def _type_of(values: list[Any]) -> DeltaType | None:
    """Return the type of a field's values, of which none is null."""
    values = [_plain(value) for value in values]
    values = [value for value in values if not is_missing(value)]
    if not values:
        return None
    first = next((value for value in values if not _is_nan(value)), values[0])
    if as_dict(first) is not None:
        inside = _by_name(_dicts(values))
        fields = [(name, found) for name, held in inside.items() if (found := _type_of(held)) is not None]
        if not fields:
            return None
        return Struct(tuple(Field(name=name, type=found, number=n) for n, (name, found) in enumerate(fields, 1)))
    if isinstance(first, list | tuple | np.ndarray):
        element = _type_of(_elements(values))
        return None if element is None else Array(element)
    return _leaf(first, values)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64 | np.timedelta64):
        value = value.item()  # numpy's times of some units would become numbers
    return value.number() if isinstance(value, JsonNumber) else value


def _is_nan(value: Any) -> bool:
    """Return whether a value is NaN, which pandas also uses for missing values of other types."""
    return isinstance(value, float) and math.isnan(value)


def _leaf(first: Any, values: list[Any]) -> DeltaType | None:
    if isinstance(first, int) and not isinstance(first, bool):
        return _number([value for value in values if isinstance(value, int | float)])
    if isinstance(first, decimal.Decimal):
        return _decimal([value for value in values if isinstance(value, decimal.Decimal) and value.is_finite()])
    if isinstance(first, np.datetime64):
        return Primitive.DATE if np.datetime_data(first.dtype)[0] == "D" else Primitive.TIMESTAMP_NTZ
    if isinstance(first, dt.datetime):
        return Primitive.TIMESTAMP_NTZ if first.tzinfo is None else Primitive.TIMESTAMP
    if hasattr(first, "to_rfc3339"):  # Beam's Timestamp
        return Primitive.TIMESTAMP
    return next((found for kinds, found in _LEAVES if isinstance(first, kinds)), None)


def _number(values: list[int | float]) -> DeltaType | None:
    if any(isinstance(value, float) for value in values):
        return Primitive.DOUBLE
    largest = max(abs(value) for value in values)
    if largest < 2**63:
        return Primitive.BIGINT
    return Decimal(_DIGITS, 0) if largest < 10**_DIGITS else None


def _decimal(values: list[decimal.Decimal]) -> Decimal | None:
    """Return a type with as many digits after the decimal point as the values have; None for more than there are."""
    if not values:
        return None
    scale = max(max(0, -int(value.as_tuple().exponent)) for value in values)
    return Decimal(_DIGITS, scale) if scale <= _DIGITS else None
