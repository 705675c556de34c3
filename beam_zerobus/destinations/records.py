"""The table of each record, by a template."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import countOf, itemgetter
from typing import Any

import numpy as np

from beam_zerobus.destinations.split import Split, bad_table, checked_name, row_errors
from beam_zerobus.destinations.template import Path, Template
from beam_zerobus.schema.reasons import Reason
from beam_zerobus.schema.rescue import Verbatim

__all__ = ["split_records"]

_ABSENT = object()


def split_records(template: Template, named: str, records: Sequence[Any]) -> Split:
    """Return the records' positions by table.

    Args:
        template: Chooses the tables.
        named: What messages call it.
        records: One row each.
    """
    bad: dict[int, Reason] = {}
    columns = [_parts(records, path) for path in template.fields]
    groups: dict[tuple[Any, ...], list[int] | range] = {}
    if records and all(countOf(column, column[0]) == len(column) for column in columns):  # usually there is one table
        groups[tuple(column[0] for column in columns)] = range(len(records))
    else:
        several: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
        for position, key in enumerate(zip(*columns, strict=True)):
            several[key].append(position)
        groups.update(several)
    tables: dict[str, list[int] | range] = {}
    for key, positions in groups.items():
        name = _name(template, named, key)
        if isinstance(name, str):
            # Two keys may make one name: '1' and 1, or 'a' and 'b_c' beside 'a_b' and 'c'.
            tables[name] = sorted([*tables[name], *positions]) if name in tables else positions
        else:
            bad.update(dict.fromkeys(positions, name))
    return Split(dict(sorted(tables.items(), key=lambda item: item[1][0])), row_errors(bad))


def _parts(records: Sequence[Any], path: Path) -> list[Any]:
    """Return the part of each record's name that a field gives; where its value cannot be one, what says why."""
    if len(path) == 1 and countOf(map(type, records), dict) == len(records):
        with suppress(KeyError):
            values = list(map(itemgetter(path[0]), records))
            if countOf(map(type, values), str) == len(values):
                return values
    return [_part(record, path) for record in records]


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
    if isinstance(value, Verbatim):  # a number of a JSON object
        return _text_of_number(value.text)
    # As text, because 1 and True are equal keys and different names.
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return str(int(value)) if is_whole else type(value)


def _text_of_number(text: str) -> object:
    """Return a number that fits into 64 bits as other integers are named; any other is a float, as orjson reads it."""
    is_whole = text.lstrip("-").isdigit() and -(2**63) <= int(text) < 2**64
    return str(int(text)) if is_whole else float


def _field(record: Any, name: str) -> Any:
    """Return a field of a record.

    Raises:
        KeyError: It has no such field.
    """
    if isinstance(record, Mapping):
        return record[name]
    kind = type(record)
    declared = any(
        name in fields for fields in (getattr(kind, "_fields", ()), getattr(kind, "__dataclass_fields__", ()))
    )
    if declared and hasattr(record, name):
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
