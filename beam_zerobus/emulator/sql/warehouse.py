"""Executes SQL statements on the emulator's tables, as a principal who needs the privileges for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from beam_zerobus.emulator.access.grants import Grants
from beam_zerobus.emulator.sql.statements import (
    AddColumns,
    CreateTable,
    Describe,
    DropConstraint,
    Grant,
    ShowGrants,
    Statement,
    parse,
)
from beam_zerobus.emulator.tables.catalog import Catalog
from beam_zerobus.emulator.tables.layout import Layout
from beam_zerobus.emulator.tables.table import Table
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.schema.additions import FieldExistsError
from beam_zerobus.schema.ddl import DdlError
from beam_zerobus.schema.statements import quoted

__all__ = ["Result", "SqlError", "Warehouse"]

_CHECK_CONSTRAINT = "delta.constraints."


class SqlError(Exception):
    """A statement that failed, with the error class and SQLSTATE that Databricks gives it."""

    def __init__(self, condition: str, state: str, message: str) -> None:
        super().__init__(f"[{condition}] {message} SQLSTATE: {state}")
        self.state = state


@dataclass(frozen=True, slots=True)
class Result:
    """What a statement returns: names of columns, all of text, and rows."""

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str | None, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Warehouse:
    """Executes statements.

    Attributes:
        grants: Who may do what.
        catalog: Returns the catalog, which is made later.
    """

    grants: Grants
    catalog: Callable[[], Catalog]

    def execute(self, text: str, principal: str) -> Result:
        """Execute a statement.

        Raises:
            SqlError: It cannot be read, or failed.
        """
        try:
            return self._execute(parse(text), principal)
        except DdlError as error:
            raise SqlError("PARSE_SYNTAX_ERROR", "42601", str(error)) from None
        except FieldExistsError as error:
            raise SqlError("FIELD_ALREADY_EXISTS", "42710", f"Cannot add column: {error}.") from None
        except ConfigurationError as error:
            raise SqlError("INVALID_PARAMETER_VALUE", "22023", str(error)) from None

    def _execute(self, statement: Statement, principal: str) -> Result:
        match statement:
            case CreateTable():
                return self._create(statement, principal)
            case AddColumns():
                self._alterable(statement.table, principal).add_fields(statement.additions)
                return Result()
            case DropConstraint():
                return self._drop_constraint(statement, principal)
            case Grant():
                return self._grant(statement, principal)
            case ShowGrants():
                return self._show_grants(statement, principal)
            case Describe():
                return self._describe(statement, principal)

    def _create(self, new: CreateTable, principal: str) -> Result:
        schema = new.table.rpartition(".")[0]
        self._need(principal, "CREATE TABLE", schema)
        self._enter(principal, new.table)
        if self.catalog().find(new.table) is not None:
            if not new.if_not_exists:
                raise SqlError(
                    "TABLE_OR_VIEW_ALREADY_EXISTS", "42P07", f"{quoted(new.table)} already exists, choose another name."
                )
            return Result()
        try:
            self.catalog().create(new.table, new.schema, Layout(partitioned_by=new.partitioned_by), owner=principal)
        except ConfigurationError:
            if not (new.if_not_exists and self.catalog().find(new.table) is not None):  # another one was faster
                raise
        return Result()

    def _drop_constraint(self, dropped: DropConstraint, principal: str) -> Result:
        table = self._alterable(dropped.table, principal)
        properties = dict(table.description.get("properties", {}))
        if properties.pop(_CHECK_CONSTRAINT + dropped.constraint, None) is None and not dropped.if_exists:
            raise SqlError(
                "DELTA_CONSTRAINT_DOES_NOT_EXIST", "42704", f"There is no constraint {dropped.constraint!r} to drop."
            )
        table.description = {**table.description, "properties": properties}
        return Result()

    def _grant(self, change: Grant, principal: str) -> Result:
        if change.kind == "TABLE":
            self._table(change.name)
        self._need(principal, "MANAGE", change.name)
        if change.principal not in self.grants.principals:
            raise SqlError(
                "PRINCIPAL_DOES_NOT_EXIST",
                "42704",
                f"Could not find principal with name {change.principal}; the emulator knows its client id and its "
                "administrator.",
            )
        apply = self.grants.revoke if change.is_revoked else self.grants.grant
        apply(change.principal, change.name, change.privileges)
        return Result()

    def _show_grants(self, asked: ShowGrants, principal: str) -> Result:
        if asked.kind == "TABLE":
            self._table(asked.name)
        if asked.principal != principal:
            self._need(principal, "MANAGE", asked.name)
        principals = sorted(self.grants.principals) if asked.principal is None else [asked.principal]
        rows = [
            (holder, privilege, asked.kind, asked.name)
            for holder in principals
            for privilege in sorted(self.grants.granted(holder, asked.name))
        ]
        return Result(("Principal", "ActionType", "ObjectType", "ObjectKey"), tuple(rows))

    def _describe(self, asked: Describe, principal: str) -> Result:
        self._need(principal, "SELECT", asked.table)
        self._enter(principal, asked.table)
        columns = self._table(asked.table).schema.to_unity_catalog()
        rows = [(column["name"], column["type_text"], column.get("comment")) for column in columns]
        return Result(("col_name", "data_type", "comment"), tuple(rows))

    def _alterable(self, name: str, principal: str) -> Table:
        table = self._table(name)
        self._need(principal, "MODIFY", name)
        self._enter(principal, name)
        return table

    def _table(self, name: str) -> Table:
        table = self.catalog().find(name)
        if table is None:
            raise SqlError("TABLE_OR_VIEW_NOT_FOUND", "42P01", f"The table or view {quoted(name)} cannot be found.")
        return table

    def _enter(self, principal: str, table: str) -> None:
        catalog, schema, _ = table.split(".")
        self._need(principal, "USE CATALOG", catalog)
        self._need(principal, "USE SCHEMA", f"{catalog}.{schema}")

    def _need(self, principal: str, privilege: str, name: str) -> None:
        if not self.grants.may(principal, privilege, name):
            raise SqlError("INSUFFICIENT_PERMISSIONS", "42501", f"User does not have {privilege} on {quoted(name)}.")
