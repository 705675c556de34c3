"""Token, grants and table, as the workspace has them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from beam_zerobus.check.remedies import SERVICE_PRINCIPAL, another_table, check_again, new_table
from beam_zerobus.check.report import Report
from beam_zerobus.errors import ConfigurationError, TransientError, ZerobusError
from beam_zerobus.schema import TableSchema, why_rows_do_not_fit
from beam_zerobus.schema.additions import missing_fields, with_additions
from beam_zerobus.schema.statements import add_columns_statement, grant_statement, quoted, quoted_part
from beam_zerobus.workspace.http import Answer, ask
from beam_zerobus.workspace.secret import Secret
from beam_zerobus.workspace.tokens import TokenSource
from beam_zerobus.workspace.unity_catalog import describe_table, effective_privileges, table_schema

__all__ = ["check_clock", "check_grants", "check_schema", "check_table_kind", "check_token"]

_MAX_SKEW = 60.0  # seconds
_CHECK_CONSTRAINT = "delta.constraints."


def check_token(report: Report, tokens: TokenSource) -> Mapping[str, Secret] | None:
    """Fetch a token for writing and one for reading the table's description; return the headers of the latter."""
    try:
        tokens.headers()
        headers = tokens.workspace_headers()
    except TransientError as error:
        report.add("token", "fail", _sentence(error), check_again(report.table, "later"))
        return None
    except ZerobusError as error:
        remedy = f"{SERVICE_PRINCIPAL}   # of a service principal of this workspace"
        report.add("token", "fail", _sentence(error), remedy)
        return None
    report.add("token", "pass", "the workspace accepts the credentials")
    return headers


def check_clock(report: Report, workspace_url: str) -> None:
    """Report how far this machine's clock is from the workspace's."""
    try:
        answer = ask("GET", f"{workspace_url}/", service="The workspace", cause="CLOCK", headers={})
        there = parsedate_to_datetime(answer.date or "")
    except (ZerobusError, TypeError, ValueError):
        report.add("clock", "skip", "the workspace does not say its time")
        return
    skew = (datetime.now(UTC) - (there if there.tzinfo else there.replace(tzinfo=UTC))).total_seconds()
    if abs(skew) > _MAX_SKEW:
        word = "fast" if skew > 0 else "slow"
        report.add(
            "clock",
            "fail",
            f"this machine's clock is {abs(skew):.0f} s {word}",
            "sudo timedatectl set-ntp true   # or synchronize it in another way",
        )
    else:
        report.add("clock", "pass", "within a minute of the workspace's")


def check_grants(report: Report, workspace_url: str, table: str, principal: str, headers: Mapping[str, Secret]) -> None:
    """Report each grant that Zerobus needs, with the statement that gives it."""
    catalog, schema, _ = table.split(".")
    wanted = (
        ("catalog", catalog, "USE CATALOG"),
        ("schema", f"{catalog}.{schema}", "USE SCHEMA"),
        ("table", table, "SELECT"),
        ("table", table, "MODIFY"),
    )
    known: dict[str, set[str] | None] = {}
    for kind, name, privilege in wanted:
        if name not in known:
            known[name] = effective_privileges(workspace_url, kind, name, principal, headers=headers)
        held = known[name]
        step = f"grant {privilege}"
        if held is None:
            report.add(step, "skip", f"the workspace does not show the grants on {name}")
        elif privilege in held:
            report.add(step, "pass", f"on {name}")
        else:
            all_of = "; ALL PRIVILEGES does not count for Zerobus" if "ALL PRIVILEGES" in held else ""
            remedy = grant_statement(privilege, kind, name, principal)
            report.add(step, "fail", f"is missing on {name}{all_of}", remedy)


