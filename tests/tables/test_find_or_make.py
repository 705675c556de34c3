"""`create_table="if_needed"`: created once, whoever comes first; a table of another shape is left as it is."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from deltalake import DeltaTable

from beam_zerobus import ConfigurationError, OAuthClientCredentials, WriteToZerobus, ZerobusWriter, ZerobusWriters
from beam_zerobus.emulator import Emulator
from beam_zerobus.workspace.sql_warehouse import StatementError
from beam_zerobus.writer.shared import close_all
from tests.runners.support import zerobus_environment

TABLE = "main.iot.air"
COLUMNS = "device STRING NOT NULL, co2 INT"
ROW = {"device": "attic", "co2": 417}


class Reading(NamedTuple):
    device: str
    co2: int | None


def creating(connect, emulator: Emulator, **options):
    given = {"create_table": "if_needed", "warehouse_id": emulator.warehouse_id, "schema": COLUMNS}
    return connect(**given | options)


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
def test_a_writer_creates_the_table_and_writes(emulator, connect, wire_format):
    writer = creating(connect, emulator, wire_format=wire_format)
    assert writer.send([ROW]).success
    table = emulator.table(TABLE)
    assert table.schema.to_ddl() == COLUMNS
    assert table.to_arrow().to_pylist() == [ROW]
    assert emulator._grants.owns(emulator.client_id, TABLE)


def test_the_columns_of_the_rows(emulator, connect):
    batch = pa.record_batch({"device": ["attic"], "co2": pa.array([417], pa.int32())})
    assert creating(connect, emulator, schema=None).send(batch).success
    assert emulator.table(TABLE).schema.to_ddl() == "device STRING, co2 INT"


def test_rows_that_declare_no_columns_need_a_schema(emulator, connect):
    with pytest.raises(ConfigurationError, match="give schema="):
        creating(connect, emulator, schema=None).send([ROW])
    assert emulator.tables == ()


def test_a_table_that_exists_is_used_as_it_is(emulator, connect):
    table = emulator.create_table(TABLE, "co2 BIGINT, more STRING, device STRING")
    table.description = {"properties": {}}
    writer = creating(connect, emulator)
    assert writer.send([ROW]).success
    assert writer.schema == table.schema
    assert table.to_arrow().to_pylist() == [{"co2": 417, "more": None, "device": "attic"}]


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        ("device STRING NOT NULL", "column 'co2'"),
        ("device STRING NOT NULL, co2 STRING", "column 'co2'"),
        (f"{COLUMNS}, more STRING NOT NULL", "'more'"),
    ],
)
def test_a_table_of_another_shape_is_left_as_it_is(emulator, connect, there, reason):
    table = emulator.create_table(TABLE, there)
    with pytest.raises(ConfigurationError, match="exists with other columns, and is left as it is") as caught:
        creating(connect, emulator).send([ROW])
    assert reason in str(caught.value)
    assert TABLE in str(caught.value)
    assert table.schema.to_ddl() == there
    assert table.count_rows() == 0


@pytest.mark.parametrize(
    ("on_unknown_fields", "columns", "then"),
    [
        ("ignore", "device STRING", "device STRING"),
        ("add", "device STRING", "device STRING, co2 INT"),
        ("rescue", "device STRING, _rescued_data STRING", "device STRING, _rescued_data STRING"),
    ],
)
def test_a_table_that_lacks_a_column_of_the_rows(emulator, connect, on_unknown_fields, columns, then):
    table = emulator.create_table(TABLE, columns)
    schema = COLUMNS + columns.removeprefix("device STRING")
    assert creating(connect, emulator, schema=schema, on_unknown_fields=on_unknown_fields).send([ROW]).success
    assert table.schema.to_ddl() == then
    assert table.count_rows() == 1


def test_a_table_that_may_not_be_created(emulator, connect):
    emulator._grants.revoke(emulator.client_id, "main.iot", {"CREATE TABLE"})
    with pytest.raises(StatementError, match="User does not have CREATE TABLE on `main`.`iot`"):
        creating(connect, emulator).send([ROW])


@pytest.mark.parametrize("warehouse_id", ["given", "unknown"])
def test_a_table_that_exists_is_used_though_a_missing_grant_cannot_be_given(emulator, connect, caplog, warehouse_id):
    """The principal may have the privilege from a group; the service says when it opens a stream."""
    table = emulator.create_table(TABLE, COLUMNS)
    table.revoke("MODIFY")
    warehouse = emulator.warehouse_id if warehouse_id == "given" else warehouse_id
    assert creating(connect, emulator, warehouse_id=warehouse).resolve_schema() == table.schema
    assert f"grant for table {TABLE} could not be given" in caplog.text


def test_a_dry_run_creates_nothing(emulator, connect):
    assert creating(connect, emulator, dry_run=True).send([ROW]).success
    assert emulator.tables == ()


def test_each_of_many_tables_is_created(emulator):
    options = {"endpoint": emulator.endpoint, "workspace_url": emulator.workspace_url}
    credentials = {"client_id": emulator.client_id, "client_secret": emulator.client_secret}
    with ZerobusWriters(
        **options,
        credentials=OAuthClientCredentials(**credentials),
        schema=COLUMNS,
        create_table="if_needed",
        warehouse_id=emulator.warehouse_id,
    ) as writers:
        for name in ("main.eu.air", "main.us.air"):
            assert writers.send(name, [ROW]).success
    assert sorted(table.name for table in emulator.tables) == ["main.eu.air", "main.us.air"]


def test_eight_writers_at_once(emulator, connect):
    writers = [creating(connect, emulator) for _ in range(8)]
    barrier = threading.Barrier(8)

    def send(writer: ZerobusWriter) -> bool:
        barrier.wait(60)
        return writer.send([ROW]).success

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(send, writers))
    table = emulator.table(TABLE)
    assert table.count_rows() == 8
    assert len(created(table)) == 1


def created(table):
    return [each for each in DeltaTable(table.path).history() if each["operation"] == "CREATE TABLE"]


@pytest.fixture
def environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch):
    for name, value in {**zerobus_environment(emulator), "DATABRICKS_WAREHOUSE_ID": emulator.warehouse_id}.items():
        monkeypatch.setenv(name, value)
    yield
    close_all()


def test_a_pipeline_creates_the_table_of_its_elements(emulator, environment):
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows = beam.Create([Reading("attic", 417), Reading("cellar", None)]).with_output_types(Reading)
        pipeline | rows | WriteToZerobus(TABLE, create_table="if_needed")
    table = emulator.table(TABLE)
    assert table.schema.to_ddl() == "device STRING NOT NULL, co2 BIGINT"
    assert table.count_rows() == 2


WORKER = """
import sys
from beam_zerobus import ZerobusWriter
with ZerobusWriter(sys.argv[1], schema=sys.argv[2], create_table="if_needed") as writer:
    assert writer.send([{"device": "attic", "co2": int(sys.argv[3])}]).success
"""


@pytest.mark.hostile
@pytest.mark.timeout(600)
def test_eight_processes_at_once(emulator, environment):
    command = [sys.executable, "-c", WORKER, TABLE, COLUMNS]
    with ThreadPoolExecutor(8) as threads:
        done = threads.map(lambda number: subprocess.run([*command, str(number)], check=False, timeout=500), range(8))
        assert [worker.returncode for worker in done] == [0] * 8
    table = emulator.table(TABLE)
    assert sorted(table.to_arrow()["co2"].to_pylist()) == list(range(8))
    assert len(created(table)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"create_table": "if_needed", "schema": "id INT"}, "warehouse_id is not set"),
        ({"create_table": "if_needed", "schema": "unity_catalog", "warehouse_id": "1"}, "give the columns"),
        ({"create_table": "always"}, "create_table"),
    ],
)
def test_a_wrong_option(monkeypatch, options, message):
    monkeypatch.delenv("DATABRICKS_WAREHOUSE_ID", raising=False)
    given = {"endpoint": "http://localhost:1", "workspace_url": "http://localhost:1"}
    for make in (ZerobusWriter, WriteToZerobus):
        with pytest.raises(ConfigurationError, match=message):
            make(TABLE, **given, **options)
