"""Records of any kind, split into columns of Python values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from operator import countOf, itemgetter
from typing import Any

import numpy as np

from beam_zerobus.batching.json_objects import type_name
from beam_zerobus.batching.single_values import is_missing
from beam_zerobus.errors import agreeing
from beam_zerobus.schema import RowErrorType
from beam_zerobus.schema.dataclass_fields import dataclass_fields
from beam_zerobus.schema.reasons import Place, Reason
from beam_zerobus.schema.unknown_fields import IgnoreUnknown, remedy_for_unknown

__all__ = ["as_dict", "as_dicts", "columns_of", "types_of"]

_SHOWN_KEYS = 5
_SHOWN_CHARACTERS = 64


def types_of(values: list[Any]) -> set[type]:
    """Return the types of values. Usually all have one type, and counting it is faster than making a set.

    Example:
        >>> types_of([{}, {}]), types_of([])
        ({<class 'dict'>}, set())
    """
    first = type(values[0]) if values else object
    return {first} if countOf(map(type, values), first) == len(values) > 0 else set(map(type, values))


def columns_of(
    records: list[Any], names: list[str], parent: str, place: Place, *, ignore_unknown_fields: IgnoreUnknown
) -> list[list[Any] | None]:
    """Split records into columns.

    Names match without regard to case, as in Delta. Unknown fields are never dropped silently: their rows are
    rejected, unless `ignore_unknown_fields` is set.

    Args:
        records: Dicts, NamedTuples, Beam rows or dataclasses, mixed or not.
        names: The fields that are wanted.
        parent: The path of the struct that the records are; empty for rows.
        place: Where rejected records are reported.
        ignore_unknown_fields: Drop fields that are not wanted; with ``"nulls"`` only those without a value.

    Returns:
        For each name the values of all records, None in place of a missing value; None for a name that no record has.
    """
    kinds = types_of(records)
    only = next(iter(kinds)) if len(kinds) == 1 else object
    if _tuple_fields(only) is not None:
        return _from_tuples(records, only, names, parent, place, ignore_unknown_fields=ignore_unknown_fields)
    if _is_row(only):
        records = list(map(vars, records))
    elif kinds - {dict}:
        records = as_dicts(records, parent, place)
    return _from_dicts(records, names, parent, place, ignore_unknown_fields=ignore_unknown_fields)


def _tuple_fields(kind: type) -> tuple[str, ...] | None:
    return getattr(kind, "_fields", None) if issubclass(kind, tuple) else None


def _is_row(kind: type) -> bool:
    # beam.Row: its fields are its attributes, and may have the names of its methods.
    return hasattr(kind, "_asdict") and kind.__dictoffset__ != 0


def _from_tuples(
    records: list[Any], kind: type, names: list[str], parent: str, place: Place, *, ignore_unknown_fields: IgnoreUnknown
) -> list[list[Any] | None]:
    fields = _tuple_fields(kind) or ()
    wanted = {name.lower() for name in names}
    unknown = [number for number, field in enumerate(fields) if field.lower() not in wanted]
    if unknown and ignore_unknown_fields is not True:
        for position, record in enumerate(records):
            if extra := _not_dropped({fields[n]: record[n] for n in unknown}, ignore_unknown_fields):
                place.reject_at(np.array([position]), _unknown(extra, parent, ignore_unknown_fields))
    if len(fields) - len(unknown) > len({field.lower() for field in fields} & wanted):
        place.reject_at(np.arange(len(records)), _twice(fields, names, parent))
    # Not zip(*records): its iterators, one per record, would trigger the garbage collector.
    positions = {field.lower(): position for position, field in enumerate(fields)}
    found = [positions.get(name.lower()) for name in names]
    return [None if position is None else list(map(itemgetter(position), records)) for position in found]


def as_dicts(records: list[Any], parent: str, place: Place) -> list[dict[Any, Any]]:
    """Return each record as a dict; a value that is not a record is rejected and becomes an empty one."""
    dicts: list[dict[Any, Any]] = []
    for position, record in enumerate(records):
        found = as_dict(record)
        if found is None:
            place.reject_at(np.array([position]), Reason(RowErrorType.WRONG_TYPE, _no_record(record, parent)))
        dicts.append({} if found is None else found)
    return dicts


def _no_record(value: Any, parent: str) -> str:
    where = f"column {parent!r} is a STRUCT" if parent else "an element is one row"
    if not parent and (hasattr(value, "__arrow_c_stream__") or hasattr(value, "columns")):  # pandas before 2.2
        return (
            f"{where}: a value of Python type {type_name(value)} holds many; pass pyarrow.table(value), not in a list, "
            "or its rows"
        )
    return (
        f"{where}: a value of Python type {type_name(value)} does not fit; pass a dict, a NamedTuple, a dataclass or a "
        "beam.Row"
    )


def as_dict(record: Any) -> dict[Any, Any] | None:
    """Return a record as a dict; None if the value is not a record."""
    kind = type(record)
    if kind is dict:
        return record
    if _tuple_fields(kind) is not None:
        return dict(zip(kind._fields, record, strict=True))
    if _is_row(kind):
        return vars(record)
    if isinstance(record, Mapping):
        return dict(record)
    return dataclass_fields(record)


def _from_dicts(
    records: list[dict[Any, Any]], names: list[str], parent: str, place: Place, *, ignore_unknown_fields: IgnoreUnknown
) -> list[list[Any] | None]:
    try:
        columns = [list(map(itemgetter(name), records)) for name in names]
    except KeyError:
        complete = False
    else:
        complete = True
        # All names were there, so equal counts mean that nothing else was.
        if sum(map(len, records)) == len(names) * len(records):
            return [*columns]
    unknown = set().union(*records).difference(names)
    if unknown:
        given = records
        records, unknown = _renamed(records, unknown, names, parent, place)
        complete = complete and records is given
        if ignore_unknown_fields is not True:
            for position, record in enumerate(records):
                found = {key: record[key] for key in unknown.intersection(record)}
                if extra := _not_dropped(found, ignore_unknown_fields):
                    place.reject_at(np.array([position]), _unknown(extra, parent, ignore_unknown_fields))
    if complete:
        return [*columns]
    return [[record.get(name) for record in records] for name in names]


def _renamed(
    records: list[dict[Any, Any]], unknown: set[Any], names: list[str], parent: str, place: Place
) -> tuple[list[dict[Any, Any]], set[Any]]:
    """Rename keys that differ from a name in case only; return the records and the keys that are still unknown."""
    by_lower_name = {name.lower(): name for name in names}
    known = {
        key: by_lower_name[key.lower()] for key in unknown if isinstance(key, str) and key.lower() in by_lower_name
    }
    if not known:
        return records, unknown
    renamed = []
    for position, record in enumerate(records):
        new = {known.get(key, key): value for key, value in record.items()}
        if len(new) < len(record):
            place.reject_at(np.array([position]), _twice(record, names, parent))
        renamed.append(new)
    return renamed, unknown.difference(known)


def _twice(keys: Iterable[Any], names: list[str], parent: str) -> Reason:
    by_lower_name = Counter(key.lower() for key in keys if isinstance(key, str))
    wanted = {name.lower() for name in names}
    twice = [
        key
        for key in keys
        if isinstance(key, str) and key.lower() in wanted and by_lower_name[key.lower()] > 1 and key not in names
    ]
    verb = agreeing(len(twice), "appears")
    message = f"{_listed(twice, parent)} {verb} twice, as names in Delta are the same in any case; drop one"
    return Reason(RowErrorType.UNKNOWN_FIELD, message)


def _not_dropped(fields: dict[Any, Any], ignore_unknown_fields: IgnoreUnknown) -> dict[Any, Any]:
    """Return the unknown fields for which a record is rejected."""
    if ignore_unknown_fields == "nulls":
        return {key: value for key, value in fields.items() if not is_missing(value)}
    return fields


def _unknown(fields: Mapping[Any, Any], parent: str, ignored: IgnoreUnknown) -> Reason:
    kinds = ", ".join(sorted({type_name(value) for value in fields.values()}))
    verb, it = agreeing(len(fields), "is"), "it" if len(fields) == 1 else "them"
    return Reason(
        RowErrorType.UNKNOWN_FIELD,
        f"{_listed(fields, parent)} of Python type {kinds} {verb} not in the table; drop {it}, "
        f"{remedy_for_unknown(ignored)}",
    )


def _listed(keys: Iterable[Any], parent: str) -> str:
    prefix = f"{parent}." if parent else ""
    shown = sorted(prefix + str(key)[:_SHOWN_CHARACTERS] for key in keys)
    more = f" and {len(shown) - _SHOWN_KEYS} more" if len(shown) > _SHOWN_KEYS else ""
    noun = "column" if len(shown) == 1 else "columns"
    return f"{noun} {', '.join(map(repr, shown[:_SHOWN_KEYS]))}{more}"
