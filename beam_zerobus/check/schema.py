"""Whether rows fit the table's columns."""

from __future__ import annotations

from contextlib import suppress

from beam_zerobus.check.plans import Plans
from beam_zerobus.check.remedies import another_table
from beam_zerobus.check.report import Findings
from beam_zerobus.errors import ConfigurationError, ZerobusError
from beam_zerobus.schema import Field, Primitive, TableSchema, why_rows_do_not_fit
from beam_zerobus.schema.additions import Addition, addable, missing_fields, with_additions
from beam_zerobus.schema.rescue import RescueColumn
from beam_zerobus.schema.statements import add_columns_statement
from beam_zerobus.workspace.http import Answer
from beam_zerobus.workspace.unity_catalog import table_schema

__all__ = ["check_schema"]


def check_schema(findings: Findings, description: Answer, rows: TableSchema | None, plans: Plans) -> TableSchema | None:
    """Report every difference between the rows' schema, if given, and the table's.

    Args:
        findings: Where to add what is found.
        description: Unity Catalog's description of the table.
        rows: The schema that the rows will have, if it is known.
        plans: What becomes of fields that the table lacks.

    Returns:
        The table's schema; None where rows cannot be written to it as it is.
    """
    table = findings.table
    try:
        found = table_schema(description, table)
    except ZerobusError as error:
        findings.add_error("schema", error, another_table(table, rows))
        return None
    if plans.rescues and not _can_rescue(findings, found, plans.rescue_column):
        return None
    if rows is not None and (problem := _misfit(rows, found, plans)) is not None:
        if plans.rescues and _keys_fit(rows, found):
            message = f"what does not fit is written into {plans.rescue_column}: {problem}"
            findings.add("schema", "warn", message, _remedy_of_misfit(table, rows, found))
            return found
        findings.add("schema", "fail", f"rows do not fit: {problem}", _remedy_of_misfit(table, rows, found))
        return None
    findings.add("schema", "pass", f"{len(found.columns)} columns: {found.to_ddl()}")
    return found


def _misfit(rows: TableSchema, found: TableSchema, plans: Plans) -> str | None:
    if plans.adds_columns:
        additions = missing_fields(rows.columns, found.columns)
        possible = addable(additions, found)
        for addition in additions:
            if addition not in possible:
                name = ".".join((*addition.path, addition.field.name))
                return (
                    f"column {name!r} cannot be added: the table has no room for the new columns, or it nests too deep"
                )
    return why_rows_do_not_fit(rows, found, ignore_unknown_fields=plans.on_unknown_fields in ("ignore", "add"))


def _keys_fit(rows: TableSchema, found: TableSchema) -> bool:
    """Return whether rows have all NOT NULL columns, which cannot be rescued."""
    keys = tuple(column for column in found.columns if not column.nullable)
    return not keys or why_rows_do_not_fit(rows, TableSchema(keys), ignore_unknown_fields=True) is None


def _can_rescue(findings: Findings, found: TableSchema, name: str) -> bool:
    try:
        RescueColumn.of(found, name)
    except ConfigurationError as error:
        column = Field(name=name, type=Primitive.VARIANT, number=1)
        is_missing = all(there.name.lower() != name.lower() for there in found.columns)
        statement = add_columns_statement(findings.table, [Addition((), column)])
        findings.add_error("rescue column", error, statement if is_missing else another_table(findings.table, None))
        return False
    findings.add("rescue column", "pass", f"{name} takes what the other columns cannot hold")
    return True


def _remedy_of_misfit(table: str, rows: TableSchema, found: TableSchema) -> str:
    """Return the statement that adds what a table lacks, where nothing else is wrong, else what makes another table."""
    additions = missing_fields(rows.columns, found.columns)
    with suppress(ZerobusError):  # such as more columns than a table may have
        if additions and why_rows_do_not_fit(rows, with_additions(found, additions)) is None:
            return add_columns_statement(table, additions)
    return another_table(table, rows)
