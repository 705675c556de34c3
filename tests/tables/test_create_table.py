"""``beam-zerobus create-table``: the statements, and their execution in the emulator's SQL warehouse."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_zerobus import DatabricksProfile, ZerobusWriter
from beam_zerobus.check import check_table
from beam_zerobus.cli import main
from beam_zerobus.emulator import Emulator
from beam_zerobus.schema import TableSchema

TABLE = "main.iot.air"
COLUMNS = "device STRING NOT NULL, co2 INT"
GRANTS = [
    "GRANT USE CATALOG ON CATALOG `main` TO `1234`;",
    "GRANT USE SCHEMA ON SCHEMA `main`.`iot` TO `1234`;",
    "GRANT SELECT, MODIFY ON TABLE `main`.`iot`.`air` TO `1234`;",
]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOST", "CLIENT_ID", "CLIENT_SECRET", "TOKEN", "WAREHOUSE_ID"):
        monkeypatch.delenv(f"DATABRICKS_{name}", raising=False)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main(["create-table", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def columns_in(statements: str) -> TableSchema:
    create, _, _ = statements.partition("\n);\n")
    assert create.startswith("CREATE TABLE IF NOT EXISTS `main`.`iot`.`air` (")
    return TableSchema.from_ddl(create.partition("(\n")[2])


@pytest.mark.parametrize("option", ["--schema", "--like"])
def test_the_columns_of_a_file(tmp_path, capsys, option):
    file = tmp_path / "readings.parquet"
    pq.write_table(pa.table({"device": ["a"], "co2": pa.array([1], pa.int32())}), file)
    status, out, error = run(capsys, TABLE, option, file, "--principal", "1234", "--warehouse-id", "")
    assert (status, error) == (0, "")
    assert columns_in(out).to_ddl() == "device STRING, co2 INT"
    assert out.partition("\n);\n")[2].splitlines() == GRANTS


def test_without_a_warehouse_it_says_that_nothing_was_executed(capsys):
    status, out, error = run(capsys, TABLE, "--schema", COLUMNS, "--principal", "1234")
    assert (status, out.splitlines()[-3:]) == (0, GRANTS)
    assert "nothing was executed" in error
    assert "DATABRICKS_WAREHOUSE_ID" in error


def test_the_columns_of_a_proto_file(tmp_path, capsys):
    file = tmp_path / "air.proto"
    file.write_text(TableSchema.from_ddl(COLUMNS).to_proto("Reading") + "message Other { optional int32 id = 1; }\n")
    status, out, _ = run(capsys, TABLE, "--from-proto", file, "--message", "Reading")
    assert status == 0
    assert columns_in(out).to_ddl() == COLUMNS
    assert "TO `<client-id>`;" in out
    status, _, error = run(capsys, TABLE, "--from-proto", file)
    assert status == 2
    assert "name one of Reading, Other" in error


def test_columns_that_zerobus_does_not_take_are_named(capsys):
    status, out, error = run(capsys, TABLE, "--schema", "id BIGINT, grid ARRAY<ARRAY<INT>>")
    assert status == 0
    assert "grid ARRAY<ARRAY<INT>>" in out
    assert "Zerobus will not take all columns of this table: " in error
    assert "'grid'" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["air", "--schema", "id INT"], "write it as 'catalog.schema.table'"),
        ([TABLE, "--schema", "id INT", "--message", "A"], "give --from-proto too"),
        ([TABLE, "--like", "air.csv"], "name a .parquet or .arrow file"),
        ([TABLE, "--like", "missing.parquet"], "missing.parquet cannot be read (No such file or directory): check its"),
        ([TABLE, "--schema", "missing.json"], "missing.json cannot be read (No such file or directory): check its"),
        ([TABLE, "--from-proto", "missing.proto"], "missing.proto cannot be read (No such file"),
        ([TABLE, "--schema", "id INT", "--warehouse-id", "1"], "give --principal"),
        ([TABLE, "--schema", "id INT", "--warehouse-id", "1", "--principal", "1"], "DATABRICKS_HOST is not set"),
    ],
)
def test_a_wrong_argument_is_named(capsys, arguments, message):
    status, out, error = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert message in error


@pytest.fixture
def environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that has everything but the administrator's token."""
    for name, value in (
        ("ZEROBUS_ENDPOINT", emulator.endpoint),
        ("DATABRICKS_HOST", emulator.workspace_url),
        ("DATABRICKS_CLIENT_ID", emulator.client_id),
        ("DATABRICKS_CLIENT_SECRET", emulator.client_secret),
        ("DATABRICKS_WAREHOUSE_ID", emulator.warehouse_id),
    ):
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_statements_are_executed_and_rows_can_be_sent(emulator, environment, capsys):
    on_the_table = f"GRANT SELECT, MODIFY ON TABLE `main`.`iot`.`air` TO `{emulator.client_id}`;\n"
    for attempt in range(2):
        status, out, error = run(capsys, TABLE, "--schema", COLUMNS)
        if attempt == 0:
            assert (status, error) == (0, "")
            assert columns_in(out).to_ddl() == COLUMNS
            assert out.partition("\n);\n")[2] == on_the_table  # the client has the others from the start
        else:
            assert (status, out) == (0, "")
            assert error == f"beam-zerobus: table {TABLE} exists with these columns, and is left as it is\n"
        assert check_table(TABLE).exit_code == 0
        with ZerobusWriter(TABLE) as writer:
            assert writer.send([{"device": "attic", "co2": 417}]).success


