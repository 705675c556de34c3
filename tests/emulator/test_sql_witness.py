"""Databricks' own SDK executes statements in the emulator's SQL warehouse: it understands every answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from beam_zerobus.emulator import Emulator

pytestmark = pytest.mark.hostile  # the import of the SDK takes seconds

TABLE = "main.iot.air"


@pytest.fixture
def connect_workspace(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Make the SDK's client of a workspace, as the client or as the administrator."""
    from databricks.sdk import WorkspaceClient

    for name in ("DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET", "DATABRICKS_TOKEN", "DATABRICKS_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def connect(*, admin: bool = False, **credentials: str) -> Any:
        credentials = credentials or {"token": emulator.issue_token(admin=admin)}
        return WorkspaceClient(host=emulator.workspace_url, **credentials)

    return connect


@pytest.fixture
def connect_sdk(connect_workspace: Callable[..., Any]) -> Callable[..., Any]:
    """Make the SDK's client of statements."""
    return lambda **options: connect_workspace(**options).statement_execution


def test_the_warehouse_runs(emulator, connect_workspace):
    from databricks.sdk.errors import NotFound
    from databricks.sdk.service.sql import State

    warehouses = connect_workspace().warehouses
    assert warehouses.get(emulator.warehouse_id).state is State.RUNNING
    with pytest.raises(NotFound):
        warehouses.get("ffff")


def test_statements_and_their_results(emulator, connect_sdk):
    from databricks.sdk.service.sql import StatementState

    for api in (
        connect_sdk(client_id=emulator.client_id, client_secret=emulator.client_secret),
        connect_sdk(),
    ):
        made = api.execute_statement(f"CREATE TABLE IF NOT EXISTS {TABLE} (id INT COMMENT 'x')", emulator.warehouse_id)
        assert made.status.state is StatementState.SUCCEEDED
        found = api.execute_statement(f"DESCRIBE {TABLE}", emulator.warehouse_id)
        names = [(column.name, column.position, column.type_text) for column in found.manifest.schema.columns]
        assert names == [("col_name", 0, "STRING"), ("data_type", 1, "STRING"), ("comment", 2, "STRING")]
        assert found.manifest.total_row_count == found.result.row_count == 1
        assert found.result.data_array == [["id", "int", "x"]]
        failed = api.execute_statement(f"CREATE TABLE {TABLE} (id INT)", emulator.warehouse_id).status
        assert (failed.state, failed.sql_state) == (StatementState.FAILED, "42P07")
        assert failed.error.message.startswith("[TABLE_OR_VIEW_ALREADY_EXISTS] ")


def test_the_outcome_of_a_statement_is_fetched_later_by_who_started_it(emulator, connect_sdk):
    from databricks.sdk.errors import NotFound
    from databricks.sdk.service.sql import StatementState

    api, others = connect_sdk(), connect_sdk(admin=True)
    started = api.execute_statement(f"CREATE TABLE {TABLE} (id INT)", emulator.warehouse_id, wait_timeout="0s")
    assert started.status.state is StatementState.PENDING
    assert api.get_statement(started.statement_id).status.state is StatementState.SUCCEEDED
    api.cancel_execution(started.statement_id)
    for ask in (others.get_statement, others.cancel_execution):
        with pytest.raises(NotFound):
            ask(started.statement_id)


def test_requests_that_are_rejected(emulator, connect_sdk):
    from databricks.sdk.errors import InvalidParameterValue, NotFound, Unauthenticated
    from databricks.sdk.service.sql import Disposition, StatementParameterListItem

    api = connect_sdk()
    with pytest.raises(NotFound, match="SQL warehouse"):
        api.execute_statement("DESCRIBE a.b.c", "ffff")
    for options in (
        {"wait_timeout": "3s"},
        {"wait_timeout": "51s"},
        {"disposition": Disposition.EXTERNAL_LINKS},
        {"parameters": [StatementParameterListItem(name="a", value="b")]},
    ):
        with pytest.raises(InvalidParameterValue):
            api.execute_statement("DESCRIBE a.b.c", emulator.warehouse_id, **options)
    with pytest.raises(Unauthenticated):
        connect_sdk(token="wrong").execute_statement("DESCRIBE a.b.c", emulator.warehouse_id)


def test_the_sdk_reads_grants_and_columns_as_unity_catalog_shows_them(emulator, connect_sdk):
    from databricks.sdk.service.catalog import EffectivePermissionsList

    emulator.create_table(TABLE, "id INT")
    described = emulator._servers._workspace.permissions(f"Bearer {emulator.issue_token()}", "table", TABLE)
    [assignment] = EffectivePermissionsList.from_dict(json.loads(json.dumps(described))).privilege_assignments
    assert assignment.principal == emulator.client_id
    assert {"SELECT", "MODIFY"} <= {str(privilege.privilege.value) for privilege in assignment.privileges}
