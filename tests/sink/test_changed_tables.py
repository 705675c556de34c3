"""Tables that get a column while pipelines run, and pipelines of one process that do not share a schema by chance."""

import json
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pytest

TABLE = "main.iot.air"
CHANGES = {}


def change_the_table(number):
    """Return a row, after the change that is due in the middle of its bundle."""
    if number in CHANGES:
        CHANGES[number]()
    return {"id": number, "size": number}


@pytest.mark.parametrize("ignore", ["reject", "ignore"])
@pytest.mark.parametrize("form", [dict, json.dumps, lambda row: pa.RecordBatch.from_pylist([row])])
def test_values_of_a_new_column_are_written(emulator, sink, run, form, ignore):
    table = emulator.create_table(TABLE, "id BIGINT NOT NULL")
    options = {"schema": "unity_catalog", "on_unknown_fields": ignore}
    run(lambda pipeline: pipeline | beam.Create([form({"id": 1})], reshuffle=False) | sink(**options))
    table.add_column("size BIGINT")
    run(lambda pipeline: pipeline | beam.Create([form({"id": 2, "size": 7})], reshuffle=False) | sink(**options))
    assert emulator.stats.streams_opened == 2  # the writer of the process went on with a stream for the new schema
    assert sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"]) == [
        {"id": 1, "size": None},
        {"id": 2, "size": 7},
    ]


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
@pytest.mark.parametrize("form", [dict, json.dumps, lambda row: beam.Row(**row)])
def test_values_that_only_a_widened_column_holds_are_written(emulator, sink, run, form, wire_format):
    table = emulator.create_table(TABLE, "id BIGINT NOT NULL, size INT")
    options = {"schema": "unity_catalog", "wire_format": wire_format}
    run(lambda pipeline: pipeline | beam.Create([form({"id": 1, "size": 1})], reshuffle=False) | sink(**options))
    table.widen_column("size", "BIGINT")
    run(lambda pipeline: pipeline | beam.Create([form({"id": 2, "size": 2**40})], reshuffle=False) | sink(**options))
    assert sorted(table.to_arrow()["size"].to_pylist()) == [1, 2**40]


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
def test_alter_between_the_bundles_of_a_pipeline(emulator, sink, run, wire_format):
    """The pooled writer goes on, whatever happens to the table between two bundles."""
    table = emulator.create_table(TABLE, "id BIGINT NOT NULL, name STRING, size INT")
    CHANGES.clear()
    CHANGES[100] = lambda: table.add_column("late STRING")
    CHANGES[200] = lambda: table.drop_column("name")
    CHANGES[300] = lambda: table.widen_column("size", "BIGINT")
    CHANGES[400] = lambda: emulator.drop_table(TABLE)
    CHANGES[401] = lambda: emulator.create_table(TABLE, "size BIGINT, id BIGINT NOT NULL")
    kept = []
    for start in range(0, 500, 50):
        part = range(start, start + 50)
        if start == 400:
            kept += table.to_arrow()["id"].to_pylist()
        run(
            lambda pipeline, part=part: (
                pipeline
                | beam.Create(part, reshuffle=False)
                | beam.Map(change_the_table)
                | sink(schema="unity_catalog", wire_format=wire_format)
            )
        )
    assert sorted(kept + emulator.table(TABLE).to_arrow()["id"].to_pylist()) == list(range(500))


def test_the_first_batch_of_one_pipeline_does_not_decide_the_schema_of_another(emulator, sink, run):
    table = emulator.create_table(TABLE, "id BIGINT, size BIGINT")
    run(
        lambda pipeline: (
            pipeline | beam.Create([pa.record_batch({"id": pa.array([1], pa.int64())})], reshuffle=False) | sink()
        )
    )
    run(
        lambda pipeline: (
            pipeline
            | beam.Create(
                [pa.record_batch({"id": pa.array([2], pa.int64()), "size": pa.array([7], pa.int64())})], reshuffle=False
            )
            | sink()
        )
    )
    assert sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"]) == [
        {"id": 1, "size": None},
        {"id": 2, "size": 7},
    ]


class OnlyId(NamedTuple):
    id: int


def elements_around_a_change(_):
    yield from map(OnlyId, range(3000))
    CHANGES["now"]()
    for number in range(3000, 4000):  # the first of them wait for more elements
        yield pa.record_batch({"id": pa.array([number], pa.int64())})
    CHANGES["then"]()


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
def test_rows_that_wait_for_a_full_batch_outlive_a_dropped_column(emulator, sink, run, wire_format):
    """They were converted while the table had the column, and have no value in it."""
    table = emulator.create_table(TABLE, "id BIGINT NOT NULL, name STRING")
    CHANGES.clear()
    CHANGES["now"] = lambda: table.drop_column("name")
    CHANGES["then"] = lambda: table.wait_for_rows(1)  # the writer has found the new schema
    run(
        lambda pipeline: (
            pipeline
            | beam.Create([None], reshuffle=False)
            | beam.FlatMap(elements_around_a_change).with_output_types(Any)
            | sink(schema="unity_catalog", wire_format=wire_format)
        )
    )
    # What was sent before the change and is stored after it is in the folder of rejected rows, as at the service.
    everywhere = [table.to_arrow(), *table.rejected_after_alter()]
    assert sorted(number for rows in everywhere for number in rows["id"].to_pylist()) == list(range(4000))