def test_a_table_with_other_columns_is_left_as_it_is(emulator, environment, capsys):
    emulator.create_table(TABLE, "device BIGINT")
    status, out, error = run(capsys, TABLE, "--schema", COLUMNS)
    assert (status, out) == (2, "")
    assert f"table {TABLE} exists with other columns, and is left as it is" in error
    assert "column 'device'" in error
    assert "column 'co2'" in error
    assert emulator.table(TABLE).schema.to_ddl() == "device BIGINT"


def test_a_table_with_other_columns_that_rows_fit_is_named(emulator, environment, capsys):
    emulator.create_table(TABLE, "device STRING NOT NULL, co2 BIGINT, at TIMESTAMP")
    status, out, error = run(capsys, TABLE, "--schema", COLUMNS)
    assert status == 0
    assert "CREATE" not in out
    assert f"table {TABLE} exists with other columns, and is left as it is; rows of the schema fit, but" in error
    assert "column 'co2' is INT, in the table it is BIGINT" in error
    assert "the table's column 'at' (TIMESTAMP, nullable) is missing" in error


def test_a_warehouse_that_is_none_is_named_with_where_its_id_is(environment, capsys):
    status, _, error = run(capsys, TABLE, "--schema", COLUMNS, "--warehouse-id", "nope")
    assert status == 2
    assert "The SQL warehouse nope at http://127.0.0.1" in error
    assert "(404): check --warehouse-id (DATABRICKS_WAREHOUSE_ID), the end of the HTTP path in" in error
    assert "connection details: /sql/1.0/warehouses/<id>" in error


def test_an_administrator_gives_every_grant(emulator, environment, capsys):
    for privilege, name in (("USE CATALOG", "main"), ("USE SCHEMA", "main.iot")):
        emulator._grants.revoke(emulator.client_id, name, {privilege})
    environment.setenv("DATABRICKS_TOKEN", emulator.issue_token(admin=True))
    status, out, error = run(capsys, TABLE, "--schema", COLUMNS)
    assert (status, error) == (0, "")
    assert out.partition("\n);\n")[2].splitlines() == [grant.replace("1234", emulator.client_id) for grant in GRANTS]
    environment.delenv("DATABRICKS_TOKEN")
    assert check_table(TABLE).exit_code == 0


def test_a_grant_that_cannot_be_given_is_left_to_somebody_else(emulator, environment, capsys):
    status, out, error = run(capsys, TABLE, "--schema", COLUMNS, "--principal", "1234")
    assert status == 2
    assert columns_in(out).to_ddl() == COLUMNS
    assert [line.strip() for line in error.splitlines() if line.startswith("  ")] == GRANTS
    assert "does not have MANAGE on `main`" in error
    assert "PRINCIPAL_DOES_NOT_EXIST" in error  # a grant on its own table
    assert "name the client id of a service principal of this workspace with --principal, or execute" in error
    assert "TO `1234`: [" in error


