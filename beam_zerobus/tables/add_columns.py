"""Adds columns to a table, to which others may add some at the same time."""

from __future__ import annotations

from collections.abc import Callable

from beam_zerobus.errors import counted
from beam_zerobus.logs import get_logger
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.additions import FindAdditions
from beam_zerobus.schema.statements import add_columns_statement
from beam_zerobus.workspace.sql_warehouse import SqlWarehouse, StatementError

__all__ = ["add_columns"]

_log = get_logger(__name__)

_AT_ONCE = 1_000  # columns in a statement, whose text then stays below 16 MiB however deep and long their names are


def add_columns(
    warehouse: SqlWarehouse, table: str, find: FindAdditions, *, describe: Callable[[], TableSchema]
) -> TableSchema:
    """Add what a table lacks, and return its columns; nothing is added twice.

    A statement fails as a whole where another worker was faster with one of its columns. Then the table is described
    again, and what it still lacks is added; a column that it has by now stays as it is, whatever its type.

    Args:
        warehouse: Executes the statements.
        table: ``catalog.schema.table``.
        find: Finds what a table with given columns lacks.
        describe: Fetches the columns of the table.

    Raises:
        StatementError: The columns cannot be added.
        ZerobusError: The warehouse or the table cannot be used.
    """
    schema = describe()
    while additions := find(schema):
        failure: StatementError | None = None
        try:
            for start in range(0, len(additions), _AT_ONCE):
                warehouse.execute(add_columns_statement(table, additions[start : start + _AT_ONCE]))
            _log.info("Added %s to table %s", counted(len(additions), "column"), table)
        except StatementError as error:
            failure = error
        newest = describe()
        if len(find(newest)) == len(additions):  # nobody has added anything
            if failure is not None:
                raise failure
            return newest
        schema = newest
    return schema
