"""Rows that were received before the table's columns changed: which of them still fit, and their conversion."""

from __future__ import annotations

import pyarrow as pa

from beam_zerobus.schema import Array, Decimal, DeltaType, Field, Map, Primitive, Struct, TableSchema

__all__ = ["convert", "is_wider", "still_fits"]

_WHOLE = (Primitive.TINYINT, Primitive.SMALLINT, Primitive.INT, Primitive.BIGINT)


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
