"""Makes tables that a service principal can write to."""

from __future__ import annotations

from collections.abc import Iterator

from beam_zerobus.logs import get_logger
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.statements import create_statement, grant_statement, needed_grants, show_grants_statement
from beam_zerobus.workspace.sql_warehouse import SqlWarehouse, StatementError

__all__ = ["make_table", "missing_grants"]

_log = get_logger(__name__)


def make_table(warehouse: SqlWarehouse, table: str, schema: TableSchema, principal: str | None) -> None:
    """Create a table if there is none, and let a principal write to it.

    A grant that cannot be given is only logged, as the principal may have the privilege from elsewhere. The service
    says what is missing when it opens a stream.

    Args:
        warehouse: Executes the statements.
        table: ``catalog.schema.table``.
        schema: Its columns.
        principal: Who writes; None for a principal that is not known.

    Raises:
        ZerobusError: The table could not be created.
    """
    warehouse.execute(create_statement(table, schema))
    if principal is None:
        return
    for statement in missing_grants(warehouse, table, principal):
        try:
            warehouse.execute(statement)
        except StatementError as error:
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
