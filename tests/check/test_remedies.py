"""Broken states, one after the other: `check` finds each, names it, and its remedy, executed as it is, leads to 0."""

from __future__ import annotations

import atexit
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from beam_zerobus.cli import main
from beam_zerobus.emulator import Emulator, Faults, ScriptedFault
from beam_zerobus.emulator.access.grants import GRANTS
from tests.check.state import COLUMNS, TABLE, State

Make = Callable[[State], None]


@dataclass(frozen=True)
class Broken:
    """A broken state.

    Attributes:
        make: Breaks what is there.
        step: The check that fails.
        words: What its message says.
        arguments: Those of ``beam-zerobus check``.
        exit_code: 2, or 1 for a warning.
    """

    make: Make
    step: str
    words: str
    arguments: tuple[str, ...] = (TABLE,)
    exit_code: int = 2


def unset(name: str) -> Make:
    return lambda state: state.monkeypatch.delenv(name)


def setting(name: str, value: str) -> Make:
    return lambda state: state.monkeypatch.setenv(name, value)


def together(*makes: Make) -> Make:
    return lambda state: [make(state) for make in makes] and None


def described(**fields: Any) -> Make:
    def change(state: State) -> None:
        state.table.description = fields

    return change


def column_with(**changed: Any) -> Make:
    """Change what Unity Catalog says about the column co2."""

    def change(state: State) -> None:
        columns = state.table.schema.to_unity_catalog()
        field = {"name": "co2", "type": "integer", "nullable": True, "metadata": {}, **changed}
        columns[1] = {**columns[1], "nullable": field["nullable"], "type_json": json.dumps(field)}
        state.table.description = {"columns": columns}

    return change


def partitioned(state: State) -> None:
    columns = state.table.schema.to_unity_catalog()
    columns[0]["partition_index"] = 0
    state.table.description = {"columns": columns}


def no_table_may_be_created(state: State) -> None:
    state.emulator.drop_table(TABLE)
    state.monkeypatch.setenv("DATABRICKS_WAREHOUSE_ID", state.emulator.warehouse_id)
    state.execute(f"REVOKE CREATE TABLE ON SCHEMA main.iot FROM `{state.emulator.client_id}`")


def only_all_privileges(state: State) -> None:
    state.table.revoke("SELECT", "MODIFY")
    state.table.grant("ALL PRIVILEGES")


def table_of(columns: str) -> Make:
    def change(state: State) -> None:
        state.emulator.drop_table(TABLE)
        state.emulator.create_table(TABLE, columns)

    return change


