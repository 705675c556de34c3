"""The report of a check; `test_remedies.py` has the broken states."""

from __future__ import annotations

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_zerobus.check import check_table
from beam_zerobus.check.access import check_grants
from beam_zerobus.check.command import run
from beam_zerobus.check.report import Findings
from beam_zerobus.schema import TableSchema
from tests.check.state import COLUMNS, TABLE


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
    findings = Findings(TABLE)
    check_grants(findings, state.emulator.workspace_url, TABLE, "somebody", {})
    assert {finding.status for finding in findings.report().findings} == {"skip"}


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


def test_the_command_names_flags(state, capsys):
    assert run([TABLE, "--on-unknown-fields", "rescue", "--json"]) == 2
    messages = " ".join(finding["message"] for finding in json.loads(capsys.readouterr().out)["findings"])
    assert '--on-unknown-fields="rescue" needs the column' in messages
    assert "name another with --rescue-column=..." in messages


def test_the_workspaces_address_as_endpoint_is_named(state):
    report = check_table(TABLE, endpoint=state.emulator.workspace_url)
    [message] = [finding.message for finding in report.findings if finding.name == "stream"]
    assert report.exit_code == 2
    assert "the endpoint is the address of Zerobus, not of the workspace" in message


def test_a_check_that_was_skipped_did_not_fail():
    findings = Findings(TABLE)
    findings.add("workspace", "skip", "is not known")
    assert not findings.failed()
    assert not findings.failed("workspace")
    findings.add("endpoint", "fail", "is not set")
    assert findings.failed()
    assert findings.failed("endpoint", "workspace")
    assert not findings.failed("workspace")


def test_an_address_is_not_broken(state):
    state.monkeypatch.setenv("ZEROBUS_ENDPOINT", f"http://localhost:1/{'x' * 60}")
    assert f"http://localhost:1/{'x' * 60}" in check_table(TABLE).as_text().split()


def test_the_columns_of_a_file(state, tmp_path, capsys):
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"device": ["attic"], "at": pa.array([1], pa.time32("s"))}), file)
    assert run([TABLE, "--schema", str(file)]) == 2
    assert "column 'at' is not in the table; it has Arrow type time32" in " ".join(capsys.readouterr().out.split())
    assert run([TABLE, "--schema", str(file), "--on-unknown-fields", "ignore"]) == 0
    with pytest.raises(ValueError, match="a schema is read from a .sql, .ddl"):
        run([TABLE, "--schema", "rows.csv"])
    with pytest.raises(OSError, match="cannot be read"):
        run([TABLE, "--schema", "none.parquet"])


def test_local_addresses_that_are_swapped_are_named(state, capsys):
    endpoint, workspace_url = state.emulator.endpoint, state.emulator.workspace_url
    report = check_table(TABLE, endpoint=workspace_url, workspace_url=endpoint)
    [found] = [finding for finding in report.findings if finding.status == "fail"]
    said = f"{workspace_url} answers as a workspace does, and {endpoint} does not: they are swapped"
    assert (found.name, found.message) == ("endpoint and workspace", said)
    assert found.remedy == f"export ZEROBUS_ENDPOINT={endpoint} DATABRICKS_HOST={workspace_url}"


def test_a_workspace_that_is_the_endpoint_is_not_taken_for_swapped(state):
    report = check_table(TABLE, workspace_url=state.emulator.endpoint)
    assert [finding.name for finding in report.findings if finding.status == "fail"] == ["token"]


def test_an_address_that_an_option_gives_is_named_by_the_option(state):
    report = check_table(TABLE, endpoint="nowhere")
    [found] = [finding for finding in report.findings if finding.status == "fail"]
    assert found.message.startswith("endpoint is not an http(s) URL")
    assert found.remedy.endswith("# and leave the option out")
