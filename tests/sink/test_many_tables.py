"""Many tables: each element in the table that it belongs to, on FnApiRunner and into real Delta tables."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import FixedWindows, GlobalWindows, TimestampedValue

from beam_zerobus import Batching, ConfigurationError, WriteToZerobus
from beam_zerobus import yaml as beam_yaml

DDL = "id BIGINT NOT NULL, name STRING"
TEMPLATE = "main.many.t{number}"


def table(number: int) -> str:
    return f"main.many.t{number}"


def ids(emulator: Any, number: int) -> list[int]:
    return sorted(emulator.table(table(number)).to_arrow()["id"].to_pylist())


KINDS = {
    "dict": lambda row: row,
    "Row": lambda row: beam.Row(**row),
    "JSON": json.dumps,
    "RecordBatch": lambda row: pa.RecordBatch.from_pylist([row, {**row, "id": row["id"] + 1000}]),
    "Table": lambda row: pa.Table.from_pylist([row]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("on_bad_rows", ["raise", "dead_letter"])
def test_elements_of_every_kind(emulator, sink, run, kind, on_bad_rows):
    for number in range(5):
        emulator.create_table(table(number), DDL)
    elements = [KINDS[kind]({"id": n, "name": "n", "number": n % 5}) for n in range(40)]
    run(
        lambda pipeline: (
            pipeline
            | beam.Create(elements, reshuffle=False)
            | beam.Map(lambda element: element).with_output_types(Any)
            | sink(TEMPLATE, drop=["number"], schema=DDL, max_open_tables=2, on_bad_rows=on_bad_rows)
        )
    )
    for number in range(5):
        once = list(range(number, 40, 5))
        assert ids(emulator, number) == (once + [n + 1000 for n in once] if kind == "RecordBatch" else once)
    assert emulator.stats.most_streams_open <= 2


def test_batches_are_split_and_held_per_table(emulator, sink, run):
    for number in range(3):
        emulator.create_table(table(number), DDL)
    elements = [{"id": n, "name": "n", "number": n % 3} for n in range(300)]

    def build(pipeline):
        result = (
            pipeline
            | beam.Create(elements, reshuffle=False)
            | sink(lambda element: table(element["number"]), keep=["id", "name"], batching=Batching(max_rows=60))
        )
        batches = result.acknowledged | beam.Map(lambda batch: (batch.table, batch.rows))
        assert_that(batches, equal_to([(table(number), rows) for number in range(3) for rows in (60, 40)]))

    run(build)
    batch = pa.RecordBatch.from_pylist(elements)
    run(lambda pipeline: pipeline | beam.Create([batch]) | sink(TEMPLATE, drop=["number"]))
    assert [len(ids(emulator, number)) for number in range(3)] == [200, 200, 200]


@pytest.mark.parametrize("schema", ["unity_catalog", DDL], ids=["from Unity Catalog", "given"])
@pytest.mark.parametrize("as_batch", [False, True], ids=["dicts", "batch"])
def test_bad_destinations_are_dead_letters_with_the_name_of_the_table(emulator, sink, run, schema, as_batch):
    emulator.create_table(table(1), DDL)
    rows = [
        {"id": 1, "name": "n", "number": "1"},
        {"id": 2, "name": "n", "number": "not valid"},
        {"id": 3, "name": "n", "number": None},
        {"id": None, "name": "n", "number": "1"},
        *({"id": 10 + n, "name": "n", "number": "9"} for n in range(20)),
    ]
    elements = [pa.RecordBatch.from_pylist(rows)] if as_batch else rows

    def build(pipeline):
        result = (
            pipeline
            | beam.Create(elements, reshuffle=False)
            | sink(TEMPLATE, drop=["number"], schema=schema, on_bad_rows="dead_letter")
        )
        failed = result.failed_rows | beam.Map(
            lambda row: (
                row.table,
                row.error_type,
                (row.element.to_pylist()[0] if as_batch else row.element)["id"],
                "not valid" in row.message,
            )
        )
        expected = [
            (TEMPLATE, "invalid_table", 2, False),
            (TEMPLATE, "invalid_table", 3, False),
            (table(1), "null_in_not_null_column", None, False),
            *((table(9), "unknown_table", 10 + n, False) for n in range(20)),
        ]
        assert_that(failed, equal_to(expected))

    run(build)
    assert ids(emulator, 1) == [1]


@pytest.mark.parametrize(
    ("element", "words"),
    [({"id": 1, "number": 9}, r"main\.many\.t9"), ({"id": 1}, r"for table main\.many\.t\{number\}: row 0: .*'number'")],
)
def test_without_dead_letters_the_bundle_fails_and_names_the_table(emulator, sink, run, element, words):
    with pytest.raises(Exception, match=words):
        run(lambda pipeline: pipeline | beam.Create([element]) | sink(TEMPLATE, drop=["number"]))


def test_windows_of_rows_are_kept(emulator, sink, run):
    for number in range(2):
        emulator.create_table(table(number), DDL)

    def build(pipeline):
        result = (
            pipeline
            | beam.Create([TimestampedValue({"id": n, "name": "n", "number": n % 3}, n) for n in range(20)])
            | beam.WindowInto(FixedWindows(10))
            | sink(TEMPLATE, drop=["number"], on_bad_rows="dead_letter")
        )
        failed = result.failed_rows | beam.Map(
            lambda row, window=beam.DoFn.WindowParam, at=beam.DoFn.TimestampParam: (
                row.element["id"],
                int(window.start),
                int(at),
            )
        )
        expected = [(n, n // 10 * 10, n) for n in range(2, 20, 3)]
        assert_that(failed | "Unwindow" >> beam.WindowInto(GlobalWindows()), equal_to(expected))

    run(build)
    assert Counter(len(ids(emulator, number)) for number in range(2)) == {7: 2}


def test_tables_of_different_shapes_and_fields_that_are_dropped(emulator, sink, run):
    shapes = {"main.many.t0": "id BIGINT", "main.many.t1": "other STRING"}
    for name, shape in shapes.items():
        emulator.create_table(name, shape)
    elements = [{"id": 1, "number": 0}, {"other": "a", "Number": 1, "number": 1}]
    for schema in (None, shapes, shapes.get):
        run(
            lambda pipeline, schema=schema: (
                pipeline | beam.Create(elements) | sink(TEMPLATE, drop=["NUMBER"], schema=schema)
            )
        )
    assert ids(emulator, 0) == [1, 1, 1]
    assert emulator.table("main.many.t1").to_arrow().to_pylist() == [{"other": "a"}] * 3


def test_one_table_with_fields_that_are_dropped(emulator, sink, run):
    emulator.create_table(table(0), DDL)
    rows = [{"id": 1, "name": "n", "more": 1}]
    for elements in (rows, [pa.Table.from_pylist(rows)], [beam.Row(**rows[0])]):
        run(
            lambda pipeline, elements=elements: (
                pipeline
                | beam.Create(elements)
                | sink(table(0), drop=["more"], schema="elements" if elements is not rows else None)
            )
        )
    assert ids(emulator, 0) == [1, 1, 1]


def test_yaml_and_the_options_that_are_wrong():
    write = beam_yaml.WriteToZerobus(TEMPLATE, schema=DDL, drop=["number"], max_open_tables=3, dry_run=True)
    with beam.Pipeline() as pipeline:
        assert "acknowledged" in (pipeline | beam.Create([beam.Row(id=1, name="n", number=1)]) | write)
    for options, words in (
        ({"keep": ["a"], "drop": ["b"]}, "keep=... and drop=..."),
        ({"drop": "number"}, r"drop \(of type str\): give a list of names, or None"),
        ({"max_open_tables": 0}, "max_open_tables=0"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            WriteToZerobus(TEMPLATE, dry_run=True, **options)
    with pytest.raises(ConfigurationError, match="has no single schema"):
        WriteToZerobus(TEMPLATE, dry_run=True).resolve_schema()