def test_a_table_that_cannot_be_created_has_its_reason(emulator, environment, capsys):
    emulator._grants.revoke(emulator.client_id, "main.iot", {"CREATE TABLE"})
    status, out, error = run(capsys, TABLE, "--schema", COLUMNS)
    assert (status, out) == (2, "")
    assert "User does not have CREATE TABLE on `main`.`iot`" in error
    assert emulator.tables == ()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("DATABRICKS_WAREHOUSE_ID", "ffff", "The SQL warehouse ffff at http://127.0.0.1"),
        ("DATABRICKS_CLIENT_SECRET", "canary", "rejected the credentials"),
        ("DATABRICKS_TOKEN", "canary", "rejected the token (401)"),
        ("DATABRICKS_HOST", "http://localhost:1", "could not be reached"),
        ("DATABRICKS_HOST", "nowhere", "DATABRICKS_HOST"),
    ],
)
def test_a_wrong_variable_is_named_and_no_secret_shown(environment, capsys, variable, value, message):
    environment.setenv(variable, value)
    status, out, error = run(capsys, TABLE, "--schema", COLUMNS)
    assert (status, out) == (2, "")
    assert message in error
    assert "canary" not in error


def test_without_a_warehouse_the_statements_are_only_printed(emulator, environment, capsys):
    status, out, _ = run(capsys, TABLE, "--schema", COLUMNS, "--warehouse-id", "")
    assert status == 0
    assert out.count("GRANT") == 3
    assert emulator.tables == ()


def test_the_zerobus_endpoint_as_workspace_is_named_before_it_is_called(capsys, monkeypatch):
    arguments = [TABLE, "--schema", "id INT", "--warehouse-id", "1", "--principal", "1"]
    url = "https://1.zerobus.eu-west-1.cloud.databricks.com"
    monkeypatch.setenv("DATABRICKS_TOKEN", "t")
    status, _, error = run(capsys, *arguments, "--workspace-url", url)
    assert (status, "--workspace-url looks like the Zerobus endpoint" in error) == (2, True)
    monkeypatch.setenv("DATABRICKS_HOST", url)
    status, _, error = run(capsys, *arguments)
    assert (status, "DATABRICKS_HOST looks like the Zerobus endpoint" in error) == (2, True)
    monkeypatch.delenv("DATABRICKS_HOST")
    monkeypatch.setattr(DatabricksProfile, "workspace_url", lambda _: url)  # its SDK calls a host that is none of ours
    status, _, error = run(capsys, *arguments, "--profile", "ingest")
    assert (status, "the host of profile 'ingest' looks like the Zerobus endpoint" in error) == (2, True)


def test_differences_are_in_the_types_of_tables(emulator, capsys, monkeypatch):
    emulator.create_table(TABLE, "id INT, at TIMESTAMP, s STRUCT<x: INT>")
    monkeypatch.setenv("DATABRICKS_HOST", emulator.workspace_url)
    monkeypatch.setenv("DATABRICKS_TOKEN", emulator.issue_token(admin=True))
    columns = "id STRING, at TIMESTAMP_NTZ, s STRUCT<x: VARIANT, y: INT>, new ARRAY<INT>"
    arguments = ["--schema", columns, "--warehouse-id", emulator.warehouse_id, "--principal", "1"]
    status, _, error = run(capsys, TABLE, *arguments)
    assert status == 2
    for part in (
        "column 'id' is STRING, and INT in the table, which does not accept it",
        "column 'at' is TIMESTAMP_NTZ, and TIMESTAMP in the table, which does not accept it unless assume_timezone is",
        "column 's.x' is VARIANT, and INT in the table",
        "column 's.y' (INT) is not in the table",
        "column 'new' (ARRAY<INT>) is not in the table",
        "change the schema or the table, or name another table",
    ):
        assert part in error
    assert "Arrow" not in error
    assert "on_unknown_fields" not in error