def check_table_kind(
    report: Report, workspace_url: str, table: str, headers: Mapping[str, Secret], rows: TableSchema | None
) -> Answer | None:
    """Report whether the table exists, and whether Zerobus can write its kind; return its description, if any.

    Args:
        report: Where to add the findings.
        workspace_url: The workspace.
        table: ``catalog.schema.table``.
        headers: What signs requests in.
        rows: The schema that the rows will have, if it is known.
    """
    try:
        answer = describe_table(workspace_url, table, headers=headers)
    except ConfigurationError as error:
        remedy = new_table(table, rows) if error.unknown_table else check_again(table, "with the right workspace")
        report.add("table", "fail", _sentence(error), remedy)
        return None
    except ZerobusError as error:
        when = "later" if isinstance(error, TransientError) else "after the grants"
        report.add("table", "fail", _sentence(error), check_again(table, when))
        return None
    described = answer.json()
    another = another_table(table, _columns_of(answer, table))
    faults = list(_faults_of_table(described, table))
    for message, remedy in faults:
        report.add("table", "fail", message, remedy or another)
    if not faults:
        report.add("table", "pass", "exists, a managed Delta table")
    columns = _mappings(described.get("columns"))
    partitions = [str(column.get("name")) for column in columns if column.get("partition_index") is not None]
    if partitions:
        report.add(
            "partitions",
            "warn",
            f"the table is partitioned by {', '.join(partitions)}: Zerobus writes to at most 1,000 partitions in 5 s",
            f"{another}   # without partitions; or ignore it, where a job writes fewer",
        )
    return answer


def _columns_of(description: Answer, table: str) -> TableSchema | None:
    """Return a table's columns; None where they cannot be read."""
    try:
        return table_schema(description, table)
    except ZerobusError:
        return None


def _faults_of_table(described: Mapping[str, Any], table: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong, and the remedy; none where only another table helps."""
    kind, source = described.get("table_type"), described.get("data_source_format")
    if kind not in (None, "MANAGED"):
        yield f"is of type {kind}; Zerobus writes managed tables only", ""
    if source not in (None, "DELTA"):
        yield f"is stored as {source}; Zerobus writes Delta tables only", ""
    properties = _mapping(described.get("properties"))
    constraints = sorted(
        name.removeprefix(_CHECK_CONSTRAINT) for name in properties if name.startswith(_CHECK_CONSTRAINT)
    )
    for name in constraints:
        remedy = f"ALTER TABLE {quoted(table)} DROP CONSTRAINT {quoted_part(name)};"
        yield f"has the CHECK constraint {name}", remedy
    if any("catalog" in name and str(value) == "supported" for name, value in properties.items()):
        yield "has catalog-managed commits, which Zerobus cannot write", ""
    for column in _mappings(described.get("columns")):
        metadata, column_name = _metadata(column), column.get("name")
        if "delta.generationExpression" in metadata:
            yield f"column {column_name!r} is generated, which Zerobus cannot write", ""
        if "delta.identity.start" in metadata:
            yield f"column {column_name!r} is an identity column, which Zerobus cannot write", ""


def _metadata(column: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        field = json.loads(str(column.get("type_json", "{}")))
    except (ValueError, RecursionError):
        return {}
    return _mapping(_mapping(field).get("metadata"))


# A proxy, or a later version of Unity Catalog, may answer anything.


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def check_schema(report: Report, table: str, description: Answer, schema: TableSchema | None) -> TableSchema | None:
    """Report every difference between the rows' schema, if given, and the table's; return the table's."""
    try:
        found = table_schema(description, table)
    except ZerobusError as error:
        report.add("schema", "fail", _sentence(error), another_table(table, schema))
        return None
    if schema is not None and (problem := why_rows_do_not_fit(schema, found)) is not None:
        report.add("schema", "fail", f"rows do not fit: {problem}", _remedy_of_misfit(table, schema, found))
        return None
    report.add("schema", "pass", f"{len(found.columns)} columns: {found.to_ddl()}")
    return found


def _remedy_of_misfit(table: str, rows: TableSchema, found: TableSchema) -> str:
    """Return the statement that adds what a table lacks, where nothing else is wrong, else what makes another table."""
    additions = missing_fields(rows.columns, found.columns)
    with suppress(ZerobusError):  # such as more columns than a table may have
        if additions and why_rows_do_not_fit(rows, with_additions(found, additions)) is None:
            return add_columns_statement(table, additions)
    return another_table(table, rows)


def _sentence(error: ZerobusError) -> str:
    return " ".join(str(error).split())
