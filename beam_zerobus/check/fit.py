"""Whether a writer takes rows: it converts a batch without any, as it would convert theirs."""

from __future__ import annotations

from collections import deque

import pyarrow as pa

from beam_zerobus.check.plans import Plans
from beam_zerobus.check.rows import Rows
from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.errors import ConversionError
from beam_zerobus.schema import TableSchema, why_rows_do_not_fit
from beam_zerobus.schema.additions import Addition, addable, arrow_fields_to_add, missing_fields, with_additions

__all__ = ["why_columns_cannot_be_added", "why_not_rescued", "why_not_written"]


def why_not_written(table: str, rows: Rows, columns: TableSchema, plans: Plans) -> str | None:
    """Return why a writer would reject the rows; None where it would not.

    Args:
        table: ``catalog.schema.table``.
        rows: The columns of the rows.
        columns: The columns that the writer converts them to.
        plans: The options of the writer.

    Raises:
        ZerobusError: No stream can carry the columns.
    """
    if plans.adds_columns:
        if rows.columns is not None and (problem := why_columns_cannot_be_added(rows.columns, columns)) is not None:
            return problem
        columns = with_additions(columns, _additions(rows, columns))
    conversion = Conversion(
        columns,
        plans.wire_format,
        table=table,
        ignore_unknown_fields="nulls" if plans.adds_columns else plans.ignores_fields,
        rescue_column=plans.rescue_column if plans.rescues else None,
        times=plans.times,
    )
    if (problem := _without_values(rows, columns)) is not None:
        return problem
    try:
        _convert_nothing(conversion, rows)
    except ConversionError as error:
        keys = tuple(column for column in columns.columns if not column.nullable)
        fitting = TableSchema(keys) if plans.rescues and keys else columns
        ignores = plans.on_unknown_fields != "reject"
        return _in_words(error, rows, fitting, plans, ignore_unknown_fields=ignores)
    return None


def why_not_rescued(table: str, rows: Rows, columns: TableSchema, plans: Plans) -> str | None:
    """Return what of the rows a rescue column has to take; None where the other columns take all."""
    conversion = Conversion(columns, plans.wire_format, table=table, times=plans.times)
    try:
        _convert_nothing(conversion, rows)
    except ConversionError as error:
        return _in_words(error, rows, columns, plans, ignore_unknown_fields=False)
    return None


def why_columns_cannot_be_added(ours: TableSchema, table: TableSchema) -> str | None:
    """Return which column a table lacks and cannot get; None where there is none."""
    additions = missing_fields(ours.columns, table.columns)
    possible = addable(additions, table)
    for addition in additions:
        if addition not in possible:
            name = ".".join((*addition.path, addition.field.name))
            return f"column {name!r} cannot be added: the table has no room for the new columns, or it nests too deep"
    return None


def _additions(rows: Rows, table: TableSchema) -> list[Addition]:
    """Return what a writer adds to the table for batches of the rows."""
    if rows.is_arrow or rows.columns is None:
        return arrow_fields_to_add(rows.arrow, table)
    return addable(missing_fields(rows.columns.columns, table.columns), table)


def _convert_nothing(conversion: Conversion, rows: Rows) -> None:
    deque(conversion.payloads(rows.empty_batch(conversion.schema)), maxlen=0)


def _without_values(rows: Rows, columns: TableSchema) -> str | None:
    """Return which column can hold no row, as it is null in each and NOT NULL in the table."""
    keys = {column.name.lower() for column in columns.columns if not column.nullable}
    for field in rows.arrow:
        if pa.types.is_null(field.type) and field.name.lower() in keys:
            return f"column {field.name!r} is NOT NULL in the table, and its Arrow type is null: give it values"
    return None


def _in_words(
    error: ConversionError, rows: Rows, columns: TableSchema, plans: Plans, *, ignore_unknown_fields: bool
) -> str:
    """Return what does not fit, in the types that the user wrote."""
    said = None
    if rows.columns is not None and not rows.is_arrow:
        said = why_rows_do_not_fit(
            rows.columns, columns, ignore_unknown_fields=ignore_unknown_fields, times=plans.times
        )
    return said or error.problem
