"""What a job plans: to create the table, to add columns, to rescue values; and whether it may."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from beam_zerobus.check.report import Findings
from beam_zerobus.errors import ZerobusError
from beam_zerobus.options import CreateTable, OnUnknownFields, WireFormat
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.source import ELEMENTS
from beam_zerobus.schema.statements import grant_statement
from beam_zerobus.schema.time_rules import TimeRules
from beam_zerobus.workspace.secret import Secret
from beam_zerobus.workspace.sql_warehouse import SqlWarehouse
from beam_zerobus.workspace.unity_catalog import effective_privileges

__all__ = ["Plans", "check_plans"]

_WAREHOUSE = "SQL warehouse"
_REMEDY = "export DATABRICKS_WAREHOUSE_ID=...   # the id in the connection details of a SQL warehouse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """The options of a writer that decide which rows fit, and what happens to a table that they do not fit.

    `schema` is the writer's own: rows are converted to it, and not to the table's.
    """

    wire_format: WireFormat
    schema: TableSchema | Literal["unity_catalog", "elements"] | None
    times: TimeRules
    on_unknown_fields: OnUnknownFields
    rescue_column: str
    create_table: CreateTable
    warehouse_id: str | None

    @property
    def creates_table(self) -> bool:
        """The table may be missing."""
        return self.create_table == "if_needed"

    @property
    def adds_columns(self) -> bool:
        """Columns may be missing."""
        return self.on_unknown_fields == "add"

    @property
    def ignores_fields(self) -> bool:
        """Fields that the table lacks are dropped."""
        return self.on_unknown_fields == "ignore"

    @property
    def rescues(self) -> bool:
        """What does not fit is written into the rescue column."""
        return self.on_unknown_fields == "rescue"

    @property
    def takes_schema_of_rows(self) -> bool:
        """The rows' own columns apply, and not the table's alone."""
        return self.schema == ELEMENTS or (self.creates_table and not isinstance(self.schema, TableSchema))

    @property
    def need_warehouse(self) -> bool:
        """They may take a SQL warehouse."""
        return self.creates_table or self.adds_columns


def check_plans(
    findings: Findings,
    workspace_url: str,
    principal: str | None,
    headers: Mapping[str, Secret],
    plans: Plans,
    *,
    table_exists: bool,
) -> None:
    """Report whether the plans can be carried out: there is a SQL warehouse, and the privilege to create the table.

    Args:
        findings: Where to add what is found.
        workspace_url: The workspace.
        principal: Who writes, if that is known.
        headers: What signs requests in.
        plans: The plans.
        table_exists: The table does not have to be created.
    """
    if plans.adds_columns or (plans.creates_table and not table_exists):
        _check_warehouse(findings, workspace_url, headers, plans.warehouse_id)
    if plans.creates_table and not table_exists and principal:
        schema = findings.table.rpartition(".")[0]
        held = effective_privileges(workspace_url, "schema", schema, principal, headers=headers)
        if held is None:
            findings.add("grant CREATE TABLE", "skip", f"the workspace does not show the grants on {schema}")
        elif held & {"CREATE TABLE", "ALL PRIVILEGES"}:
            findings.add("grant CREATE TABLE", "pass", f"on {schema}")
        else:
            remedy = grant_statement("CREATE TABLE", "schema", schema, principal)
            findings.add("grant CREATE TABLE", "fail", f"is missing on {schema}", remedy)


def _check_warehouse(
    findings: Findings, workspace_url: str, headers: Mapping[str, Secret], warehouse_id: str | None
) -> None:
    found = warehouse_id or os.environ.get("DATABRICKS_WAREHOUSE_ID", "").strip()
    if not found:
        findings.add(_WAREHOUSE, "fail", "DATABRICKS_WAREHOUSE_ID is not set", _REMEDY)
        return
    try:
        state = SqlWarehouse(workspace_url=workspace_url, warehouse_id=found, headers=lambda: headers).state()
    except ZerobusError as error:
        findings.add_error(_WAREHOUSE, error, _REMEDY)
    else:
        findings.add(_WAREHOUSE, "pass", f"{found} is {state}")