def closed_port() -> str:
    """Return an address at which nobody listens, and that nobody else gets as long as the tests run."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    atexit.register(taken.close)
    return f"http://127.0.0.1:{taken.getsockname()[1]}"


def revoked(privilege: str) -> Make:
    return lambda state: state.table.revoke(privilege)


def faulty(faults: Faults) -> Make:
    def change(state: State) -> None:
        state.emulator.faults = faults

    return change


ENDPOINT, WORKSPACE = "https://123.zerobus.eu-west-1.cloud.databricks.com", "https://dbc-1.cloud.databricks.com"
TOKEN_503 = Faults(script=(ScriptedFault("token", at_token=1, times=99, http_status=503),))
NO_STREAM = Faults(script=(ScriptedFault("reject", at_stream=1, code="PERMISSION_DENIED"),))
HTTPS: Make = lambda state: state.monkeypatch.setenv(  # noqa: E731
    "ZEROBUS_ENDPOINT", state.emulator.endpoint.replace("http:", "https:")
)
NO_TABLE: Make = lambda state: state.emulator.drop_table(TABLE)  # noqa: E731
CONSTRAINTS = {"delta.constraints.positive": "co2 > 0", "delta.constraints.odd name": "co2 < 9"}
NESTED = "device STRING NOT NULL, at STRUCT<x: INT>"

BROKEN = {
    "no endpoint": Broken(unset("ZEROBUS_ENDPOINT"), "endpoint", "ZEROBUS_ENDPOINT is not set; beam-zerobus emulator"),
    "no workspace": Broken(unset("DATABRICKS_HOST"), "workspace", "DATABRICKS_HOST is not set; beam-zerobus emulator"),
    "no client id": Broken(unset("DATABRICKS_CLIENT_ID"), "DATABRICKS_CLIENT_ID", "is not set"),
    "no client secret": Broken(unset("DATABRICKS_CLIENT_SECRET"), "DATABRICKS_CLIENT_SECRET", "is not set"),
    "a blank secret": Broken(setting("DATABRICKS_CLIENT_SECRET", "  "), "DATABRICKS_CLIENT_SECRET", "is not set"),
    "a personal token only": Broken(
        together(unset("DATABRICKS_CLIENT_ID"), setting("DATABRICKS_TOKEN", "canary")),
        "DATABRICKS_CLIENT_ID",
        "Zerobus accepts no personal access token",
    ),
    "no URL": Broken(setting("ZEROBUS_ENDPOINT", "zerobus"), "endpoint", "is not an http(s) URL"),
    "a URL with a password": Broken(
        setting("DATABRICKS_HOST", "https://me:canary@host"), "workspace", "user name or password"
    ),
    "the workspace as endpoint": Broken(setting("ZEROBUS_ENDPOINT", WORKSPACE), "endpoint", "looks like the workspace"),
    "the endpoint as workspace": Broken(
        setting("DATABRICKS_HOST", ENDPOINT), "workspace", "looks like the Zerobus endpoint"
    ),
    "swapped": Broken(
        together(setting("ZEROBUS_ENDPOINT", WORKSPACE), setting("DATABRICKS_HOST", ENDPOINT)),
        "endpoint",
        "are swapped",
    ),
    "an endpoint that is cut off": Broken(
        setting("ZEROBUS_ENDPOINT", "https://123.zerobus.eu-west-1"), "endpoint", "is cut off"
    ),
    "an unknown host": Broken(
        setting("ZEROBUS_ENDPOINT", "https://nowhere.invalid"), "endpoint: connection", "nowhere.invalid"
    ),
    "a closed port": Broken(setting("DATABRICKS_HOST", closed_port()), "workspace: connection", "cannot be reached"),
    "an emulator of yesterday": Broken(
        setting("ZEROBUS_ENDPOINT", closed_port()), "endpoint: connection", "its ports are new at each start"
    ),
    "the address of the example": Broken(
        setting("ZEROBUS_ENDPOINT", "https://<workspace-id>.zerobus.<region>.cloud.databricks.com"),
        "endpoint",
        "still has placeholders in angle brackets",
    ),
    "https for http": Broken(HTTPS, "endpoint: connection", "does not speak TLS"),
    "a wrong secret": Broken(setting("DATABRICKS_CLIENT_SECRET", "canary"), "token", "rejected the credentials"),
    "an unknown client": Broken(setting("DATABRICKS_CLIENT_ID", "canary"), "token", "rejected the credentials"),
    "a personal token as secret": Broken(
        setting("DATABRICKS_CLIENT_SECRET", "dapi1234"), "token", "personal access token"
    ),
    "the token endpoint is down": Broken(faulty(TOKEN_503), "token", "503"),
    "a slow clock": Broken(lambda state: state.emulator.advance_clock(3_600), "clock", "s slow"),
    "no such table": Broken(NO_TABLE, "table", "does not exist"),
    "no such table for the rows": Broken(NO_TABLE, "table", "does not exist", (TABLE, "--schema", "id INT")),
    "a name of two parts": Broken(lambda state: None, "table name", "catalog.schema.table", ("iot.air",)),
    "a schema that is not DDL": Broken(lambda state: None, "schema", "schema DDL", (TABLE, "--schema", "id TEXT")),
    "USE CATALOG": Broken(revoked("USE CATALOG"), "grant USE CATALOG", "is missing on main"),
    "USE SCHEMA": Broken(revoked("USE SCHEMA"), "grant USE SCHEMA", "is missing on main.iot"),
    "SELECT": Broken(revoked("SELECT"), "grant SELECT", f"is missing on {TABLE}"),
    "MODIFY": Broken(revoked("MODIFY"), "grant MODIFY", f"is missing on {TABLE}"),
    "no grant at all": Broken(together(*map(revoked, GRANTS)), "grant USE CATALOG", "is missing on main"),
    "ALL PRIVILEGES": Broken(only_all_privileges, "grant MODIFY", "ALL PRIVILEGES does not count for Zerobus"),
    "a view": Broken(described(table_type="VIEW"), "table", "is of type VIEW"),
    "an external table": Broken(described(table_type="EXTERNAL"), "table", "is of type EXTERNAL"),
    "Parquet": Broken(described(data_source_format="PARQUET"), "table", "is stored as PARQUET"),
    "CHECK constraints": Broken(
        described(full_name=TABLE, properties=CONSTRAINTS), "table", "has the CHECK constraint positive"
    ),
    "catalog-managed": Broken(
        described(properties={"delta.feature.catalogManaged": "supported"}), "table", "catalog-managed commits"
    ),
    "a generated column": Broken(
        column_with(metadata={"delta.generationExpression": "1"}), "table", "'co2' is generated"
    ),
    "an identity column": Broken(
        column_with(metadata={"delta.identity.start": 1}), "table", "'co2' is an identity column"
    ),
    "a type that Zerobus cannot write": Broken(
        column_with(type="interval year to month", nullable=False), "schema", "'co2'", (TABLE, "--schema", COLUMNS)
    ),
    "partitions": Broken(partitioned, "partitions", "partitioned by device", exit_code=1),
    "a column that the table lacks": Broken(
        lambda state: None, "schema", "humidity", (TABLE, "--schema", f"{COLUMNS}, humidity DOUBLE")
    ),
    "a field that a struct lacks": Broken(
        table_of(NESTED), "schema", "at.y", (TABLE, "--schema", NESTED.replace("x: INT", "x: INT, y: INT"))
    ),
    "a column of another type": Broken(
        lambda state: None, "schema", "column 'device'", (TABLE, "--schema", "device BOOLEAN NOT NULL")
    ),
    "an array of arrays": Broken(table_of("a ARRAY<ARRAY<INT>>"), "stream", "column 'a'"),
    "no warehouse": Broken(lambda state: None, "SQL warehouse", "is not set", (TABLE, "--on-unknown-fields", "add")),
    "an unknown warehouse": Broken(
        together(NO_TABLE, setting("DATABRICKS_WAREHOUSE_ID", "ffff")),
        "SQL warehouse",
        "was not found",
        (TABLE, "--create-table", "if_needed"),
    ),
    "CREATE TABLE": Broken(
        no_table_may_be_created, "grant CREATE TABLE", "is missing on main.iot", (TABLE, "--create-table", "if_needed")
    ),
    "no rescue column": Broken(
        lambda state: None, "rescue column", "'_rescued_data'", (TABLE, "--on-unknown-fields", "rescue")
    ),
    "a rescue column of another type": Broken(
        lambda state: None,
        "rescue column",
        "is INT",
        (TABLE, "--on-unknown-fields", "rescue", "--rescue-column", "co2"),
    ),
    "the stream is rejected": Broken(faulty(NO_STREAM), "stream", "PERMISSION_DENIED"),
}
QUICK = ("no endpoint", "MODIFY", "a view")


def checked(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...] | list[str]
) -> tuple[int, list[dict[str, str]]]:
    capsys.readouterr()
    code = main(["check", *arguments, "--json"])
    text = capsys.readouterr().out
    assert "canary" not in text
    return code, json.loads(text)["findings"]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.hostile) for name in BROKEN]
)
def test_a_broken_state_is_found_and_named_and_its_remedy_helps(state, name, capsys):
    broken = BROKEN[name]
    broken.make(state)
    code, findings = checked(capsys, broken.arguments)
    assert code == broken.exit_code
    bad = [finding for finding in findings if finding["status"] in ("warn", "fail")]
    assert any(f["name"] == broken.step and broken.words in f["message"] for f in bad), findings
    assert all(finding["remedy"] for finding in bad)
    named = [state.follow(finding["remedy"]) for finding in bad]
    code, findings = checked(capsys, named[-1] or broken.arguments)
    assert code == 0, findings


def test_the_number_of_broken_states():
    assert len(BROKEN) >= 25


@pytest.mark.hostile
def test_a_certificate_that_this_machine_does_not_trust(monkeypatch, capsys):
    with Emulator(tls=True) as emulator:
        assert isinstance(emulator.ca_file, Path)
        environment = {
            "ZEROBUS_ENDPOINT": emulator.endpoint,
            "DATABRICKS_HOST": emulator.workspace_url,
            "DATABRICKS_CLIENT_ID": emulator.client_id,
            "DATABRICKS_CLIENT_SECRET": emulator.client_secret,
            "SSL_CERT_FILE": str(emulator.ca_file),
            "REQUESTS_CA_BUNDLE": str(emulator.ca_file),
        }
        for name in list(os.environ):
            if name.lower().endswith("_proxy") or name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
                monkeypatch.delenv(name)
        for name, value in list(environment.items())[:4]:
            monkeypatch.setenv(name, value)
        state = State(emulator, emulator.create_table(TABLE, COLUMNS), environment, monkeypatch)
        code, findings = checked(capsys, [TABLE])
        bad = [finding for finding in findings if finding["status"] == "fail"]
        assert code == 2
        assert [finding["name"] for finding in bad] == ["endpoint: connection", "workspace: connection"]
        assert "is not valid here" in bad[0]["message"]
        code, findings = checked(capsys, state.follow(bad[0]["remedy"]) or [TABLE])
        assert code == 0, findings
