"""`on_unknown_fields="add"`: columns are added once, and every row arrives with all its fields."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from deltalake import DeltaTable

from beam_zerobus import ConfigurationError, ConversionError, OAuthClientCredentials, WriteToZerobus
from beam_zerobus.emulator.tables.table import Table
from beam_zerobus.workspace.sql_warehouse import StatementError
from beam_zerobus.writer.shared import close_all
from tests.runners.support import zerobus_environment

TABLE = "main.iot.air"
COLUMNS = "id BIGINT NOT NULL, at STRUCT<x: INT>"
OLD = {"id": 1, "at": {"x": 1}}
NEW = [
    {"id": 2, "at": {"x": 2, "y": 0.5}, "note": "a"},
    {"id": 3, "note": "b", "tags": ["c"], "more": {"deep": {"er": True}}},
    {"id": 4, "at": {"x": None, "y": 1.0}, "none": None},
]
WIDER = (
    "id BIGINT NOT NULL, at STRUCT<x: INT, y: DOUBLE>, note STRING, tags ARRAY<STRING>, "
    "more STRUCT<deep: STRUCT<er: BOOLEAN>>"
)


def alterations(table: Table) -> int:
    """How often the table's columns changed; the emulator rewrites it then."""
    history = DeltaTable(table.path).history()
    return sum(each.get("operationParameters", {}).get("mode") == "Overwrite" for each in history)


def written(table: Table) -> list[dict[str, Any]]:
    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            # protobuf has no null lists, but empty ones
            return {name: clean(item) for name, item in value.items() if item is not None and item != []}
        return [clean(item) for item in value] if isinstance(value, list) else value

    return [clean(row) for row in sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])]


