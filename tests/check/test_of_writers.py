"""`ZerobusWriter.check` and `WriteToZerobus.check`: what the command finds, for the options and rows that they have."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
import pytest

from beam_zerobus import (
    ConfigurationError,
    OAuthClientCredentials,
    StaticHeaders,
    WriteToZerobus,
    ZerobusWriter,
    check_table,
)
from beam_zerobus.check import Report
from tests.check.state import COLUMNS, TABLE, State
from tests.check.test_remedies import BROKEN


class Reading(NamedTuple):
    device: str
    co2: int | None
    humidity: float | None


def statuses(report: Report) -> dict[str, str]:
    return {finding.name: finding.status for finding in report.findings}


def remedy(report: Report, name: str) -> str:
    [found] = [finding.remedy for finding in report.findings if finding.name == name]
    return found


def test_a_table_that_can_be_written(state: State) -> None:
    for report in (ZerobusWriter(TABLE).check(), WriteToZerobus(TABLE).check(), ZerobusWriter(TABLE).check(COLUMNS)):
        assert report == check_table(TABLE)
        assert report.exit_code == 0
        with pytest.raises(dataclasses.FrozenInstanceError):
            report.table = "another"  # type: ignore[misc]
    assert state.table.count_rows() == 0
    assert state.emulator.stats.tables[TABLE].calls == 0


@pytest.mark.parametrize("name", ["a wrong secret", "no such table", "MODIFY", "a view", "a closed port"])
def test_a_broken_state_is_found_as_by_the_command(state: State, name: str) -> None:
    BROKEN[name].make(state)
    expected = check_table(TABLE)
    assert expected.exit_code == BROKEN[name].exit_code
    assert ZerobusWriter(TABLE).check() == WriteToZerobus(TABLE).check() == expected


def test_credentials_that_are_given_need_their_grants(state: State) -> None:
    for name in ("DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"):
        state.monkeypatch.delenv(name)
    state.table.revoke("SELECT")
    credentials = OAuthClientCredentials(
        client_id=state.emulator.client_id, client_secret=lambda: state.emulator.client_secret
    )
    report = ZerobusWriter(TABLE, credentials=credentials).check()
    assert statuses(report)["grant SELECT"] == "fail"
    assert "DATABRICKS_CLIENT_ID" not in statuses(report)
    state.follow(remedy(report, "grant SELECT"))
    assert ZerobusWriter(TABLE, credentials=credentials).check().exit_code == 0


def test_headers_without_a_workspace(state: State) -> None:
    state.monkeypatch.delenv("DATABRICKS_HOST")
    credentials = StaticHeaders(headers={"authorization": f"Bearer {state.emulator.issue_token(TABLE)}"})
    report = ZerobusWriter(TABLE, credentials=credentials, schema=COLUMNS).check()
    assert (report.exit_code, statuses(report)["workspace"], statuses(report)["stream"]) == (0, "skip", "pass")
    report = ZerobusWriter(TABLE, credentials=credentials).check()
    assert (report.exit_code, statuses(report)["stream"]) == (0, "skip")


def test_the_columns_of_a_pipelines_elements(state: State) -> None:
    sink = WriteToZerobus(TABLE)
    of_elements = beam.Pipeline() | beam.Create([Reading("attic", 417, 0.5)]).with_output_types(Reading)
    schema = pa.schema([pa.field("device", pa.string(), nullable=False), ("humidity", pa.float64())])
    for elements in (Reading, of_elements, schema, "device STRING NOT NULL, humidity DOUBLE"):
        report = sink.check(elements)
        assert report.exit_code == 2
        assert "humidity" in next(finding.message for finding in report.findings if finding.name == "schema")
    assert WriteToZerobus(TABLE, drop=["humidity"]).check(Reading).exit_code == 0
    state.follow(remedy(sink.check(Reading), "schema"))
    assert sink.check(Reading).exit_code == 0
    assert sink.check(dict[str, int]).exit_code == 0


def test_elements_in_place_of_their_type(state: State) -> None:
    batch = pa.RecordBatch.from_pydict({"device": ["attic"], "humidity": [0.5]})
    for elements in (batch, pa.Table.from_batches([batch])):
        assert statuses(WriteToZerobus(TABLE).check(elements))["schema"] == "fail"
    for value in ({"device": "attic"}, [Reading("attic", 417, 0.5)], Reading("attic", 417, 0.5), b"{}", 5):
        with pytest.raises(ConfigurationError, match="give a PCollection, the type of its elements, or their schema"):
            WriteToZerobus(TABLE).check(value)


def test_one_of_many_tables(state: State) -> None:
    sink = WriteToZerobus("main.iot.{kind}", schema={TABLE: "device INT NOT NULL"})
    assert statuses(sink.check(table=TABLE))["schema"] == "fail"
    with pytest.raises(ConfigurationError, match=r"check\(table="):
        sink.check()


def test_fields_that_the_table_lacks(state: State) -> None:
    warehouse = state.emulator.warehouse_id
    assert WriteToZerobus(TABLE, on_unknown_fields="ignore").check(Reading).exit_code == 0
    report = WriteToZerobus(TABLE, on_unknown_fields="add", warehouse_id=warehouse).check(Reading)
    assert (report.exit_code, statuses(report)["SQL warehouse"]) == (0, "pass")
    assert state.table.schema.to_ddl() == COLUMNS
    state.execute(f"ALTER TABLE {TABLE} ADD COLUMNS (rest VARIANT)")
    rescuing = WriteToZerobus(TABLE, on_unknown_fields="rescue", rescue_column="rest")
    assert statuses(rescuing.check(Reading))["schema"] == "warn"
    assert statuses(rescuing.check("co2 INT"))["schema"] == "fail", "a NOT NULL column cannot be rescued"


def test_fields_for_which_the_table_has_no_room(state: State) -> None:
    sink = WriteToZerobus(TABLE, on_unknown_fields="add", warehouse_id=state.emulator.warehouse_id)
    columns = pa.schema(
        [pa.field("device", pa.string(), nullable=False), *((f"c{n}", pa.int32()) for n in range(1999))]
    )
    [finding] = [finding for finding in sink.check(columns).findings if finding.name == "schema"]
    assert (finding.status, "'c0' cannot be added" in finding.message) == ("fail", True)


def test_a_table_that_the_job_creates(state: State) -> None:
    state.emulator.drop_table(TABLE)
    sink = WriteToZerobus(TABLE, schema=COLUMNS, create_table="if_needed", warehouse_id=state.emulator.warehouse_id)
    report = sink.check()
    assert report.exit_code == 0, report.as_text()
    assert statuses(report)["table"] == statuses(report)["grant CREATE TABLE"] == "pass"
    assert state.emulator.tables == ()


def test_columns_without_a_type_of_delta(state: State) -> None:
    """A writer drops, rescues or converts them, and needs no type of Delta for them."""
    state.execute(f"ALTER TABLE {TABLE} ADD COLUMNS (rest VARIANT)")
    key = pa.field("device", pa.string(), nullable=False)
    odd = pa.schema([key, ("at", pa.time32("s")), ("none", pa.null()), ("co2", pa.null())])
    null = pa.schema([key, ("none", pa.null())])
    warehouse = state.emulator.warehouse_id
    for option, schema, expected in (
        ("reject", odd, "fail"),
        ("reject", null, "fail"),
        ("ignore", odd, "pass"),
        ("add", odd, "fail"),
        ("add", null, "pass"),
        ("rescue", odd, "warn"),
    ):
        options = {"on_unknown_fields": option, "rescue_column": "rest", "warehouse_id": warehouse}
        assert statuses(ZerobusWriter(TABLE, **options).check(schema))["schema"] == expected, option  # type: ignore[arg-type]
    nulls = pa.schema([("device", pa.null())])
    assert "is NOT NULL" in str(ZerobusWriter(TABLE, on_unknown_fields="ignore").check(nulls))


def test_the_rules_for_times_of_the_writer(state: State) -> None:
    state.execute(f"ALTER TABLE {TABLE} ADD COLUMNS (at TIMESTAMP)")
    for schema, options in (
        ("device STRING, at TIMESTAMP_NTZ", {"assume_timezone": "UTC"}),
        ("device STRING, at BIGINT", {"epoch_unit": "ms"}),
    ):
        assert statuses(ZerobusWriter(TABLE).check(schema))["schema"] == "fail"
        assert ZerobusWriter(TABLE, **options).check(schema).exit_code == 0  # type: ignore[arg-type]


def test_rows_are_compared_with_the_schema_that_the_writer_has(state: State) -> None:
    writer = ZerobusWriter(TABLE, schema="device STRING NOT NULL")
    assert statuses(writer.check())["schema"] == "pass"
    assert statuses(writer.check(COLUMNS))["schema"] == "fail", "the writer sends no co2"
    lacks = ZerobusWriter(TABLE, schema="device STRING NOT NULL, humidity DOUBLE", on_unknown_fields="ignore").check()
    assert statuses(lacks)["schema"] == "fail", "a stream has the columns of schema, whatever becomes of others"
    assert remedy(lacks, "schema").startswith("ALTER TABLE")


def test_a_table_that_the_job_cannot_create(state: State) -> None:
    state.emulator.drop_table(TABLE)
    options = {"create_table": "if_needed", "warehouse_id": state.emulator.warehouse_id}
    writer = ZerobusWriter(TABLE, schema="elements", **options)  # type: ignore[arg-type]
    assert statuses(writer.check(pa.schema([("id", pa.int64())]))).get("schema") is None
    for columns in (pa.schema([("at", pa.time32("s"))]), pa.schema([("grid", pa.list_(pa.list_(pa.int32())))])):
        assert statuses(writer.check(columns))["schema"] == "fail"


class Timed(NamedTuple):
    device: str
    at: str


def test_python_values_fit_columns_that_arrow_values_of_their_type_do_not(state: State) -> None:
    state.execute(f"ALTER TABLE {TABLE} ADD COLUMNS (at TIMESTAMP)")
    sink = WriteToZerobus(TABLE)
    assert sink.check(Timed).exit_code == 0
    with ZerobusWriter(TABLE) as writer:
        assert writer.send([Timed("attic", "2026-11-30T00:00:00Z")]).success
    assert statuses(sink.check(pa.schema([("device", pa.string()), ("at", pa.string())])))["schema"] == "fail"
