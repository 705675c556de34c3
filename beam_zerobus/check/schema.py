"""Whether rows fit the table's columns, as a writer would convert them."""

from __future__ import annotations

from contextlib import suppress

from beam_zerobus.check.fit import why_columns_cannot_be_added, why_not_rescued, why_not_written
from beam_zerobus.check.plans import Plans
from beam_zerobus.check.remedies import another_table
from beam_zerobus.check.report import Findings
from beam_zerobus.check.rows import Rows
from beam_zerobus.errors import ConfigurationError, ZerobusError, counted
from beam_zerobus.schema import Field, Primitive, TableSchema, why_rows_do_not_fit
from beam_zerobus.schema.additions import Addition, missing_fields, with_additions
from beam_zerobus.schema.rescue import RescueColumn
from beam_zerobus.schema.statements import add_columns_statement
from beam_zerobus.workspace.http import Answer
from beam_zerobus.workspace.unity_catalog import table_schema

__all__ = ["check_schema", "check_without_table"]


def check_schema(findings: Findings, description: Answer, rows: Rows | None, plans: Plans) -> TableSchema | None:
    """Report every difference between the rows' schema, if given, and the table's.

    Args:
        findings: Where to add what is found.
        description: Unity Catalog's description of the table.
        rows: The columns that the rows will have, if they are known.
        plans: The options of the writer.

    Returns:
        The columns of the writer's stream; None where rows cannot be written to the table as it is.
    """
    table = findings.table
    try:
        found = table_schema(description, table)
    except ZerobusError as error:
        findings.add_error("schema", error, another_table(table, _columns_of(rows)))
        return None
    declared = _declared(rows, plans)
    sent = found if declared is None or plans.creates_table else declared
    if plans.rescues and not _can_rescue(findings, sent, plans.rescue_column):
        return None
    if declared is None:
        problem = _problem_of_columns(rows, plans)
    elif (problem := _why_declared_do_not_fit(declared, found, plans)) is not None:
        rows = Rows.of_table(declared)
    rescued = None
    if problem is None and rows is not None:
        with suppress(ZerobusError):  # no stream can carry a column, as the check of the stream says
            problem = why_not_written(table, rows, sent, plans)
            rescued = why_not_rescued(table, rows, sent, plans) if plans.rescues else None
    if problem is not None:
        findings.add("schema", "fail", f"rows do not fit: {problem}", _remedy_of_misfit(table, rows, found))
        return None
    if rescued is not None:
        message = f"what does not fit is written into {plans.rescue_column}: {rescued}"
        findings.add("schema", "warn", message, _remedy_of_misfit(table, rows, found))
    else:
        findings.add("schema", "pass", f"{counted(len(found.columns), 'column')}: {found.to_ddl()}")
    return sent


def check_without_table(findings: Findings, rows: Rows | None, plans: Plans) -> TableSchema | None:
    """Report whether a writer takes the rows where it knows no table; return the columns of its stream, if known."""
    declared = plans.schema if isinstance(plans.schema, TableSchema) else _columns_of(rows)
    problem = rows.problem if rows is not None and declared is None else None
    if declared is not None:
        try:
            problem = why_not_written(findings.table, rows or Rows.of_table(declared), declared, plans)
        except ZerobusError as error:
            problem = str(error)
    if problem is None:
        return declared
    findings.add("schema", "fail", f"rows do not fit: {problem}", another_table(findings.table, None))
    return None


def _columns_of(rows: Rows | None) -> TableSchema | None:
    return None if rows is None else rows.columns


def _declared(rows: Rows | None, plans: Plans) -> TableSchema | None:
    """Return the columns that the writer knows without the table; None where it has the table's."""
    if isinstance(plans.schema, TableSchema):
        return plans.schema
    return rows.columns if rows is not None and plans.takes_schema_of_rows else None


def _problem_of_columns(rows: Rows | None, plans: Plans) -> str | None:
    """Return why there are no such columns, where the writer has to make them of the rows' own."""
    return rows.problem if rows is not None and rows.columns is None and plans.takes_schema_of_rows else None


def _why_declared_do_not_fit(declared: TableSchema, found: TableSchema, plans: Plans) -> str | None:
    if not plans.creates_table:
        return why_rows_do_not_fit(declared, found)
    if plans.adds_columns and (problem := why_columns_cannot_be_added(declared, found)) is not None:
        return problem
    return why_rows_do_not_fit(declared, found, ignore_unknown_fields=plans.on_unknown_fields != "reject")


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


def _remedy_of_misfit(table: str, rows: Rows | None, found: TableSchema) -> str:
    """Return the statement that adds what a table lacks, where nothing else is wrong, else what makes another table."""
    columns = _columns_of(rows)
    if columns is None:
        return another_table(table, None)
    additions = missing_fields(columns.columns, found.columns)
    with suppress(ZerobusError):  # such as more columns than a table may have
        if additions and why_rows_do_not_fit(columns, with_additions(found, additions)) is None:
            return add_columns_statement(table, additions)
    return another_table(table, columns)