def without_nulls(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return json.loads(json.dumps(rows), object_hook=lambda d: {k: v for k, v in d.items() if v is not None})


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
@pytest.mark.parametrize("form", [dict, json.dumps])
def test_rows_with_new_fields_in_the_middle(emulator, adding, wire_format, form):
    table = emulator.create_table(TABLE, COLUMNS)
    writer = adding(wire_format=wire_format)
    assert writer.send([form(OLD)]).success
    result = writer.send([form(row) for row in NEW])
    assert result.success, result.failed_rows
    assert writer.send([form({**OLD, "id": 5})]).success
    assert table.schema.to_ddl() == WIDER
    assert written(table) == without_nulls([OLD, *NEW, {**OLD, "id": 5}])
    assert alterations(table) == 1


@pytest.mark.parametrize("wire_format", ["proto", "arrow"])
def test_a_batch_with_new_columns(emulator, adding, wire_format):
    table = emulator.create_table(TABLE, COLUMNS)
    writer = adding(wire_format=wire_format)
    at = pa.struct([("x", pa.int32()), ("y", pa.decimal128(5, 2))])
    columns = {
        "id": pa.array([1, 2], pa.int64()),
        "at": pa.array([{"x": 1, "y": decimal.Decimal("1.50")}, None], at),
        "size": pa.array([7, None], pa.int16()),
        "time": pa.array([1, 2], pa.timestamp("us", "UTC")),
    }
    assert writer.send(pa.record_batch(columns)).success
    expected = "id BIGINT NOT NULL, at STRUCT<x: INT, y: DECIMAL(5,2)>, size SMALLINT, `time` TIMESTAMP"
    assert table.schema.to_ddl().replace("`", "") == expected.replace("`", "")
    assert [row["size"] for row in table.to_arrow().to_pylist()] == [7, None]


def test_a_column_that_zerobus_cannot_write_is_not_added(emulator, adding):
    table = emulator.create_table(TABLE, COLUMNS)
    batch = pa.record_batch({"id": pa.array([1]), "grid": pa.array([[[1]]]), "time": pa.array([1], pa.time32("s"))})
    with pytest.raises(ConversionError, match='grid.*"ignore" or "rescue", as "add" cannot'):
        adding().send(batch)
    [failed] = adding().send([{"id": 1, "grid": [[1]]}, OLD]).failed_rows
    assert (failed.index, failed.error_type) == (0, "unknown_field")
    assert '"ignore" or "rescue", as "add" cannot' in failed.message
    assert table.schema.to_ddl() == COLUMNS


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
def test_a_column_of_nulls_alone_rejects_nothing(emulator, adding, wire_format):
    table = emulator.create_table(TABLE, COLUMNS)
    rows = [{"id": 1, "none": None, "at": {"no": None}, "new": {"a": 1, "b": None}, "list": [{"a": 1, "b": None}]}]
    assert adding(wire_format=wire_format).send(pa.RecordBatch.from_pylist(rows)).success
    assert table.schema.to_ddl() == f"{COLUMNS}, new STRUCT<a: BIGINT>, list ARRAY<STRUCT<a: BIGINT>>"
    assert written(table) == [{"id": 1, "at": {}, "new": {"a": 1}, "list": [{"a": 1}]}]


@pytest.mark.parametrize("form", [dict, json.dumps])
def test_a_row_with_too_many_columns_is_rejected_alone(emulator, adding, form):
    table = emulator.create_table(TABLE, COLUMNS)
    rows = [OLD, {"id": 2, **{f"c{n}": n for n in range(2_000)}}, {"id": 3, "at": {"y": 1}}]
    [failed] = adding().send([form(row) for row in rows]).failed_rows
    assert (failed.index, failed.error_type) == (1, "unknown_field")
    assert table.schema.to_ddl() == COLUMNS.replace("x: INT", "x: INT, y: BIGINT")
    with pytest.raises(ConversionError, match="'c0' is not in the table"):
        adding().send(pa.RecordBatch.from_pylist(rows[1:2]))


def test_of_types_that_do_not_fit_together_the_first_wins(emulator, adding):
    table = emulator.create_table(TABLE, COLUMNS)
    [failed] = adding().send([{"id": 1, "new": 1}, {"id": 2, "new": "two"}, {"id": 3, "new": 3.5}]).failed_rows
    assert (failed.index, failed.error_type) == (1, "wrong_type")
    assert table.schema.columns[-1].to_ddl() == "new DOUBLE"


def test_many_writers_add_a_column_once(emulator, adding):
    table = emulator.create_table(TABLE, COLUMNS)
    writers = [adding() for _ in range(6)]
    for writer in writers:
        writer.resolve_schema()
    barrier = threading.Barrier(6)

    def send(number: int) -> bool:
        barrier.wait(60)
        rows = [{"id": number, "shared": number, f"own_{number}": "x"}, {"id": 10 + number, "at": {"y": 1}}]
        return writers[number].send(rows).success

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(send, range(6)))
    names = [column.name for column in table.schema.columns]
    assert sorted(names) == sorted(["id", "at", "shared", *(f"own_{number}" for number in range(6))])
    assert str(table.schema.columns[1].type) == "STRUCT<x: INT, y: BIGINT>"
    assert table.count_rows() == 12


def test_two_writers_that_see_different_types(emulator, adding):
    table = emulator.create_table(TABLE, COLUMNS)
    first, second = adding(), adding()
    first.resolve_schema()
    second.resolve_schema()
    assert first.send([{"id": 1, "new": 1}]).success
    [failed] = second.send([{"id": 2, "new": "two"}, {"id": 3, "new": 3}]).failed_rows
    assert (failed.index, failed.error_type) == (0, "wrong_type")
    assert table.schema.columns[-1].to_ddl() == "new BIGINT"
    assert [row["new"] for row in written(table)] == [1, 3]


def test_columns_that_may_not_be_added(emulator, adding):
    table = emulator.create_table(TABLE, COLUMNS)
    with pytest.raises(ConfigurationError, match="The SQL warehouse ffff"):
        adding(warehouse_id="ffff").send([{"id": 1, "new": 1}])
    writer = adding()
    writer.resolve_schema()
    table.revoke("MODIFY")
    with pytest.raises(StatementError, match="does not have MODIFY") as raised:
        writer.send([{"id": 1, **{f"new_{number}": 1 for number in range(1_000)}}])
    assert len(str(raised.value)) < 1_000
    assert table.schema.to_ddl() == COLUMNS


