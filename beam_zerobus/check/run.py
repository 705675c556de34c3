"""`check_table`: all checks, in the order in which each makes the next one possible."""

from __future__ import annotations

import os
from contextlib import suppress

from beam_zerobus.check.access import check_clock, check_grants, check_table_kind, check_token
from beam_zerobus.check.addresses import check_not_swapped, check_reachable, find_addresses
from beam_zerobus.check.environment import check_credentials_present, check_versions
from beam_zerobus.check.plans import Plans, check_plans
from beam_zerobus.check.remedies import check_again
from beam_zerobus.check.report import Findings, Report
from beam_zerobus.check.rows import Rows
from beam_zerobus.check.schema import check_schema, check_without_table
from beam_zerobus.errors import ZerobusError
from beam_zerobus.options import CreateTable, OnUnknownFields, WireFormat
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.source import SchemaSource, parse_schema
from beam_zerobus.schema.table_name import check_table_name
from beam_zerobus.schema.time_rules import EpochUnit, TimeRules, check_timezone
from beam_zerobus.workspace.credentials import Credentials, OAuthClientCredentials
from beam_zerobus.workspace.tokens import TokenSource

__all__ = ["check_table"]


def check_table(
    table: str,
    *,
    endpoint: str | None = None,
    workspace_url: str | None = None,
    credentials: Credentials | None = None,
    schema: SchemaSource = None,
    wire_format: WireFormat = "proto",
    on_unknown_fields: OnUnknownFields = "reject",
    rescue_column: str = "_rescued_data",
    create_table: CreateTable = "never",
    warehouse_id: str | None = None,
    assume_timezone: str | None = None,
    epoch_unit: EpochUnit | None = None,
    writer_schema: SchemaSource = None,
    python_values: bool = False,
) -> Report:
    """Check everything that can be known before a row is sent to a table; sends none.

    `ZerobusWriter.check` and `WriteToZerobus.check` do the same with the options that they have.

    Args:
        table: ``"catalog.schema.table"``.
        endpoint: URL of the Zerobus service, else ``ZEROBUS_ENDPOINT``.
        workspace_url: URL of the workspace, else ``DATABRICKS_HOST``.
        credentials: As for `ZerobusWriter`, else ``DATABRICKS_CLIENT_ID`` and ``DATABRICKS_CLIENT_SECRET``.
        schema: The schema that the rows will have, to compare with the table's: DDL, `pyarrow.Schema` or `TableSchema`.
        wire_format: The format that the stream is opened for.
        on_unknown_fields: As for `ZerobusWriter`: columns that the table lacks are a failure with ``"reject"`` only;
            ``"add"`` needs a SQL warehouse, and ``"rescue"`` the rescue column.
        rescue_column: That column.
        create_table: As for `ZerobusWriter`: with ``"if_needed"`` the table may be missing, if there is a SQL warehouse
            and the privilege to create it.
        warehouse_id: The SQL warehouse's id, else ``DATABRICKS_WAREHOUSE_ID``.
        assume_timezone: As for `ZerobusWriter`: the time zone of timestamps that have none.
        epoch_unit: As for `ZerobusWriter`: the unit of whole numbers in timestamp columns.
        writer_schema: The ``schema`` of the writer, where it is not the table's: rows are converted to it.
        python_values: The rows are Python values, of which some columns take more than of Arrow's, such as text for
            TIMESTAMP; `schema` has the types that stand for theirs.

    Returns:
        The findings; nothing is raised for what is wrong with table, network or service.

    Example:
        >>> check_table("iot.air").exit_code
        2
    """
    check_timezone(assume_timezone)
    findings = Findings(table)
    plans = Plans(
        wire_format=wire_format,
        schema=parse_schema(writer_schema),
        times=TimeRules(assume_timezone=assume_timezone, epoch_unit=epoch_unit),
        on_unknown_fields=on_unknown_fields,
        rescue_column=rescue_column,
        create_table=create_table,
        warehouse_id=warehouse_id,
    )
    credentials = credentials or OAuthClientCredentials()
    check_versions(findings)
    try:
        check_table_name(table)
    except ZerobusError as error:
        findings.add("table name", "fail", str(error), check_again("catalog.schema.table", "with the whole name"))
    if workspace_url is None and not os.environ.get("DATABRICKS_HOST"):
        with suppress(ZerobusError):  # `check_credentials_present` says what is wrong with a profile
            workspace_url = credentials.workspace_url()
    endpoint, workspace_url = find_addresses(
        findings, endpoint, workspace_url, needs_workspace=credentials.needs_workspace or plans.need_warehouse
    )
    check_credentials_present(findings, credentials)
    rows = _parsed(findings, schema, python_values=python_values)
    for name, url in (("endpoint", endpoint), ("workspace", workspace_url)):
        if url is not None and not findings.failed(name):
            check_reachable(findings, name, url)
    if findings.failed() or endpoint is None:
        findings.add("workspace and stream", "skip", "not checked, since what they need failed")
        return findings.report()
    tokens = TokenSource(credentials, table=table, endpoint=endpoint, workspace_url=workspace_url)
    if workspace_url is None:
        columns = check_without_table(findings, rows, plans)
    else:
        columns = _check_workspace(findings, workspace_url, tokens, credentials=credentials, rows=rows, plans=plans)
        if findings.failed("token"):
            check_not_swapped(findings, endpoint, workspace_url)
    if columns is not None:
        from beam_zerobus.check.stream import check_stream  # noqa: PLC0415  the SDK may not load: see `check_versions`

        check_stream(
            findings,
            table,
            columns,
            wire_format=wire_format,
            endpoint=endpoint,
            workspace_url=workspace_url,
            tokens=tokens,
        )
    elif workspace_url is None and not findings.failed("schema"):
        findings.add("stream", "skip", "not checked without a schema: give it, or the workspace that has it")
    return findings.report()


def _check_workspace(
    findings: Findings,
    workspace_url: str,
    tokens: TokenSource,
    *,
    credentials: Credentials,
    rows: Rows | None,
    plans: Plans,
) -> TableSchema | None:
    """Check what the workspace knows, and return the table's columns; None where no stream can be opened yet."""
    table = findings.table
    check_clock(findings, workspace_url)
    headers = check_token(findings, tokens)
    if headers is None:
        findings.add("grants and stream", "skip", "not checked without a token")
        return None
    principal = _principal(credentials)
    if principal:
        check_grants(findings, workspace_url, table, principal, headers)
    description = check_table_kind(
        findings, workspace_url, headers, None if rows is None else rows.columns, may_be_missing=plans.creates_table
    )
    check_plans(findings, workspace_url, principal, headers, plans, table_exists=description is not None)
    if description is None and plans.creates_table:
        check_without_table(findings, rows, plans)
    if description is None or findings.failed():
        findings.add("schema and stream", "skip", "not checked, since the table cannot be written yet")
        return None
    return check_schema(findings, description, rows, plans)


def _principal(credentials: Credentials) -> str | None:
    with suppress(ZerobusError):  # the token was fetched, so that this is rare
        return credentials.principal()
    return None


def _parsed(findings: Findings, schema: SchemaSource, *, python_values: bool) -> Rows | None:
    try:
        return Rows.of(schema, python_values=python_values)
    except ZerobusError as error:
        remedy = f"beam-zerobus check {findings.table} --schema 'id BIGINT NOT NULL, ...'   # as DDL"
        findings.add("schema", "fail", str(error), remedy)
        return None
