"""The README's table takes every kind of element, typed as a new user types it, with no schema given."""

from __future__ import annotations

import dataclasses
import json
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.typehints.row_type import RowTypeConstraint

from beam_zerobus import ConfigurationError, StaticHeaders

TABLE = "main.iot.air_quality"
READINGS = [{"device": "attic", "co2": 417}, {"device": "cellar", "co2": 655}]
HEADERS = StaticHeaders(headers={"authorization": "x"})


class Reading(NamedTuple):
    device: str
    co2: int


@dataclasses.dataclass
class ReadingClass:
    device: str
    co2: int


def to_row(reading: dict) -> beam.Row:
    return beam.Row(device=reading["device"], co2=reading["co2"])


def batch() -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(READINGS)  # an int64 column, as pyarrow makes it


ELEMENTS = {
    "dict": lambda p: p | beam.Create(READINGS),
    "json": lambda p: p | beam.Create([json.dumps(reading) for reading in READINGS]),
    "json bytes": lambda p: p | beam.Create([json.dumps(reading).encode() for reading in READINGS]),
    "beam.Row": lambda p: p | beam.Create([beam.Row(device="attic", co2=417), beam.Row(device="cellar", co2=655)]),
    "NamedTuple": lambda p: p | beam.Create([Reading(**reading) for reading in READINGS]),
    "dataclass": lambda p: p | beam.Create([ReadingClass(**reading) for reading in READINGS]),
    "Map to Row": lambda p: p | beam.Create(READINGS) | beam.Map(to_row),
    "Map to Row, inferred": lambda p: (
        p | beam.Create([("attic", 417), ("cellar", 655)]) | beam.Map(lambda r: beam.Row(device=r[0], co2=int(r[1])))
    ),
    "Map to NamedTuple": lambda p: (
        p | beam.Create(READINGS) | beam.Map(lambda r: Reading(**r)).with_output_types(Reading)
    ),
    "Map to dataclass": lambda p: (
        p | beam.Create(READINGS) | beam.Map(lambda r: ReadingClass(**r)).with_output_types(ReadingClass)
    ),
    "Select": lambda p: (
        p | beam.Create(READINGS) | beam.Select(device=lambda r: str(r["device"]), co2=lambda r: int(r["co2"]))
    ),
    "RecordBatch": lambda p: p | beam.Create([batch()]),
    "Table": lambda p: p | beam.Create([pa.Table.from_batches([batch()])]),
}


@pytest.fixture
def table(emulator):
    return emulator.create_table(TABLE, "device STRING, co2 INT")


def rows_of(table):
    return sorted(table.to_arrow().to_pylist(), key=lambda row: row["device"])


@pytest.mark.parametrize("kind", ELEMENTS)
def test_every_kind_of_element(table, sink, run, kind):
    run(lambda pipeline: ELEMENTS[kind](pipeline) | sink(TABLE))
    assert rows_of(table) == READINGS


@pytest.mark.parametrize("kind", ["beam.Row", "dict", "RecordBatch"])
@pytest.mark.parametrize("wire_format", ["arrow", "json"])
def test_every_wire_format(table, sink, run, kind, wire_format):
    run(lambda pipeline: ELEMENTS[kind](pipeline) | sink(TABLE, wire_format=wire_format))
    assert rows_of(table) == READINGS


def test_beams_csv_reader(table, sink, run, tmp_path):
    (tmp_path / "readings.csv").write_text("device,co2\nattic,417\ncellar,655\n")
    run(lambda pipeline: pipeline | beam.io.ReadFromCsv(str(tmp_path / "readings.csv")) | sink(TABLE))
    assert rows_of(table) == READINGS


def test_beams_csv_reader_makes_floats_of_whole_numbers_beside_a_blank(table, sink, run, tmp_path):
    (tmp_path / "readings.csv").write_text("device,co2\nattic,417\ncellar,655\nloft,\n")
    run(lambda pipeline: pipeline | beam.io.ReadFromCsv(str(tmp_path / "readings.csv")) | sink(TABLE))
    assert rows_of(table) == [*READINGS, {"device": "loft", "co2": None}]


def test_beams_json_reader(table, sink, run, tmp_path):
    (tmp_path / "readings.jsonl").write_text("".join(json.dumps(reading) + "\n" for reading in READINGS))
    run(lambda pipeline: pipeline | beam.io.ReadFromJson(str(tmp_path / "readings.jsonl")) | sink(TABLE))
    assert rows_of(table) == READINGS


