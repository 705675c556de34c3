"""Token, grants and table, as the workspace has them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from beam_zerobus.check.remedies import SERVICE_PRINCIPAL, another_table, check_again, new_table
from beam_zerobus.check.report import Findings
from beam_zerobus.errors import ConfigurationError, TransientError, ZerobusError
from beam_zerobus.schema import TableSchema
from beam_zerobus.schema.statements import grant_statement, quoted, quoted_part
from beam_zerobus.workspace.http import Answer, ask
from beam_zerobus.workspace.secret import Secret
from beam_zerobus.workspace.tokens import TokenSource
from beam_zerobus.workspace.unity_catalog import describe_table, effective_privileges, table_schema

__all__ = ["check_clock", "check_grants", "check_table_kind", "check_token"]

_MAX_SKEW = 60.0  # seconds
_CHECK_CONSTRAINT = "delta.constraints."


def check_token(findings: Findings, tokens: TokenSource) -> Mapping[str, Secret] | None:
    """Fetch a token for writing and one for reading the table's description; return the headers of the latter."""
    try:
        tokens.headers()
        headers = tokens.workspace_headers()
    except TransientError as error:
        findings.add_error("token", error, check_again(findings.table, "later"))
        return None
    except ZerobusError as error:
        findings.add_error("token", error, f"{SERVICE_PRINCIPAL}   # of a service principal of this workspace")
        return None
    findings.add("token", "pass", "the workspace accepts the credentials")
    return headers


def check_clock(findings: Findings, workspace_url: str) -> None:
    """Report how far this machine's clock is from the workspace's."""
    try:
        answer = ask("GET", f"{workspace_url}/", service="The workspace", cause="CLOCK", headers={})
        there = parsedate_to_datetime(answer.date or "")
    except (ZerobusError, TypeError, ValueError):
        findings.add("clock", "skip", "the workspace does not say its time")
        return
    skew = (datetime.now(UTC) - (there if there.tzinfo else there.replace(tzinfo=UTC))).total_seconds()
    if abs(skew) > _MAX_SKEW:
        word = "fast" if skew > 0 else "slow"
        findings.add(
            "clock",
            "fail",
            f"this machine's clock is {abs(skew):.0f} s {word}",
            "sudo timedatectl set-ntp true   # or synchronize it in another way",
        )
    else:
        findings.add("clock", "pass", "within a minute of the workspace's")


def check_grants(
    findings: Findings, workspace_url: str, table: str, principal: str, headers: Mapping[str, Secret]
) -> None:
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
            findings.add(step, "skip", f"{name} does not exist, or the workspace does not show its grants")
        elif privilege in held:
            findings.add(step, "pass", f"on {name}")
        else:
            all_of = "; ALL PRIVILEGES does not count for Zerobus" if "ALL PRIVILEGES" in held else ""
            remedy = grant_statement(privilege, kind, name, principal)
            findings.add(step, "fail", f"is missing on {name}{all_of}", remedy)


def check_table_kind(
    findings: Findings,
    workspace_url: str,
    headers: Mapping[str, Secret],
    rows: TableSchema | None,
    *,
    may_be_missing: bool,
) -> Answer | None:
    """Report whether the table exists, and whether Zerobus can write its kind; return its description, if any.

    Args:
        findings: Where to add what is found.
        workspace_url: The workspace.
        headers: What signs requests in.
        rows: The schema that the rows will have, if it is known.
        may_be_missing: It is created before the first row.
    """
    table = findings.table
    try:
        answer = describe_table(workspace_url, table, headers=headers)
    except ConfigurationError as error:
        if error.unknown_table and may_be_missing:
            findings.add("table", "pass", "does not exist yet; it is created before the first row")
            return None
        remedy = new_table(table, rows) if error.unknown_table else check_again(table, "with the right workspace")
        findings.add_error("table", error, remedy)
        return None
    except ZerobusError as error:
        when = "later" if isinstance(error, TransientError) else "after the grants"
        findings.add_error("table", error, check_again(table, when))
        return None
    described = answer.json()
    another = another_table(table, _columns_of(answer, table))
    faults = list(_faults_of_table(described, table))
    for message, remedy in faults:
        findings.add("table", "fail", message, remedy or another)
    if not faults:
        findings.add("table", "pass", "exists, a managed Delta table")
    columns = _mappings(described.get("columns"))
    partitions = [str(column.get("name")) for column in columns if column.get("partition_index") is not None]
    if partitions:
        findings.add(
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
