"""Makes tables that a service principal can write to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from beam_zerobus.errors import AuthenticationError, ConfigurationError, ZerobusError
from beam_zerobus.logs import get_logger
from beam_zerobus.schema import TableSchema, why_rows_do_not_fit
from beam_zerobus.schema.statements import create_statement, grant_statement, needed_grants, show_grants_statement
from beam_zerobus.workspace.sql_warehouse import SqlWarehouse, StatementError
from beam_zerobus.workspace.unity_catalog import effective_privileges

__all__ = ["find_or_make_table", "missing_grants"]

_log = get_logger(__name__)


def find_or_make_table(
    warehouse: SqlWarehouse,
    table: str,
    wanted: TableSchema,
    *,
    principal: str | None,
    describe: Callable[[], TableSchema],
    may_lack_columns: bool = False,
) -> TableSchema:
    """Return the columns of a table, which is created first if there is none; any number of workers may do so at once.

    Args:
        warehouse: Creates it.
        table: ``catalog.schema.table``.
        wanted: The columns of a new table, and of the rows.
        principal: Who writes, and is granted what is missing for that; None for a principal that is not known.
        describe: Fetches the columns of the table.
        may_lack_columns: A table without some of the columns fits, as its writer knows what to do about them.

    Raises:
        ConfigurationError: There is a table that rows of these columns do not fit; it is left as it is.
        ZerobusError: The table cannot be created.
    """
    found = _find(describe)
    if found is None:
        try:
            warehouse.execute(create_statement(table, wanted))
        except StatementError:
            if _find(describe) is None:  # else another worker was faster
                raise
        found = describe()
    if principal is not None:
        _grant(warehouse, table, principal)
    problem = why_rows_do_not_fit(wanted, found, ignore_unknown_fields=may_lack_columns)
    if problem is not None:
        lacking = "" if may_lack_columns else ", or set on_unknown_fields for columns that the table lacks"
        raise ConfigurationError(
            f"table {table} exists with other columns, and is left as it is; rows of the schema do not fit: {problem}; "
            f"change the schema or the table{lacking}"
        )
    return found


def _find(describe: Callable[[], TableSchema]) -> TableSchema | None:
    try:
        return describe()
    except ConfigurationError as error:
        if error.unknown_table:
            return None
        raise


def _grant(warehouse: SqlWarehouse, table: str, principal: str) -> None:
    """Let a principal write to a table, if it does not yet: another worker may have created it this moment.

    A grant that cannot be given is only logged, as the principal may have the privilege from elsewhere. The service
    says what is missing when it opens a stream.
    """
    url, headers = warehouse.workspace_url, warehouse.headers()
    held = effective_privileges(url, "table", table, principal, headers=headers)
    if held is None or {"SELECT", "MODIFY"} <= held:  # a warehouse is not started for nothing
        return
    try:
        for statement in missing_grants(warehouse, table, principal):
            try:
                warehouse.execute(statement)
            except StatementError as error:
                _warn_of_grant(table, error)
    except (AuthenticationError, ConfigurationError) as error:  # the warehouse may not be used, or there is none
        _warn_of_grant(table, error)


def _warn_of_grant(table: str, error: ZerobusError) -> None:
    _log.warning("A grant for table %s could not be given, and may be missing: %s", table, error)


def missing_grants(warehouse: SqlWarehouse, table: str, principal: str) -> Iterator[str]:
    """Yield the statements that give a principal what it needs to write and does not have; see `needed_grants`."""
    for kind, name, privileges in needed_grants(table):
        held = _granted(warehouse, kind, name, principal)
        missing = [privilege for privilege in privileges if privilege not in held]
        if missing:
            yield grant_statement(", ".join(missing), kind, name, principal)


def _granted(warehouse: SqlWarehouse, kind: str, name: str, principal: str) -> set[str]:
    """Return the privileges of a principal, by their names; those that may not be seen count as missing."""
    try:
        rows = warehouse.execute(show_grants_statement(kind, name, principal))
    except StatementError:
        return set()
    return {str(row[1]).replace("_", " ").upper() for row in rows if len(row) > 1}
