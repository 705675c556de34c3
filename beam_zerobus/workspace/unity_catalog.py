"""Asks Unity Catalog for a table's columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import requests

from beam_zerobus.errors import AuthenticationError, ConfigurationError, RejectedError, TransientError, about_table
from beam_zerobus.schema import TableSchema

__all__ = ["fetch_table_schema"]

_REQUEST_TIMEOUT = 15.0


def fetch_table_schema(
    workspace_url: str, table: str, *, headers: Mapping[str, str], timeout: float = _REQUEST_TIMEOUT
) -> TableSchema:
    """Fetch the columns of a table, with the field numbers that Zerobus expects.

    Args:
        workspace_url: The workspace, such as ``https://dbc-1234.cloud.databricks.com``.
        table: ``catalog.schema.table``.
        headers: What signs the request in: ``{"authorization": "Bearer ..."}``.
        timeout: Seconds to wait for the connection, and for each part of the answer.

    Returns:
        The columns of the table as it is now.

    Raises:
        AuthenticationError: The workspace rejects the token, or the table may not be seen with it.
        RejectedError: Zerobus cannot write a table of this kind.
        TransientError: The workspace cannot be reached or is overloaded; trying again may help.
        ConfigurationError: There is no such table; what answers is not Unity Catalog; or columns have names that
            Zerobus cannot write.
        ConversionError: A column has a type that Zerobus cannot write.

    Example:
        >>> try:
        ...     fetch_table_schema("http://localhost:1", "a.b.c", headers={}, timeout=1)
        ... except TransientError as error:
        ...     print(error)
        Unity Catalog at http://localhost:1 could not be reached (ConnectionError): check workspace_url
    """
    answer = _get_table(workspace_url, table, headers, timeout)
    _check_kind(answer, table)
    with about_table(table):
        return TableSchema.from_unity_catalog(answer)


def _get_table(workspace_url: str, table: str, headers: Mapping[str, str], timeout: float) -> dict[str, Any]:
    url = f"{workspace_url.rstrip('/')}/api/2.1/unity-catalog/tables/{quote(table, safe='')}"
    try:
        # A redirect leads to a sign-in page and would carry the token there.
        response = requests.get(url, headers=dict(headers), timeout=timeout, allow_redirects=False)
    except requests.RequestException as error:
        raise TransientError(
            f"Unity Catalog at {workspace_url} could not be reached ({type(error).__name__}): check workspace_url",
            cause="UNITY_CATALOG_UNREACHABLE",
        ) from None
    _check_status(response.status_code, workspace_url, table)
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ConfigurationError(f"{workspace_url} does not answer as Unity Catalog does: check workspace_url")
    return answer


def _check_status(status: int, workspace_url: str, table: str) -> None:
    if status == 200:
        return
    if status in (408, 429) or status >= 500:
        raise TransientError(
            f"Unity Catalog at {workspace_url} answered {status} for table {table}", cause=f"UNITY_CATALOG_{status}"
        )
    if status == 401:
        raise AuthenticationError(
            f"Unity Catalog at {workspace_url} rejected the token (401) for table {table}: check the credentials, and "
            "that they belong to this workspace"
        )
    catalog, schema, *_ = [*table.split("."), "", ""]
    grants = f"USE CATALOG on {catalog}, USE SCHEMA on {catalog}.{schema}, SELECT and MODIFY on {table}"
    if status == 403:
        raise AuthenticationError(
            f"the credentials may not see table {table} (403): grant {grants}, each by its name; "
            "ALL PRIVILEGES is not enough"
        )
    if status == 404:
        raise ConfigurationError(
            f"table {table} does not exist at {workspace_url}, or the credentials may not see it (404): "
            f"create it, check its name, or grant {grants}"
        )
    raise ConfigurationError(
        f"{workspace_url} answered {status} when asked for table {table}: check workspace_url and the table's name"
    )


def _check_kind(answer: Mapping[str, Any], table: str) -> None:
    """Reject what Zerobus cannot write, where the answer says so."""
    kind, data_format = answer.get("table_type"), answer.get("data_source_format")
    if kind not in (None, "MANAGED"):
        raise RejectedError(f"table {table} is of kind {kind}; Zerobus writes managed Delta tables only: create one")
    if data_format not in (None, "DELTA"):
        raise RejectedError(
            f"table {table} is stored as {data_format}; Zerobus writes managed Delta tables only: create one"
        )
