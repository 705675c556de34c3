"""A table's columns after ALTER TABLE, and rows that were received before: which still fit, and their conversion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema import Array, Decimal, DeltaType, Field, Map, Primitive, Struct, TableSchema

__all__ = ["Addition", "FieldExistsError", "convert", "is_wider", "still_fits", "with_additions"]

_WHOLE = (Primitive.TINYINT, Primitive.SMALLINT, Primitive.INT, Primitive.BIGINT)


class FieldExistsError(ConfigurationError):
    """The table has a column or field of that name already."""


@dataclass(frozen=True, slots=True)
class Addition:
    """A column to add, or a field of a struct.

    Attributes:
        path: Where: nothing for a column, else the names from the column to the struct; ``element``, ``key`` and
            ``value`` lead into arrays and maps.
        field: What; its number does not count.
    """

    path: tuple[str, ...]
    field: Field


def with_additions(schema: TableSchema, additions: Sequence[Addition], last_number: int) -> TableSchema:
    """Return a table's columns after ALTER TABLE ADD COLUMNS.

    Args:
        schema: The columns before.
        additions: What is added, at the end of the table or of its struct.
        last_number: The highest number that a column has had; numbers are not used again, like positions in Unity
            Catalog.

    Raises:
        FieldExistsError: The table has such a field.
        ConfigurationError: An addition is NOT NULL, or is inside something that is not a struct.

    Example:
        >>> schema = TableSchema.from_ddl("id INT, at STRUCT<x: INT>")
        >>> y = Field(name="y", type=Primitive.INT, number=1)
        >>> with_additions(schema, [Addition(("at",), y), Addition((), y)], last_number=2).to_ddl()
        'id INT, at STRUCT<x: INT, y: INT>, y INT'
    """
    columns = schema.columns
    for addition in additions:
        if not addition.field.nullable:
            raise ConfigurationError(
                f"column {addition.field.name!r} cannot be added as NOT NULL: existing rows have no value for it"
            )
        columns = _with_field(columns, addition, addition.path, last_number)
        last_number = max(last_number, *(column.number for column in columns))
    return TableSchema(columns)


def _with_field(fields: tuple[Field, ...], added: Addition, path: tuple[str, ...], last: int) -> tuple[Field, ...]:
    if not path:
        if any(field.name.lower() == added.field.name.lower() for field in fields):
            raise FieldExistsError(f"column {'.'.join((*added.path, added.field.name))!r} exists already")
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


def is_wider(old: DeltaType, new: DeltaType) -> bool:
    """Return whether ALTER COLUMN TYPE may change a column from one type to another: every value is kept exactly.

    Example:
        >>> is_wider(Primitive.INT, Primitive.BIGINT), is_wider(Primitive.BIGINT, Primitive.INT)
        (True, False)
    """
    if isinstance(old, Decimal) and isinstance(new, Decimal):
        return new != old and new.scale >= old.scale and new.precision - new.scale >= old.precision - old.scale
    if isinstance(old, Primitive) and old in _WHOLE:
        if isinstance(new, Decimal):
            return new.precision - new.scale >= (20 if old is Primitive.BIGINT else 10)
        if new in _WHOLE:
            return _WHOLE.index(new) > _WHOLE.index(old)
        return new is Primitive.DOUBLE and old is not Primitive.BIGINT
    return (old, new) in ((Primitive.FLOAT, Primitive.DOUBLE), (Primitive.DATE, Primitive.TIMESTAMP_NTZ))


def still_fits(before: TableSchema, now: TableSchema) -> bool:
    """Return whether rows of a former schema fit the table as it is: no field of theirs is gone or of another type.

    Example:
        >>> before = TableSchema.from_ddl("id INT, name STRING")
        >>> still_fits(before, TableSchema.from_ddl("id BIGINT, name STRING, more INT"))
        True
        >>> still_fits(before, TableSchema.from_ddl("id INT"))
        False
    """
    return _fields_fit(before.columns, now.columns)


def _fields_fit(before: tuple[Field, ...], now: tuple[Field, ...]) -> bool:
    fields = {field.number: field for field in now}
    return all(
        (field := fields.get(former.number)) is not None
        and field.name == former.name
        and _type_fits(former.type, field.type)
        for former in before
    )


def _type_fits(before: DeltaType, now: DeltaType) -> bool:
    match before, now:
        case Struct(), Struct():
            return _fields_fit(before.fields, now.fields)
        case Array(), Array():
            return before.contains_null == now.contains_null and _type_fits(before.element, now.element)
        case Map(), Map():
            same = (before.key, before.value_contains_null) == (now.key, now.value_contains_null)
            return same and _type_fits(before.value, now.value)
    return before == now or is_wider(before, now)


def convert(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows in the columns of a schema: new ones are null, types are widened, what is gone is left out."""
    if table.schema.equals(schema):
        return table
    have = set(table.column_names)
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in have
        else pa.chunked_array([pa.nulls(table.num_rows, field.type)])
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