def test_a_dry_run_changes_nothing(emulator, adding):
    table = emulator.create_table(TABLE, COLUMNS)
    assert adding(dry_run=True, schema="unity_catalog").send(NEW).success
    assert table.schema.to_ddl() == COLUMNS


def test_created_and_evolved(emulator, adding):
    writer = adding(create_table="if_needed", schema="id BIGINT")
    day = dt.date(2026, 1, 2)
    assert writer.send([{"id": 1}, {"id": 2, "day": day}]).success
    assert emulator.table(TABLE).schema.to_ddl().replace("`", "") == "id BIGINT, day DATE"


def test_a_fixed_schema_is_a_contradiction(adding):
    with pytest.raises(ConfigurationError, match="leave it out"):
        adding(schema="id BIGINT")


WORKER = """
import sys
import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from beam_zerobus import WriteToZerobus

number, value = int(sys.argv[1]), eval(sys.argv[2])
old = [{"id": number + 2 * n, "at": {"x": n}} for n in range(500)]
fields = {"shared": "s", f"own_{number}": 1, "mixed": value}
new = [{"id": 1000 + number + 2 * n, "at": {"y": n}, **fields} for n in range(500)]
with beam.Pipeline(runner=FnApiRunner()) as pipeline:
    rows = pipeline | beam.Create(old + new, reshuffle=False)
    result = rows | WriteToZerobus("main.iot.air", on_unknown_fields="add", on_bad_rows="dead_letter")
    result.failed_rows | beam.Map(lambda row: print("FAILED", row.error_type, row.element["id"]))
"""


@pytest.mark.hostile
@pytest.mark.timeout(600)
def test_two_processes_with_pipelines_that_see_different_types(emulator, monkeypatch):
    table = emulator.create_table(TABLE, COLUMNS)
    environment = {**zerobus_environment(emulator), "DATABRICKS_WAREHOUSE_ID": emulator.warehouse_id}

    def work(number: int, value: str) -> list[list[str]]:
        command = [sys.executable, "-c", WORKER, str(number), value]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=500)
        return [line.split() for line in done.stdout.splitlines() if line.startswith("FAILED")]

    with ThreadPoolExecutor(2) as threads:
        failed = [line for lines in threads.map(work, range(2), ["1", "'text'"]) for line in lines]
    rows = written(table)
    assert sorted([row["id"] for row in rows] + [int(line[2]) for line in failed]) == [*range(2000)]
    assert {kind for _, kind, _ in failed} == {"wrong_type"}
    assert len(failed) == 500, "the rows of one of the two"
    new = [row for row in rows if row["id"] >= 1000]
    assert all({"at", "shared", "mixed"} <= row.keys() and "y" in row["at"] for row in new)
    assert {column.name for column in table.schema.columns} == {"id", "at", "shared", "mixed", "own_0", "own_1"}


@pytest.mark.parametrize("form", [dict, json.dumps])
def test_a_pipeline(emulator, form):
    table = emulator.create_table(TABLE, COLUMNS)
    credentials = OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret)
    rows = [{**row, "id": number} for number, row in enumerate([OLD, *NEW] * 5)]
    sink = WriteToZerobus(
        TABLE,
        endpoint=emulator.endpoint,
        workspace_url=emulator.workspace_url,
        credentials=credentials,
        on_unknown_fields="add",
        warehouse_id=emulator.warehouse_id,
    )
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        pipeline | beam.Create([form(row) for row in rows]) | sink
    close_all()
    names = {"id", "at", "note", "tags", "more"}
    assert {column.name for column in table.schema.columns} == names
    assert written(table) == without_nulls(rows)
