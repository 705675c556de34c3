"""Tables that get a column while pipelines run, and pipelines of one process that do not share a schema by chance."""

import json

import apache_beam as beam
import pyarrow as pa
import pytest

TABLE = "main.iot.air"


@pytest.mark.parametrize("ignore", [False, True])
@pytest.mark.parametrize("form", [dict, json.dumps, lambda row: pa.RecordBatch.from_pylist([row])])
def test_values_of_a_new_column_are_written(emulator, sink, run, form, ignore):
    table = emulator.create_table(TABLE, "id BIGINT NOT NULL")
    options = {"schema": "unity_catalog", "ignore_unknown_fields": ignore}
    run(lambda pipeline: pipeline | beam.Create([form({"id": 1})], reshuffle=False) | sink(**options))
    table.add_column("size BIGINT")
    run(lambda pipeline: pipeline | beam.Create([form({"id": 2, "size": 7})], reshuffle=False) | sink(**options))
    assert emulator.stats.streams_opened == 2  # the writer of the process went on with a stream for the new schema
    assert sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"]) == [
        {"id": 1, "size": None},
        {"id": 2, "size": 7},
    ]


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
