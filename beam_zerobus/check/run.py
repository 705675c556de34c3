"""`check_table`: all checks, in the order in which each makes the next one possible."""

from __future__ import annotations

import os

from beam_zerobus.check.access import check_clock, check_grants, check_schema, check_table_kind, check_token
from beam_zerobus.check.addresses import check_reachable, find_addresses
from beam_zerobus.check.environment import check_credentials_present, check_versions
from beam_zerobus.check.remedies import check_again
from beam_zerobus.check.report import Report
from beam_zerobus.errors import ZerobusError
from beam_zerobus.options import WireFormat
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.table_name import check_table_name
from beam_zerobus.workspace.credentials import Credentials, OAuthClientCredentials
from beam_zerobus.workspace.tokens import TokenSource
from beam_zerobus.writer.config import SchemaSource, parse_schema

__all__ = ["check_table"]


def check_table(
    table: str,
    *,
    endpoint: str | None = None,
    workspace_url: str | None = None,
    credentials: Credentials | None = None,
    schema: SchemaSource = None,
    wire_format: WireFormat = "proto",
) -> Report:
    """Check everything that can be known before a row is sent to a table; sends none.

    Args:
        table: ``"catalog.schema.table"``.
        endpoint: URL of the Zerobus service, else ``ZEROBUS_ENDPOINT``.
        workspace_url: URL of the workspace, else ``DATABRICKS_HOST``.
        credentials: As for `ZerobusWriter`, else ``DATABRICKS_CLIENT_ID`` and ``DATABRICKS_CLIENT_SECRET``.
        schema: The schema that the rows will have, to compare with the table's: DDL, `pyarrow.Schema` or `TableSchema`.
        wire_format: The format that the stream is opened for.

    Returns:
        The findings; nothing is raised for what is wrong with table, network or service.

    Example:
        >>> check_table("iot.air").exit_code
        2
    """
    report = Report(table)
    check_versions(report)
    try:
        check_table_name(table)
    except ZerobusError as error:
        report.add("table name", "fail", str(error), check_again("catalog.schema.table", "with the whole name"))
    found_endpoint, found_workspace = find_addresses(report, endpoint, workspace_url)
    if credentials is None:
        check_credentials_present(report)
    rows = _parsed(report, schema)
    for name, url in (("endpoint", found_endpoint), ("workspace", found_workspace)):
        if url is not None and not report.failed(name):
            check_reachable(report, name, url)
    if report.failed() or found_endpoint is None or found_workspace is None:
        report.add("workspace and stream", "skip", "not checked, since what they need failed")
        return report
    check_clock(report, found_workspace)
    tokens = TokenSource(
        credentials or OAuthClientCredentials(), table=table, endpoint=found_endpoint, workspace_url=found_workspace
    )
    headers = check_token(report, tokens)
    if headers is None:
        report.add("grants and stream", "skip", "not checked without a token")
        return report
    principal = os.environ.get("DATABRICKS_CLIENT_ID", "").strip()
    if principal and credentials is None:
        check_grants(report, found_workspace, table, principal, headers)
    description = check_table_kind(report, found_workspace, table, headers, rows)
    if description is None or report.failed():
        report.add("schema and stream", "skip", "not checked, since the table cannot be written yet")
        return report
    columns = check_schema(report, table, description, rows)
    if columns is not None:
        from beam_zerobus.check.stream import check_stream  # noqa: PLC0415  the SDK may not load: see `check_versions`

        check_stream(
            report,
            table,
            columns,
            wire_format=wire_format,
            endpoint=found_endpoint,
            workspace_url=found_workspace,
            tokens=tokens,
        )
    return report


def _parsed(report: Report, schema: SchemaSource) -> TableSchema | None:
    try:
        parsed = parse_schema(schema)
        return parsed if isinstance(parsed, TableSchema) else None  # else it is the table's, or not known yet
    except ZerobusError as error:
        remedy = f"beam-zerobus check {report.table} --schema 'id BIGINT NOT NULL, ...'   # as DDL"
        report.add("schema", "fail", str(error), remedy)
        return None