@pytest.mark.parametrize("as_rows", [False, True])
def test_beams_parquet_reader(table, sink, run, tmp_path, as_rows):
    pq.write_table(pa.Table.from_batches([batch()]), tmp_path / "readings.parquet")
    path = str(tmp_path / "readings.parquet")
    run(lambda pipeline: pipeline | beam.io.ReadFromParquet(path, as_rows=as_rows) | sink(TABLE))
    assert rows_of(table) == READINGS


def test_beams_batched_parquet_reader(table, sink, run, tmp_path):
    pq.write_table(pa.Table.from_batches([batch()]), tmp_path / "readings.parquet")
    path = str(tmp_path / "readings.parquet")
    run(lambda pipeline: pipeline | beam.io.ReadFromParquetBatched(path) | sink(TABLE))
    assert rows_of(table) == READINGS


def test_a_writer_takes_a_batch_of_wider_integers(table, connect):
    assert connect(TABLE).send_batch(batch()).success
    assert rows_of(table) == READINGS


def test_a_value_that_the_table_cannot_hold_is_a_failed_row_of_its_own(table, sink, run):
    def build(pipeline):
        rows = pipeline | beam.Create([beam.Row(device="attic", co2=417), beam.Row(device="sun", co2=2**40)])
        result = rows | sink(TABLE, on_bad_rows="dead_letter")
        kinds = result.failed_rows | beam.Map(lambda row: (row.element.device, row.error_type))
        assert_that(kinds, equal_to([("sun", "out_of_range")]))

    run(build)
    assert rows_of(table) == READINGS[:1]


def test_the_schema_is_fetched_once_a_process(emulator, table, sink, run):
    write = sink(TABLE)

    def build(pipeline):
        rows = pipeline | beam.Create([beam.Row(device=f"d{n}", co2=n) for n in range(200)]) | beam.Reshuffle()
        rows | write

    for _ in range(3):
        run(build)
    assert table.count_rows() == 600
    assert emulator.stats.tokens_issued == 2, "one token for Unity Catalog, one for the stream"


def test_elements_types_count_with_elements(emulator, sink, run):
    table = emulator.create_table("main.iot.big", "device STRING NOT NULL, co2 BIGINT NOT NULL")
    run(lambda pipeline: ELEMENTS["NamedTuple"](pipeline) | sink("main.iot.big", schema="elements"))
    assert rows_of(table) == READINGS
    assert emulator.stats.tokens_issued == 1, "nobody asked Unity Catalog, which would take a token of its own"


def test_elements_types_count_in_a_dry_run(sink, run):
    write = sink(TABLE, dry_run=True, workspace_url=None, endpoint=None)
    run(lambda pipeline: ELEMENTS["beam.Row"](pipeline) | write)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"dry_run": True}, 'in a dry run without schema="unity_catalog"'),
        ({"schema": "elements"}, 'with schema="elements"'),
        (
            {"workspace_url": None, "credentials": StaticHeaders(headers={"authorization": "x"})},
            "without workspace_url",
        ),
    ],
)
@pytest.mark.parametrize("typed", [True, False])
def test_elements_without_column_types_need_a_table(sink, run, settings, why, typed):
    def build(pipeline):
        elements = pipeline | beam.Create(READINGS)
        elements = elements if typed else elements | beam.Map(lambda reading: reading)
        elements | sink(TABLE, **settings)

    with pytest.raises(ConfigurationError, match=f"have no column types, and .* not fetched {why}: give"):
        run(build)


@pytest.mark.parametrize("kind", ["dict", "beam.Row", "RecordBatch"])
def test_a_dry_run_may_check_against_the_table(emulator, table, sink, run, kind):
    write = sink(TABLE, dry_run=True, schema="unity_catalog", endpoint=None, on_bad_rows="dead_letter")

    def build(pipeline):
        assert_that((ELEMENTS[kind](pipeline) | write).failed_rows, equal_to([]))

    run(build)
    assert (table.count_rows(), emulator.stats.streams_opened) == (0, 0)


def test_a_dry_run_against_the_table_finds_a_missing_column(table, connect):
    writer = connect(TABLE, dry_run=True, schema="unity_catalog", endpoint=None)
    with pytest.raises(Exception, match="column 'c02' .* not in the table"):
        writer.send_batch(pa.record_batch({"device": ["attic"], "c02": [417]}))


def test_a_row_type_that_is_not_determined_is_no_obstacle_where_the_table_is_known(table, sink, run):
    vague = RowTypeConstraint.from_fields([("device", str), ("co2", object)])

    def build(pipeline):
        rows = pipeline | beam.Create([beam.Row(device="attic", co2=417)]).with_output_types(vague)
        rows | sink(TABLE)

    run(build)
    assert rows_of(table) == READINGS[:1]
