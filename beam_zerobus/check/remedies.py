"""Remedies as commands to paste; a person fills in what is ``...`` or an example."""

from __future__ import annotations

import shlex

from beam_zerobus.schema import TableSchema

__all__ = ["SERVICE_PRINCIPAL", "another_table", "check_again", "new_table"]

SERVICE_PRINCIPAL = "export DATABRICKS_CLIENT_ID=... DATABRICKS_CLIENT_SECRET=..."
_EXAMPLE = "id BIGINT NOT NULL, ..."


def check_again(table: str, when: str) -> str:
    """Return the command that checks again, and when.

    >>> check_again("main.iot.air", "later")
    'beam-zerobus check main.iot.air   # later'
    """
    return f"beam-zerobus check {table}   # {when}"


def new_table(table: str, schema: TableSchema | None) -> str:
    """Return the command that makes a table; without a schema its columns are to be filled in.

    >>> new_table("main.iot.air", TableSchema.from_ddl("id BIGINT"))
    "beam-zerobus create-table main.iot.air --schema 'id BIGINT'"
    """
    columns = _EXAMPLE if schema is None else schema.to_ddl()
    return f"beam-zerobus create-table {table} --schema {shlex.quote(columns)}"


def another_table(table: str, schema: TableSchema | None) -> str:
    """Return the commands that make and check another table, where this one cannot be written as it is."""
    return f"{new_table(f'{table}_zerobus', schema)}\n{check_again(f'{table}_zerobus', 'and write to that table')}"
