"""SQL statements: tables, columns, grants, and what each needs; Databricks' own SDK is in `test_sql_witness.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus import RejectedError, ZerobusWriter
from beam_zerobus.emulator import OTLP_COLUMNS, Emulator
from beam_zerobus.emulator.access.grants import Grants
from beam_zerobus.emulator.sql.warehouse import SqlError, Warehouse
from beam_zerobus.emulator.tables.catalog import Catalog
from beam_zerobus.emulator.tables.layout import TableRules
from beam_zerobus.workspace.secret import Secret
from beam_zerobus.workspace.sql_warehouse import SqlWarehouse, StatementError

TABLE = "main.iot.air"
Run = Callable[..., list[list[str | None]]]


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def emulator(running: Emulator) -> Emulator:
    """One emulator for all tests, as new."""
    running.reset()
    return running


@pytest.fixture
def run(emulator: Emulator) -> Run:
    """Execute a statement as the client or as the administrator, and return its rows."""

    def execute(statement: str, *, admin: bool = False) -> list[list[str | None]]:
        token = Secret(f"Bearer {emulator.issue_token(admin=admin)}")
        return SqlWarehouse(
            workspace_url=emulator.workspace_url,
            warehouse_id=emulator.warehouse_id,
            headers=lambda: {"authorization": token},
        ).execute(statement)

    return execute


@pytest.fixture
def fail(run: Run) -> Callable[..., str]:
    """Execute a statement that fails, and return the reason."""

    def execute(statement: str, *, admin: bool = False) -> str:
        with pytest.raises(StatementError) as caught:
            run(statement, admin=admin)
        assert "SQLSTATE: " in caught.value.quoted
        return str(caught.value)

    return execute


def test_the_creator_of_a_table_owns_it_and_writes_to_it_once_that_is_granted(emulator, run, connect):
    run(f"CREATE TABLE IF NOT EXISTS {TABLE} (device STRING NOT NULL, co2 INT);")
    run(f"CREATE TABLE IF NOT EXISTS {TABLE} (other STRING)")
    table = emulator.table(TABLE)
    assert table.schema.to_ddl() == "device STRING NOT NULL, co2 INT"
    batch = pa.record_batch({"device": ["attic"], "co2": pa.array([417], pa.int32())})
    with closing(connect(schema=table.schema)) as writer, pytest.raises(RejectedError, match="4024"):
        writer.send(batch)
    run(f"GRANT SELECT, MODIFY ON TABLE `main`.`iot`.`air` TO `{emulator.client_id}`;")
    assert connect().send(batch).success
    assert table.to_arrow().to_pylist() == batch.to_pylist()


def test_the_documented_statement_for_otlp_is_executed(emulator, run, fail):
    properties = "TBLPROPERTIES ('otel.schemaVersion' = 'v2', 'delta.checkpointPolicy' = 'classic')"
    create = f"CREATE TABLE {TABLE} ({OTLP_COLUMNS['traces']}) USING DELTA"
    assert "the table has no column 'x' to cluster by" in fail(f"{create} CLUSTER BY (time, x)")
    assert "expected the name of a property in quotes, found 'a'" in fail(f"{create} TBLPROPERTIES (a = 'b')")
    run(f"{create} CLUSTER BY (time, service_name, trace_id) {properties};")
    assert [column.name for column in emulator.table(TABLE).schema.columns][-2:] == [
        "instrumentation_scope",
        "span_schema_url",
    ]


def test_an_existing_table_is_named(run, fail):
    run(f"CREATE TABLE {TABLE} (device STRING, day DATE) USING DELTA PARTITIONED BY (day)")
    assert "[TABLE_OR_VIEW_ALREADY_EXISTS]" in fail(f"CREATE TABLE {TABLE} (device STRING)")


def test_describe(emulator, run):
    emulator.create_table(TABLE, "device STRING NOT NULL, at STRUCT<x: INT> COMMENT 'where'")
    expected = [["device", "string", None], ["at", "struct<x:int>", "where"]]
    assert run(f"DESCRIBE TABLE EXTENDED {TABLE}") == expected
    assert run(f"DESC {TABLE}") == expected


def test_grants_are_shown_given_and_revoked(emulator, run):
    emulator.create_table(TABLE, "device STRING")
    client = emulator.client_id
    assert run(f"SHOW GRANTS `{client}` ON TABLE {TABLE}") == [
        [client, "MODIFY", "TABLE", TABLE],
        [client, "SELECT", "TABLE", TABLE],
    ]
    run(f"REVOKE MODIFY ON TABLE {TABLE} FROM `{client}`", admin=True)
    assert emulator.table(TABLE).grants == {"USE CATALOG", "USE SCHEMA", "SELECT"}
    run(f"GRANT MODIFY ON SCHEMA main.iot TO `{client}`", admin=True)
    assert "MODIFY" in emulator.table(TABLE).grants
    assert run("SHOW GRANTS ON CATALOG main", admin=True) == [[client, "USE CATALOG", "CATALOG", "main"]]


@pytest.mark.parametrize(
    ("revoked", "statement", "missing"),
    [
        ("USE CATALOG ON CATALOG main", f"CREATE TABLE {TABLE} (a INT)", "USE CATALOG on `main`"),
        ("USE SCHEMA ON SCHEMA main.iot", "CREATE TABLE main.iot.b (a INT)", "USE SCHEMA on `main`.`iot`"),
        ("CREATE TABLE ON SCHEMA main.iot", "CREATE TABLE main.iot.b (a INT)", "CREATE TABLE on `main`.`iot`"),
        (f"MODIFY ON TABLE {TABLE}", f"ALTER TABLE {TABLE} ADD COLUMNS (b INT)", "MODIFY on `main`.`iot`.`air`"),
        (f"SELECT ON TABLE {TABLE}", f"DESCRIBE {TABLE}", "SELECT on `main`.`iot`.`air`"),
        (None, f"GRANT SELECT ON TABLE {TABLE} TO `client`", "MANAGE on `main`.`iot`.`air`"),
        (None, "GRANT USE CATALOG ON CATALOG main TO `client`", "MANAGE on `main`"),
        (None, f"SHOW GRANTS ON TABLE {TABLE}", "MANAGE on `main`.`iot`.`air`"),
    ],
)
def test_a_missing_privilege_is_named_and_nothing_changes(run, fail, emulator, revoked, statement, missing):  # noqa: PLR0917
    table = emulator.create_table(TABLE, "a INT")
    if revoked is not None:
        run(f"REVOKE {revoked} FROM `{emulator.client_id}`", admin=True)
    before = table.grants
    assert f"[INSUFFICIENT_PERMISSIONS] User does not have {missing}." in fail(statement)
    assert (table.schema.to_ddl(), len(emulator.tables), table.grants) == ("a INT", 1, before)


def test_columns_and_fields_of_structs_are_added(emulator, run, connect):
    columns = "id INT, at STRUCT<x: INT>, many ARRAY<STRUCT<x: INT>>, m MAP<STRING, STRUCT<x: INT>>"
    table = emulator.create_table(TABLE, columns)
    row = {"id": 1, "at": {"x": 1}, "many": [{"x": 1}], "m": {"k": {"x": 1}}}
    assert connect().send([row]).success
    run(f"ALTER TABLE {TABLE} ADD COLUMNS (note STRING COMMENT 'new', at.y INT, many.element.y INT, m.value.y STRING)")
    run(f"ALTER TABLE {TABLE} ADD COLUMN last DOUBLE")
    assert table.schema.to_ddl() == (
        "id INT, at STRUCT<x: INT, y: INT>, many ARRAY<STRUCT<x: INT, y: INT>>, "
        "m MAP<STRING, STRUCT<x: INT, y: STRING>>, note STRING COMMENT 'new', last DOUBLE"
    )
    [found] = table.to_arrow().to_pylist()
    assert found == {
        "id": 1,
        "at": {"x": 1, "y": None},
        "many": [{"x": 1, "y": None}],
        "m": [("k", {"x": 1, "y": None})],
        "note": None,
        "last": None,
    }


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
def test_a_stream_goes_on_when_a_struct_gets_a_field(emulator, run, connect, wire_format):
    table = emulator.create_table(TABLE, "id INT, at STRUCT<x: INT>")
    writer: ZerobusWriter = connect(wire_format=wire_format)
    assert writer.send([{"id": 1, "at": {"x": 1}}]).success
    run(f"ALTER TABLE {TABLE} ADD COLUMNS (at.y INT)")
    assert writer.send([{"id": 2, "at": {"x": 2}}]).success
    assert sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"]) == [
        {"id": 1, "at": {"x": 1, "y": None}},
        {"id": 2, "at": {"x": 2, "y": None}},
    ]


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("ID STRING", "[FIELD_ALREADY_EXISTS] Cannot add column: column 'ID' exists already, as 'id'."),
        ("new INT, at.X STRING", "column 'at.X' exists already"),
        ("b INT NOT NULL", "cannot be added as NOT NULL"),
        ("id.x INT", "column 'id' is not a struct"),
        ("nothing.x INT", "column 'nothing' is not a struct"),
        ("b TEXT", "Delta has no TEXT"),
    ],
)
def test_a_column_that_cannot_be_added_is_named_and_none_is_added(emulator, fail, added, message):
    table = emulator.create_table(TABLE, "id INT, at STRUCT<x: INT>")
    assert message in fail(f"ALTER TABLE {TABLE} ADD COLUMNS ({added})")
    assert table.schema.to_ddl() == "id INT, at STRUCT<x: INT>"


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("SELECT 1", "only CREATE TABLE"),
        ("-- nothing", "SQL, line 1, column 11"),
        ("CREATE TABLE air (id INT)", "name the table as catalog.schema.table"),
        (f"CREATE TABLE {TABLE} (id INT", "expected ')' after the columns"),
        (f"CREATE TABLE {TABLE} (id INT) USING PARQUET", "expected DELTA"),
        (f"ALTER TABLE {TABLE} DROP COLUMN id", "expected CONSTRAINT"),
        ("GRANT WRITE ON CATALOG main TO a", "'WRITE' is not one of the privileges"),
        ("GRANT SELECT ON CATALOG `a.b.c.d` TO a", "a name is not empty and has no dots"),
        ("GRANT SELECT ON SCHEMA main TO a", "the name of a SCHEMA has 2 parts"),
        ("GRANT SELECT ON CATALOG main", "expected TO"),
        ("SHOW GRANTS `a` ON CATALOG main; DROP", "expected ',' or the end"),
        ("DESCRIBE main.iot.nothing", "[TABLE_OR_VIEW_NOT_FOUND]"),
        ("GRANT SELECT ON TABLE main.iot.nothing TO a", "[TABLE_OR_VIEW_NOT_FOUND]"),
        ("GRANT SELECT ON CATALOG main TO `nobody`", "[PRINCIPAL_DOES_NOT_EXIST]"),
        (f"ALTER TABLE {TABLE} DROP CONSTRAINT positive", "[TABLE_OR_VIEW_NOT_FOUND]"),
    ],
)
def test_a_statement_that_fails_says_why(fail, statement, message):
    assert message in fail(statement, admin=True)


@pytest.mark.parametrize(
    "statement",
    [
        f"SELECT * FROM {TABLE}",
        f"SELECT count(*) FROM {TABLE}",
        f"SELECT id + 1, name FROM {TABLE}",
        f"(SELECT id FROM {TABLE})",
        f"WITH a AS (SELECT id FROM {TABLE}) TABLE a",
        f"INSERT INTO {TABLE} VALUES (1)",
        f"DROP TABLE {TABLE}",
        f"CREATE TABLE {TABLE} AS SELECT * FROM main.iot.b",
        "CREATE SCHEMA main.iot",
        f"ALTER TABLE {TABLE} SET TBLPROPERTIES ('a' = 'b')",
        "SHOW TABLES",
    ],
)
def test_a_statement_that_is_not_executed_names_those_that_are_and_the_way_to_rows(fail, statement):
    message = fail(statement, admin=True)
    assert "only CREATE TABLE, ALTER TABLE (ADD COLUMNS, DROP CONSTRAINT), GRANT, REVOKE, SHOW GRANTS and" in message
    assert "read rows with Table.to_arrow() or GET /control/tables/{name}/rows" in message


WORDS = st.sampled_from(
    [
        *(
            "CREATE TABLE",
            "IF NOT EXISTS",
            "ALTER TABLE",
            "ADD COLUMNS",
            "DROP CONSTRAINT",
            "GRANT",
            "REVOKE",
            "SELECT",
        ),
        *("SELECT", "ON CATALOG", "ON SCHEMA", "ON TABLE", "TO", "FROM", "SHOW GRANTS", "DESCRIBE", "USING DELTA"),
        *(
            "main",
            "main.iot",
            "main.iot.air",
            "`a.b`",
            "``",
            "`x",
            "'text",
            "PARTITIONED BY",
            "CLUSTER BY",
            "TBLPROPERTIES",
            "(",
            ")",
            "(id INT)",
            ".",
        ),
        *(",", ";", "id", "INT", "STRUCT", "<", ">", ":", "=", "§", "5", "client", "at.x STRUCT<y: INT>"),
    ]
)


@settings(max_examples=60)
@given(st.lists(WORDS, max_size=14))
def test_no_text_makes_the_warehouse_fail_otherwise(words):
    catalog = Catalog(None, rules=TableRules(), grants=Grants("client"), created=lambda name: None)
    with suppress(SqlError):
        Warehouse(grants=Grants("client"), catalog=lambda: catalog).execute(" ".join(words), "client")


def test_a_constraint_is_dropped(emulator, run, fail):
    table = emulator.create_table(TABLE, "id INT")
    table.description = {"properties": {"delta.constraints.positive": "id > 0"}}
    run(f"ALTER TABLE {TABLE} DROP CONSTRAINT positive")
    assert table.description == {"properties": {}}
    assert "DELTA_CONSTRAINT_DOES_NOT_EXIST" in fail(f"ALTER TABLE {TABLE} DROP CONSTRAINT positive")
    run(f"ALTER TABLE {TABLE} DROP CONSTRAINT IF EXISTS positive")
