"""The table of each record, by a template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from operator import countOf
from typing import Any

import numpy as np
import orjson

from beam_zerobus.destinations.split import Split, bad_table, checked_name, row_errors
from beam_zerobus.destinations.template import Path, Template
from beam_zerobus.schema import RowErrorType
from beam_zerobus.schema.reasons import Reason

__all__ = ["split_records"]

_ABSENT = object()


def split_records(template: Template, named: str, elements: Sequence[Any], *, from_json: bool) -> Split:
    """Return the elements' positions by table.

    Args:
        template: Chooses the tables.
        named: What messages call it.
        elements: One row each.
        from_json: They are JSON objects, as str or bytes.
    """
    bad: dict[int, Reason] = {}
    records = _parsed(elements, bad) if from_json else elements
    keys = _keys(template, records)
    first = keys[0] if keys else None
    if not bad and countOf(keys, first) == len(keys) > 0:  # mostly one table, or none at all
        groups: dict[Any, list[int]] = {first: list(range(len(keys)))}
    else:
        groups = {}
        for position, key in enumerate(keys):
            if position not in bad:
                groups.setdefault(key, []).append(position)
    tables: dict[str, list[int]] = {}
    for key, positions in groups.items():
        name = _name(template, named, key)
        if isinstance(name, str):
            # Two keys may make one name: '1' and 1, or 'a' and 'b_c' beside 'a_b' and 'c'.
            tables[name] = sorted([*tables[name], *positions]) if name in tables else positions
        else:
            bad.update(dict.fromkeys(positions, name))
    return Split(dict(sorted(tables.items(), key=lambda item: item[1][0])), row_errors(bad))


def _keys(template: Template, records: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the parts of each record's name; where a value cannot be one, what says why."""
    columns = [[_part(record, path) for record in records] for path in template.fields]
    return list(zip(*columns, strict=True))


def _part(record: Any, path: Path) -> object:
    """Return a field as text or whole number; else its type, or `_ABSENT`: equal for all values of the kind."""
    value = record
    try:
        for name in path:
            value = value[name] if type(value) is dict else _field(value, name)
    except KeyError:
        return None if value is None else _ABSENT
    if type(value) is str or value is None:
        return value
    if isinstance(value, str):
        return str(value)
    # As text, because 1 and True are equal keys and different names.
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return str(int(value)) if is_whole else type(value)


def _field(record: Any, name: str) -> Any:
    """Return a field of a record.

    Raises:
        KeyError: It has no such field.
    """
    if isinstance(record, Mapping):
        return record[name]
    kind = type(record)
    if any(name in fields for fields in (getattr(kind, "_fields", ()), getattr(kind, "__dataclass_fields__", ()))):
        return getattr(record, name)
    return getattr(record, "__dict__", {})[name]  # of a beam.Row, whose fields may have the names of its methods


def _name(template: Template, named: str, key: tuple[Any, ...]) -> str | Reason:
    for path, part in zip(template.fields, key, strict=True):
        if isinstance(part, str):
            continue
        field = ".".join(path)
        if part is _ABSENT:
            return bad_table(named, f"needs the field {field!r}, which is missing from the row: add it")
        if part is None:
            return bad_table(named, f"needs the field {field!r}, which is null in the row: give it a value")
        return bad_table(
            named, f"needs the field {field!r} as text or a whole number; it has the type {part.__name__}: convert it"
        )
    return checked_name(template.fill(key), named)


def _parsed(elements: Sequence[Any], bad: dict[int, Reason]) -> list[Any]:
    records = []
    for position, element in enumerate(elements):
        try:
            record = orjson.loads(element)
        except ValueError:
            record = _parsed_slowly(element)
        if not isinstance(record, dict):
            bad[position] = Reason(RowErrorType.INVALID_JSON, "an element is not a JSON object; correct it")
            record = {}
        records.append(record)
    return records


def _parsed_slowly(element: Any) -> Any:
    """Parse what orjson rejects and Python's parser may read, such as a number that no float can hold."""
    try:
        return json.loads(element)
    except (ValueError, RecursionError):
        return None
