"""Differences between a schema and a table, as sentences."""

from __future__ import annotations

from collections.abc import Iterator

from beam_zerobus.schema.types import Array, DeltaType, Field, Map, Struct

__all__ = ["field_differences"]


def field_differences(ours: tuple[Field, ...], table: tuple[Field, ...], parent: str = "") -> Iterator[str]:
    """Yield the differences between two lists of fields; names match without regard to case.

    Order, comments and field numbers do not count, because every wire format uses the table's.
    """
    prefix = f"{parent}." if parent else ""
    in_table = {field.name.lower(): field for field in table}
    for field in ours:
        path = prefix + field.name
        theirs = in_table.pop(field.name.lower(), None)
        if theirs is None:
            yield f"column {path!r} is not in the table"
            continue
        if field.nullable and not theirs.nullable:
            yield f"column {path!r} is nullable, in the table it is NOT NULL"
        elif theirs.nullable and not field.nullable:
            yield f"column {path!r} is NOT NULL, in the table it is nullable"
        yield from _type_differences(field.type, theirs.type, path)
    for missing in in_table.values():
        kind = "nullable" if missing.nullable else "NOT NULL"
        yield f"the table's column {prefix + missing.name!r} ({missing.type}, {kind}) is missing"


def _type_differences(ours: DeltaType, table: DeltaType, path: str) -> Iterator[str]:
    match ours, table:
        case Struct(), Struct():
            yield from field_differences(ours.fields, table.fields, path)
        case Array(), Array():
            yield from _type_differences(ours.element, table.element, f"{path}.element")
            yield from _null_differences(ours.contains_null, table.contains_null, f"{path}.element")
        case Map(), Map():
            yield from _type_differences(ours.key, table.key, f"{path}.key")
            yield from _type_differences(ours.value, table.value, f"{path}.value")
            yield from _null_differences(ours.value_contains_null, table.value_contains_null, f"{path}.value")
        case _ if ours != table:
            yield f"column {path!r} is {ours}, in the table it is {table}"


def _null_differences(ours: bool, table: bool, path: str) -> Iterator[str]:
    if ours != table:
        may, there = ("may", "may not") if ours else ("may not", "may")
        yield f"column {path!r} {may} be null, in the table it {there}"
