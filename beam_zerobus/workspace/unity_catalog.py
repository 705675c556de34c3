"""Fetches a table's columns from Unity Catalog."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from beam_zerobus.errors import (
    AuthenticationError,
    ConfigurationError,
    ConversionError,
    RejectedError,
    ZerobusError,
    about_table,
    redact_url,
)
from beam_zerobus.schema import TableSchema
from beam_zerobus.workspace.http import CHECK_WORKSPACE, Answer, ask
from beam_zerobus.workspace.secret import Secret

__all__ = ["describe_table", "effective_privileges", "fetch_table_schema", "table_schema"]

# 2,000 columns of nested types fit in.
_MAX_BYTES = 32 << 20
_KIND = re.compile(r"[A-Z_]{1,50}")


def fetch_table_schema(
    workspace_url: str, table: str, *, headers: Mapping[str, str | Secret], timeout: float | None = None
) -> TableSchema:
    """Fetch the columns of a table, with the field numbers that Zerobus expects.

    Args:
        workspace_url: The workspace, such as ``https://dbc-1234.cloud.databricks.com``.
        table: ``catalog.schema.table``.
        headers: Headers that sign the request in: ``{"authorization": "Bearer ..."}``.
        timeout: Seconds that the whole request may take; None for 15.

    Returns:
        The columns of the table as it is now.

    Raises:
        AuthenticationError: The workspace rejects the token, or the token may not read the table.
        RejectedError: Zerobus cannot write a table of this kind.
        TransientError: The workspace cannot be reached or is overloaded; trying again may help.
        ConfigurationError: The table does not exist, the answer is not Unity Catalog's, or columns have names that
            Zerobus cannot write.
        ConversionError: A column has a type that Zerobus cannot write.

    Example:
        >>> from beam_zerobus import TransientError
        >>> try:
        ...     fetch_table_schema("http://localhost:1", "a.b.c", headers={}, timeout=1)
        ... except TransientError as error:
        ...     print(error)
        Unity Catalog at http://localhost:1 could not be reached (ConnectionError): check the \
workspace's URL (workspace_url, or DATABRICKS_HOST)
    """
    headers = {name: Secret(value) for name, value in headers.items()}  # text would be in a traceback with locals
    answer = describe_table(workspace_url, table, headers=headers, timeout=timeout)
    if kind := _unwritable_kind(answer):
        error = RejectedError(f"table {table} is {kind}; Zerobus writes managed Delta tables only: create one")
        raise error.of_unknown_table()
    return table_schema(answer, table)


def table_schema(answer: Answer, table: str) -> TableSchema:
    """Return the columns of a table, as `describe_table` answered; `fetch_table_schema` has the errors about columns.

    The answer stays closed: a traceback with locals would show what was read from it.
    """
    with about_table(table):
        try:
            return TableSchema.from_unity_catalog(answer.json())
        except ZerobusError:
            raise
        except Exception as error:
            raise ConversionError(
                f"Unity Catalog's description of the columns cannot be read ({type(error).__name__}): "
                f"{CHECK_WORKSPACE}, and that the table opens in Catalog Explorer"
            ) from error


def describe_table(
    workspace_url: str, table: str, *, headers: Mapping[str, str | Secret], timeout: float | None = None
) -> Answer:
    """Fetch Unity Catalog's description of a table, whatever its kind; arguments and errors as `fetch_table_schema`.

    Returns:
        An answer whose JSON is an object.
    """
    headers = {name: Secret(value) for name, value in headers.items()}
    url = f"{workspace_url.rstrip('/')}/api/2.1/unity-catalog/tables/{quote(table, safe='')}"
    shown = redact_url(workspace_url)
    answer = ask(
        "GET",
        url,
        service=f"Unity Catalog at {shown}",
        cause="UNITY_CATALOG",
        headers=headers,
        about=f" for table {table}",
        limit=timeout,
        max_bytes=_MAX_BYTES,
    )
    _check_status(answer.status, shown, table)
    if not isinstance(answer.json(), dict):
        raise ConfigurationError(f"{shown} does not answer as Unity Catalog does: {CHECK_WORKSPACE}")
    return answer


def _check_status(status: int, workspace_url: str, table: str) -> None:
    if status == 200:
        return
    if status == 401:
        raise AuthenticationError(
            f"Unity Catalog at {workspace_url} rejected the token (401) for table {table}: check the credentials, and "
            "that they belong to this workspace"
        )
    catalog, schema, *_ = [*table.split("."), "", ""]
    grants = f"USE CATALOG on {catalog}, USE SCHEMA on {catalog}.{schema}, SELECT and MODIFY on {table}"
    if status == 403:
        raise AuthenticationError(
            f"the credentials may not read table {table} (403): grant {grants}, each by its name; "
            "ALL PRIVILEGES is not enough"
        ).of_unknown_table()
    if status == 404:
        raise ConfigurationError(
            f"table {table} does not exist at {workspace_url}, or the credentials may not read it (404): "
            f"create it, check its name, or grant {grants}"
        ).of_unknown_table()
    raise ConfigurationError(
        f"{workspace_url} answered {status} when asked for table {table}: {CHECK_WORKSPACE} and the table's name"
    )


def _unwritable_kind(answer: Answer) -> str | None:
    """Return what kind of table Zerobus cannot write, if the answer describes one."""
    fields = answer.json()
    for words, said, accepted in (
        ("of type", fields.get("table_type"), "MANAGED"),
        ("stored as", fields.get("data_source_format"), "DELTA"),
    ):
        if said not in (None, accepted):
            return f"{words} {said if isinstance(said, str) and _KIND.fullmatch(said) else 'something else'}"
    return None


def effective_privileges(
    workspace_url: str, kind: str, name: str, principal: str, *, headers: Mapping[str, Secret]
) -> set[str] | None:
    """Return the privileges of a principal, such as ``USE CATALOG``, inherited ones too; None where they are not shown.

    Args:
        workspace_url: The workspace.
        kind: ``"catalog"``, ``"schema"`` or ``"table"``.
        name: Its name.
        principal: A service principal's client id.
        headers: What signs the request in.
    """
    path = f"/api/2.1/unity-catalog/effective-permissions/{kind}/{quote(name, safe='')}"
    url = f"{workspace_url}{path}?principal={quote(principal, safe='')}"
    try:
        answer = ask("GET", url, service="Unity Catalog", cause="UNITY_CATALOG", headers=headers)
    except ZerobusError:
        return None
    content = answer.json()
    if answer.status != 200 or not isinstance(content, dict):
        return None
    return {str(privilege).replace("_", " ").upper() for privilege in _privileges_in(content)}


def _privileges_in(content: Mapping[str, Any]) -> Iterator[object]:
    """Yield the privileges of an answer, whatever form it has."""
    for assignment in _list(content.get("privilege_assignments")):
        if isinstance(assignment, dict):
            for privilege in _list(assignment.get("privileges")):
                yield privilege.get("privilege") if isinstance(privilege, dict) else privilege


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
