"""Broken states, one after the other: `check` finds each, names it, and its remedy leads to exit code 0."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

from beam_zerobus.check import Report, check_table
from beam_zerobus.check.access import check_grants
from beam_zerobus.check.command import run
from beam_zerobus.emulator import Emulator, Faults, ScriptedFault
from beam_zerobus.emulator.table import Table
from beam_zerobus.schema import TableSchema

TABLE = "main.iot.air"
COLUMNS = "device STRING NOT NULL, co2 INT"


@dataclass(frozen=True)
class State:
    """What is there before a check."""

    emulator: Emulator
    table: Table
    environment: dict[str, str]
    monkeypatch: pytest.MonkeyPatch


@pytest.fixture
def state(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> State:
    """A table that can be written, and an environment that has everything."""
    environment = {
        "ZEROBUS_ENDPOINT": emulator.endpoint,
        "DATABRICKS_HOST": emulator.workspace_url,
        "DATABRICKS_CLIENT_ID": emulator.client_id,
        "DATABRICKS_CLIENT_SECRET": emulator.client_secret,
    }
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "DATABRICKS_TOKEN":
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return State(emulator, emulator.create_table(TABLE, COLUMNS), environment, monkeypatch)


def test_a_schema_of_any_kind_is_compared(state):
    for schema in (COLUMNS, TableSchema.from_ddl(COLUMNS), TableSchema.from_ddl(COLUMNS).to_arrow(), "unity_catalog"):
        assert check_table(TABLE, schema=schema).exit_code == 0
    assert "device" in check_table(TABLE, schema=pa.schema([("device", pa.int64())])).as_text()
    assert check_table(TABLE, schema=3).exit_code == 2


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
def test_a_table_that_can_be_written(state, wire_format):
    report = check_table(TABLE, wire_format=wire_format)
    assert report.exit_code == 0, report.as_text()
    assert [finding.status for finding in report.findings] == ["pass"] * len(report.findings)
    assert state.table.count_rows() == 0
    assert state.emulator.stats.tables[TABLE].calls == 0


def test_names_in_any_case(state):
    state.emulator.create_table("Main2.Iot.Air", COLUMNS)
    for name in ("Main2.Iot.Air", "main2.iot.air"):
        report = check_table(name)
        assert {finding.status for finding in report.findings} == {"pass"}, report.as_text()


def unset(name: str) -> Callable[[State], None]:
    return lambda state: state.monkeypatch.delenv(name)


def setting(name: str, value: str) -> Callable[[State], None]:
    return lambda state: state.monkeypatch.setenv(name, value)


def described(**fields: Any) -> Callable[[State], None]:
    def change(state: State) -> None:
        state.table.description = fields

    return change


def column_with(metadata: dict[str, Any]) -> Callable[[State], None]:
    def change(state: State) -> None:
        columns = state.table.schema.to_unity_catalog()
        field = {"name": "co2", "type": "integer", "nullable": True, "metadata": metadata}
        columns[1] = {**columns[1], "type_json": json.dumps(field)}
        state.table.description = {"columns": columns}

    return change


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


ENDPOINT = "https://123.zerobus.eu-west-1.cloud.databricks.com"
WORKSPACE = "https://dbc-1.cloud.databricks.com"
TOKEN_503 = Faults(script=(ScriptedFault("token", at_token=1, times=99, http_status=503),))
NO_STREAM = Faults(script=(ScriptedFault("reject", at_stream=1, code="PERMISSION_DENIED"),))


def swapped(state: State) -> None:
    setting("ZEROBUS_ENDPOINT", WORKSPACE)(state)
    setting("DATABRICKS_HOST", ENDPOINT)(state)


def faulty(faults: Faults) -> Callable[[State], None]:
    def change(state: State) -> None:
        state.emulator.faults = faults

    return change


# Each: how it is broken, the check that fails, and what its message says.
BROKEN: dict[str, tuple[Callable[[State], None], str, str]] = {
    "no endpoint": (unset("ZEROBUS_ENDPOINT"), "endpoint", "ZEROBUS_ENDPOINT is not set"),
    "no workspace": (unset("DATABRICKS_HOST"), "workspace", "DATABRICKS_HOST is not set"),
    "no client id": (unset("DATABRICKS_CLIENT_ID"), "DATABRICKS_CLIENT_ID", "is not set"),
    "no client secret": (unset("DATABRICKS_CLIENT_SECRET"), "DATABRICKS_CLIENT_SECRET", "is not set"),
    "a blank secret": (setting("DATABRICKS_CLIENT_SECRET", "  "), "DATABRICKS_CLIENT_SECRET", "is not set"),
    "no URL": (setting("ZEROBUS_ENDPOINT", "zerobus"), "endpoint", "is not an http(s) URL"),
    "a URL with a password": (
        setting("DATABRICKS_HOST", "https://me:canary@host"),
        "workspace",
        "user name or password",
    ),
    "the workspace as endpoint": (setting("ZEROBUS_ENDPOINT", WORKSPACE), "endpoint", "looks like the workspace"),
    "the endpoint as workspace": (setting("DATABRICKS_HOST", ENDPOINT), "workspace", "looks like the Zerobus endpoint"),
    "swapped": (swapped, "endpoint", "are swapped"),
    "an unknown host": (
        setting("ZEROBUS_ENDPOINT", "https://nowhere.invalid"),
        "endpoint: connection",
        "nowhere.invalid",
    ),
    "a closed port": (
        setting("DATABRICKS_HOST", closed_port()),
        "workspace: connection",
        "cannot be reached",
    ),
    "https for http": (
        lambda s: setting("ZEROBUS_ENDPOINT", s.emulator.endpoint.replace("http:", "https:"))(s),
        "endpoint: connection",
        "does not speak TLS",
    ),
    "a wrong secret": (setting("DATABRICKS_CLIENT_SECRET", "canary"), "token", "rejected the credentials"),
    "an unknown client": (setting("DATABRICKS_CLIENT_ID", "canary"), "token", "rejected the credentials"),
    "a personal token": (setting("DATABRICKS_CLIENT_SECRET", "dapi1234"), "token", "personal access token"),
    "the token endpoint is down": (faulty(TOKEN_503), "token", "503"),
    "no such table": (lambda s: s.emulator.drop_table(TABLE), "table", "does not exist"),
    "USE CATALOG": (lambda s: s.table.revoke("USE CATALOG"), "grant USE CATALOG", "is missing on main"),
    "USE SCHEMA": (lambda s: s.table.revoke("USE SCHEMA"), "grant USE SCHEMA", "is missing on main.iot"),
    "SELECT": (lambda s: s.table.revoke("SELECT"), "grant SELECT", f"is missing on {TABLE}"),
    "MODIFY": (lambda s: s.table.revoke("MODIFY"), "grant MODIFY", f"is missing on {TABLE}"),
    "a view": (described(table_type="VIEW"), "table", "is of type VIEW"),
    "an external table": (described(table_type="EXTERNAL"), "table", "is of type EXTERNAL"),
    "Parquet": (described(data_source_format="PARQUET"), "table", "is stored as PARQUET"),
    "a CHECK constraint": (
        described(full_name=TABLE, properties={"delta.constraints.positive": "co2 > 0"}),
        "table",
        "has the CHECK constraint positive",
    ),
    "catalog-managed": (
        described(properties={"delta.feature.catalogManaged": "supported"}),
        "table",
        "catalog-managed commits",
    ),
    "a generated column": (column_with({"delta.generationExpression": "1"}), "table", "'co2' is generated"),
    "an identity column": (column_with({"delta.identity.start": 1}), "table", "'co2' is an identity column"),
    "the stream is rejected": (faulty(NO_STREAM), "stream", "PERMISSION_DENIED"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_state_is_found_and_named_and_its_remedy_helps(state, name, capsys):
    make, step, words = BROKEN[name]
    make(state)
    report = check_table(TABLE)
    failed = [finding for finding in report.findings if finding.status == "fail"]
    assert report.exit_code == 2
    assert step in [finding.name for finding in failed], report.as_text()
    [finding] = [finding for finding in failed if finding.name == step]
    assert words in finding.message
    assert finding.remedy
    assert "canary" not in report.as_text() + report.as_json()
    follow(state, finding.remedy)
    assert check_table(TABLE).exit_code == 0


def follow(state: State, remedy: str) -> None:
    """Do what a remedy says; what a person has to fill in or to decide comes from the state as it was before."""
    if remedy.startswith("GRANT "):
        privilege, name = remedy.removeprefix("GRANT ").split(" ON ")
        kind, quoted = name.split(" TO ")[0].split(" ")
        full = ".".join(part.strip("`") for part in quoted.split("."))
        assert TABLE.startswith(full)
        assert kind == {1: "CATALOG", 2: "SCHEMA", 3: "TABLE"}[full.count(".") + 1]
        assert remedy.endswith(f"TO `{state.emulator.client_id}`;")
        state.table.grant(privilege)
    elif remedy.startswith("ALTER TABLE "):
        assert remedy == "ALTER TABLE `main`.`iot`.`air` DROP CONSTRAINT positive;"
        state.table.description = {}
    elif remedy.startswith("CREATE TABLE "):
        assert "`main`.`iot`.`air`" in remedy
        state.emulator.create_table(TABLE, COLUMNS)
    else:
        for name, value in state.environment.items():
            state.monkeypatch.setenv(name, value)
        state.table.description = {}
        state.emulator.faults = Faults()


def test_the_number_of_broken_states():
    assert len(BROKEN) >= 25


def test_every_difference_of_the_schema_is_named(state):
    report = check_table(TABLE, schema="device INT NOT NULL, humidity DOUBLE")
    [message] = [finding.message for finding in report.findings if finding.name == "schema"]
    assert report.exit_code == 2
    assert "column 'device'" in message
    assert "column 'humidity'" in message
    assert check_table(TABLE, schema="device STRING NOT NULL").exit_code == 0


def test_rows_of_every_type_fit_a_table_of_these_types(state):
    columns = (
        "v VARIANT, price DECIMAL(10,2), s STRUCT<v: VARIANT>, m MAP<STRING, DECIMAL(5,1)>, t TIMESTAMP_NTZ, b BINARY"
    )
    state.emulator.create_table("main.iot.types", columns)
    report = check_table("main.iot.types", schema=columns)
    assert report.exit_code == 0, report.as_text()


def test_numbers_do_not_fit_text(state):
    assert check_table(TABLE, schema="device DECIMAL(10,2) NOT NULL").exit_code == 2


@pytest.mark.parametrize("wire_format", ["proto", "arrow"])
@pytest.mark.parametrize("columns", ["a ARRAY<ARRAY<INT>>", "m MAP<DOUBLE, INT>", "s STRUCT<`1a`: INT>"])
def test_columns_that_no_stream_can_carry_are_named(state, wire_format, columns):
    state.emulator.create_table("main.iot.odd", columns)
    report = check_table("main.iot.odd", wire_format=wire_format)
    [failed] = [finding for finding in report.findings if finding.status == "fail"]
    assert failed.name == "stream"
    assert f"column '{columns[0]}" in failed.message


def test_a_machine_without_certificates_is_named(state):
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        state.monkeypatch.setenv(name, "/nonexistent")
    [failed] = [finding for finding in check_table(TABLE).findings if finding.status == "fail"]
    assert failed.name == "stream"
    assert "install the package ca-certificates" in failed.message


def test_a_table_with_partitions_is_a_warning(state):
    columns = state.table.schema.to_unity_catalog()
    columns[0]["partition_index"] = 0
    state.table.description = {"columns": columns}
    report = check_table(TABLE)
    assert report.exit_code == 1
    assert "partitioned by device" in report.as_text()


def test_grants_that_the_workspace_does_not_show_are_no_failure(state):
    state.monkeypatch.setenv("DATABRICKS_CLIENT_ID", state.emulator.client_id)
    report = Report(TABLE)
    check_grants(report, state.emulator.workspace_url, TABLE, "somebody", {})
    assert {finding.status for finding in report.findings} == {"skip"}


GENERATED = {"type_json": json.dumps({"metadata": {"delta.generationExpression": "1"}})}


@pytest.mark.parametrize(
    "fields",
    [
        {"properties": [1]},
        {"properties": "text"},
        {"columns": 5},
        {"columns": [GENERATED]},
        {"columns": [{"partition_index": 0}]},
        {"columns": [{"name": None, "type_json": [1]}]},
        {"table_type": [1], "data_source_format": {}},
    ],
)
def test_a_description_in_another_form_is_a_finding(state, fields):
    state.table.description = fields
    assert check_table(TABLE).findings


def test_the_command(state, capsys):
    assert run([TABLE]) == 0
    text = capsys.readouterr().out
    assert "Everything passed: rows can be sent." in text
    assert max(map(len, text.splitlines())) <= 80
    state.table.revoke("MODIFY")
    assert run([TABLE, "--json"]) == 2
    content = json.loads(capsys.readouterr().out)
    assert content["exit_code"] == 2
    assert [f["remedy"] for f in content["findings"] if f["status"] == "fail"] == [
        f"GRANT MODIFY ON TABLE `main`.`iot`.`air` TO `{os.environ['DATABRICKS_CLIENT_ID']}`;"
    ]
