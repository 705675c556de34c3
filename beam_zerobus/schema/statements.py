"""SQL statements that make a table which Zerobus can write, and let a service principal write to it."""

from __future__ import annotations

from collections.abc import Iterable

from beam_zerobus.schema.additions import Addition
from beam_zerobus.schema.table import TableSchema

__all__ = [
    "add_columns_statement",
    "create_statement",
    "grant_statement",
    "grant_statements",
    "needed_grants",
    "quoted",
    "quoted_part",
    "show_grants_statement",
]


def create_statement(table: str, schema: TableSchema) -> str:
    """Return the statement that creates a managed Delta table.

    Args:
        table: ``catalog.schema.table``.
        schema: Its columns.

    Example:
        >>> print(create_statement("main.iot.air", TableSchema.from_ddl("id BIGINT NOT NULL, at TIMESTAMP")))
        CREATE TABLE IF NOT EXISTS `main`.`iot`.`air` (
          id BIGINT NOT NULL,
          at TIMESTAMP
        );
    """
    columns = ",\n".join(f"  {column.to_ddl()}" for column in schema.columns)
    return f"CREATE TABLE IF NOT EXISTS {quoted(table)} (\n{columns}\n);"


def add_columns_statement(table: str, additions: Iterable[Addition]) -> str:
    """Return the statement that adds columns, and fields of structs.

    Args:
        table: ``catalog.schema.table``.
        additions: At least one.

    Example:
        >>> note = TableSchema.from_ddl("note STRING").columns[0]
        >>> add_columns_statement("main.iot.air", [Addition((), note), Addition(("at",), note)])
        'ALTER TABLE `main`.`iot`.`air` ADD COLUMNS (note STRING, `at`.note STRING);'
    """
    columns = ", ".join(
        "".join(f"{quoted_part(name)}." for name in addition.path) + addition.field.to_ddl() for addition in additions
    )
    return f"ALTER TABLE {quoted(table)} ADD COLUMNS ({columns});"


def grant_statements(table: str, principal: str) -> list[str]:
    """Return the grants that a principal needs, each by its name: ``ALL PRIVILEGES`` is not enough for Zerobus.

    Args:
        table: ``catalog.schema.table``.
        principal: The client id of a service principal.

    Example:
        >>> grant_statements("main.iot.air", "1234")[0]
        'GRANT USE CATALOG ON CATALOG `main` TO `1234`;'
    """
    return [grant_statement(", ".join(given), kind, name, principal) for kind, name, given in needed_grants(table)]


def needed_grants(table: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return what a principal needs to write to a table: on what, its name, and which privileges.

    >>> needed_grants("main.iot.air")[2]
    ('table', 'main.iot.air', ('SELECT', 'MODIFY'))
    """
    catalog, schema, _ = table.split(".")
    return [
        ("catalog", catalog, ("USE CATALOG",)),
        ("schema", f"{catalog}.{schema}", ("USE SCHEMA",)),
        ("table", table, ("SELECT", "MODIFY")),
    ]


def grant_statement(privileges: str, kind: str, name: str, principal: str) -> str:
    """Return the statement that grants privileges.

    Args:
        privileges: Such as ``SELECT, MODIFY``.
        kind: ``catalog``, ``schema`` or ``table``.
        name: The name of what they concern, its parts separated by dots.
        principal: A service principal's client id, or the name of a user or group.

    Example:
        >>> grant_statement("USE SCHEMA", "schema", "main.iot", "ann.lee@example.com")
        'GRANT USE SCHEMA ON SCHEMA `main`.`iot` TO `ann.lee@example.com`;'
    """
    return f"GRANT {privileges} ON {kind.upper()} {quoted(name)} TO {quoted_part(principal)};"


def show_grants_statement(kind: str, name: str, principal: str) -> str:
    """Return the statement that shows what a principal was granted; arguments as for `grant_statement`.

    >>> show_grants_statement("catalog", "main", "1234")
    'SHOW GRANTS `1234` ON CATALOG `main`'
    """
    return f"SHOW GRANTS {quoted_part(principal)} ON {kind.upper()} {quoted(name)}"


def quoted(name: str) -> str:
    """Return a dotted name with each part in backticks.

    >>> quoted("main.iot")
    '`main`.`iot`'
    """
    return ".".join(map(quoted_part, name.split(".")))


def quoted_part(part: str) -> str:
    """Return one name in backticks.

    >>> quoted_part("odd`name")
    '`odd``name`'
    """
    return f"`{part.replace('`', '``')}`"
