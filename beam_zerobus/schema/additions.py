"""Columns, and fields of structs, that a table lacks and could get."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from typing import TypeAlias

import pyarrow as pa

from beam_zerobus.errors import ConfigurationError, ZerobusError
from beam_zerobus.schema.table import TableSchema
from beam_zerobus.schema.types import Array, DeltaType, Field, Map, Struct
from beam_zerobus.schema.validation import MAX_COLUMNS, MAX_STORED_NESTING, nesting

__all__ = [
    "Addition",
    "FieldExistsError",
    "FindAdditions",
    "Room",
    "addable",
    "arrow_fields_to_add",
    "missing_fields",
    "with_additions",
]


MAX_FIELDS = 5_000
"""Fields of a table, at any depth, up to which some are added. It is far more than tables have, and a statement that
adds so many stays below the 16 MiB that a SQL warehouse accepts."""

_UINT64 = pa.decimal128(20, 0)


class FieldExistsError(ConfigurationError):
    """The table has a column or field of that name already."""


@dataclass(frozen=True, slots=True)
class Addition:
    """A column to add, or a field of a struct.

    Attributes:
        path: Where: nothing for a column, else the names from the column to the struct; ``element`` and ``value`` lead
            into arrays and maps.
        field: What; its number does not count.
    """

    path: tuple[str, ...]
    field: Field


FindAdditions: TypeAlias = Callable[[TableSchema], list[Addition]]
"""Finds what is to be added to a table."""


def missing_fields(ours: Sequence[Field], table: Sequence[Field]) -> list[Addition]:
    """Return the fields that a table lacks, at any depth, each nullable with all that is inside.

    Names match without regard to case. A field whose type differs from the table's is not among them.

    Example:
        >>> ours = TableSchema.from_ddl("id INT NOT NULL, at STRUCT<x: INT, y: INT NOT NULL>").columns
        >>> table = TableSchema.from_ddl("at STRUCT<X: INT>").columns
        >>> [(addition.path, addition.field.to_ddl()) for addition in missing_fields(ours, table)]
        [((), 'id INT'), (('at',), 'y INT')]
    """
    return list(_missing(ours, table, ()))


def arrow_fields_to_add(incoming: Iterable[pa.Field], table: TableSchema) -> list[Addition]:
    """Return the fields of an Arrow schema that a table lacks, at any depth, without those that Zerobus cannot write.

    A field of Arrow's type null has no type yet, and is left out.

    Example:
        >>> incoming = pa.schema({"id": pa.int64(), "when": pa.time32("s"), "note": pa.string()})
        >>> [each.field.to_ddl() for each in arrow_fields_to_add(incoming, TableSchema.from_ddl("id BIGINT"))]
        ['note STRING']
    """
    ours: list[Field] = []
    for field in _with_types(incoming):
        with suppress(ZerobusError):  # its rows are rejected with the reason
            ours += TableSchema.from_arrow(pa.schema([field])).columns
    return addable(missing_fields(ours, table.columns), table)


def _with_types(fields: Iterable[pa.Field]) -> list[pa.Field]:
    """Return the fields without those of type null, at any depth; a uint64 has a type that holds all of it."""
    return [field.with_type(_typed(field.type)) for field in fields if not pa.types.is_null(field.type)]


def _typed(arrow_type: pa.DataType) -> pa.DataType:
    if pa.types.is_uint64(arrow_type):
        return _UINT64
    if pa.types.is_map(arrow_type):
        return pa.map_(arrow_type.key_type, _typed(arrow_type.item_type))
    if pa.types.is_struct(arrow_type):
        return pa.struct(_with_types(arrow_type))
    if pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type):
        return pa.list_(arrow_type.value_field.with_type(_typed(arrow_type.value_type)))
    return arrow_type


def addable(additions: Iterable[Addition], table: TableSchema) -> list[Addition]:
    """Return the additions after which Zerobus can still write to the table; none where they are too many.

    Example:
        >>> columns = TableSchema.from_ddl("grid ARRAY<ARRAY<INT>>, note STRING").columns
        >>> found = addable([Addition((), column) for column in columns], TableSchema.from_ddl("id INT"))
        >>> [addition.field.name for addition in found]
        ['note']
    """
    found = [addition for addition in additions if _writable(addition)]
    room = Room.of(table)
    return found if room.takes(found) else []


@dataclass(slots=True)
class Room:
    """How many columns, and fields at any depth, a table still takes.

    Attributes:
        columns: Columns.
        fields: Fields, columns among them.

    Example:
        >>> table = TableSchema.from_ddl("id INT, at STRUCT<x: INT>")
        >>> room = Room.of(table)
        >>> room.columns, room.fields
        (1998, 4997)
        >>> y, z = TableSchema.from_ddl("y INT, z INT").columns
        >>> room.takes([Addition(("at",), y), Addition(("at",), z)]), room.fields
        (True, 4995)
    """

    columns: int
    fields: int
    _taken: set[tuple[str, ...]] = dataclass_field(default_factory=set)

    @classmethod
    def of(cls, table: TableSchema) -> Room:
        """Return the room of a table as it is."""
        there = sum(1 for column in table.columns for _ in _paths((), column))
        return cls(MAX_COLUMNS - len(table.columns), MAX_FIELDS - there)

    def takes(self, additions: Iterable[Addition]) -> bool:
        """Take additions if there is room for all of them, and return whether there was; none is counted twice."""
        new = {path for each in additions for path in _paths(each.path, each.field)} - self._taken
        columns = sum(len(path) == 1 for path in new)
        if columns > self.columns or len(new) > self.fields:
            return False
        self._taken |= new
        self.columns -= columns
        self.fields -= len(new)
        return True


def _paths(parent: tuple[str, ...], field: Field) -> Iterator[tuple[str, ...]]:
    """Yield the path of a field, and those of all fields inside; names are the same in any case."""
    path = (*(name.lower() for name in parent), field.name.lower())
    yield path
    yield from _paths_inside(path, field.type)


def _paths_inside(path: tuple[str, ...], delta_type: DeltaType) -> Iterator[tuple[str, ...]]:
    match delta_type:
        case Struct(fields):
            for field in fields:
                yield from _paths(path, field)
        case Array(element):
            yield from _paths_inside((*path, "element"), element)
        case Map(_, value):
            yield from _paths_inside((*path, "value"), value)


def _writable(addition: Addition) -> bool:
    """Return whether Zerobus can write a field of this name and type, and in this depth."""
    if len(addition.path) + nesting(addition.field.type) > MAX_STORED_NESTING:
        return False
    try:
        TableSchema((replace(addition.field, number=1),)).to_descriptor()
    except ZerobusError:
        return False
    return True


def _missing(ours: Sequence[Field], table: Sequence[Field], path: tuple[str, ...]) -> Iterator[Addition]:
    known = {field.name.lower(): field for field in table}
    for field in ours:
        there = known.get(field.name.lower())
        if there is None:
            added = _nullable_field(field)
            known[field.name.lower()] = added  # once, where two names differ in case only
            yield Addition(path, added)
        else:
            yield from _missing_inside(field.type, there.type, (*path, there.name))


def _missing_inside(ours: DeltaType, table: DeltaType, path: tuple[str, ...]) -> Iterator[Addition]:
    match ours, table:
        case Struct(), Struct():
            yield from _missing(ours.fields, table.fields, path)
        case Array(), Array():
            yield from _missing_inside(ours.element, table.element, (*path, "element"))
        case Map(), Map():
            yield from _missing_inside(ours.value, table.value, (*path, "value"))


def _nullable_field(field: Field) -> Field:
    return replace(field, type=_nullable(field.type), nullable=True)


def _nullable(delta_type: DeltaType) -> DeltaType:
    match delta_type:
        case Struct(fields):
            return Struct(tuple(map(_nullable_field, fields)))
        case Array(element):
            return Array(_nullable(element))
        case Map(key, value):
            return Map(key, _nullable(value))
    return delta_type


def with_additions(schema: TableSchema, additions: Sequence[Addition], last_number: int = 0) -> TableSchema:
    """Return a table's columns after ALTER TABLE ADD COLUMNS.

    Args:
        schema: The columns before.
        additions: What is added, at the end of the table or of its struct.
        last_number: The highest number that a column has had, where that is above the present ones; numbers are not
            used again, like positions in Unity Catalog.

    Raises:
        FieldExistsError: The table has such a field.
        ConfigurationError: An addition is NOT NULL, or is inside something that is not a struct.

    Example:
        >>> schema = TableSchema.from_ddl("id INT, at STRUCT<x: INT>")
        >>> y = TableSchema.from_ddl("y INT").columns[0]
        >>> with_additions(schema, [Addition(("at",), y), Addition((), y)]).to_ddl()
        'id INT, at STRUCT<x: INT, y: INT>, y INT'
    """
    columns = schema.columns
    last_number = max(last_number, *(column.number for column in columns), 0)
    for addition in additions:
        if not addition.field.nullable:
            raise ConfigurationError(
                f"column {addition.field.name!r} cannot be added as NOT NULL: existing rows have no value for it"
            )
        columns = _with_field(columns, addition, addition.path, last_number)
        last_number = max(last_number, columns[-1].number)
    return TableSchema(columns)


def _with_field(fields: tuple[Field, ...], added: Addition, path: tuple[str, ...], last: int) -> tuple[Field, ...]:
    if not path:
        for field in fields:
            if field.name.lower() == added.field.name.lower():
                path_of_it = ".".join((*added.path, added.field.name))
                raise FieldExistsError(f"column {path_of_it!r} exists already, as {field.name!r}")
        return (*fields, replace(added.field, number=last + 1))
    name, *inside = path
    for index, field in enumerate(fields):
        if field.name.lower() == name.lower():
            changed = replace(field, type=_with_inside(field.type, added, tuple(inside)))
            return (*fields[:index], changed, *fields[index + 1 :])
    raise _no_struct(added)


def _with_inside(delta_type: DeltaType, added: Addition, path: tuple[str, ...]) -> DeltaType:
    match delta_type, path:
        case Struct(fields), _:
            return Struct(_with_field(fields, added, path, max(field.number for field in fields)))
        case Array(element, contains_null), ("element", *inside):
            return Array(_with_inside(element, added, tuple(inside)), contains_null)
        case Map(key, value, value_contains_null), ("value", *inside):
            return Map(key, _with_inside(value, added, tuple(inside)), value_contains_null)
    raise _no_struct(added)


def _no_struct(added: Addition) -> ConfigurationError:
    return ConfigurationError(f"column {'.'.join(added.path)!r} is not a struct, so it has no fields to add to")
