"""Rows of many tables: what is kept of each, what is held of all, and what is counted under which name."""

from __future__ import annotations

import json
import weakref
from dataclasses import dataclass
from typing import Any, ClassVar

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.metrics.metric import Lineage, MetricsFilter
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import FixedWindows, TimestampedValue

from beam_zerobus import Batching, WriteToZerobus
from beam_zerobus.delivery import limits
from beam_zerobus.sink.held_batches import HeldBatches
from beam_zerobus.telemetry import table_names
from tests.runners.support import wait_until

TEMPLATE = "main.many.t{number}"
RESCUED = "id BIGINT NOT NULL, size INT, _rescued_data STRING"
FORMS = (dict, json.dumps, lambda row: pa.Table.from_pylist([row]))


@pytest.mark.parametrize("kept", ["drop", "keep", "all"])
def test_only_fields_that_are_kept_are_rescued(emulator, sink, run, kept):
    options, rescued = {
        "drop": ({"drop": ["NUMBER"]}, [{"new": {"a": 1}, "size": 2**40}, {"other": 2}]),
        "keep": ({"keep": ["id", "size", "new"]}, [{"new": {"a": 1}, "size": 2**40}, None]),
        "all": ({}, [{"new": {"a": 1}, "size": 2**40, "number": 0}, {"other": 2, "number": 1}]),
    }[kept]
    tables = [emulator.create_table(f"main.many.t{number}", RESCUED) for number in range(2)]
    rows = [
        {"id": 1, "size": 2**40, "new": {"a": 1}, "number": 0},
        {"id": 2, "size": 5, "other": 2, "number": 1},
    ]
    elements = [form(row) for form in FORMS for row in rows]
    run(
        lambda pipeline: (
            pipeline
            | beam.Create(elements, reshuffle=False)
            | beam.Map(lambda element: element).with_output_types(Any)
            | sink(TEMPLATE, on_unknown_fields="rescue", **options)
        )
    )
    for table, sent, rest in zip(tables, rows, rescued, strict=True):
        stored = table.to_arrow().to_pylist()
        size = None if rest and "size" in rest else sent["size"]
        assert [(row["id"], row["size"]) for row in stored] == [(sent["id"], size)] * len(FORMS)
        assert [rest and json.loads(row["_rescued_data"]) for row in stored] == [rest] * len(FORMS)
        assert [row["_rescued_data"] is None for row in stored] == [rest is None] * len(FORMS)


@pytest.mark.parametrize("dead_letters", [False, True])
def test_json_has_all_its_digits_and_its_text_as_dead_letter(emulator, sink, run, dead_letters):
    price = "1.2345678901234567890123"
    exact = emulator.create_table("main.many.t0", "id BIGINT, price DECIMAL(38, 22)")
    other = emulator.create_table("main.many.t1", "id BIGINT, price DOUBLE")
    texts = [f'{{"number": {n}, "id": {10**15 + n}, "price": {price}}}' for n in range(2)]
    bad = [f'{{"number": 0, "id": "x", "price": {price}}}', "{", f'{{"id": 1, "price": {price}}}']

    def build(pipeline: beam.Pipeline) -> None:
        elements = pipeline | beam.Create([*texts, *(bad if dead_letters else [])], reshuffle=False)
        result = elements | sink(TEMPLATE, drop=["number"], on_bad_rows="dead_letter" if dead_letters else "raise")
        failed = result.failed_rows | beam.Map(lambda row: (row.element, row.error_type, row.table))
        expected = [
            (bad[0], "wrong_type", "main.many.t0"),
            (bad[1], "invalid_json", TEMPLATE),
            (bad[2], "invalid_table", TEMPLATE),
        ]
        assert_that(failed, equal_to(expected if dead_letters else []))

    run(build)
    assert [str(row["price"]) for row in exact.to_arrow().to_pylist()] == [price]
    assert other.to_arrow().to_pylist() == [{"id": 10**15 + 1, "price": float(price)}]


@dataclass
class Large:
    """A row of 10 KB, or of a few bytes; all that are alive are counted."""

    number: int
    text: str


class MakeRows(beam.DoFn):
    """Yields rows and notes how many of them were alive at once."""

    alive: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()
    most: ClassVar[int] = 0

    def process(self, rows: int, tables: int, small_tables: int) -> Any:
        for number in range(rows):
            row = Large(number % tables, "x" if number % tables < small_tables else "x" * 10_000)
            MakeRows.alive.add(row)
            MakeRows.most = max(MakeRows.most, len(MakeRows.alive))
            yield row


Large.__hash__ = object.__hash__  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "small_tables",
    [pytest.param(0, marks=pytest.mark.hostile, id="large rows"), pytest.param(90, id="large rows beside small ones")],
)
def test_what_is_held_of_all_tables_is_bounded_by_its_bytes(run, small_tables):
    MakeRows.alive, MakeRows.most = weakref.WeakSet(), 0
    batching = Batching(max_bytes=1 << 20)
    run(
        lambda pipeline: (
            pipeline
            | beam.Create([8_000], reshuffle=False)
            | beam.ParDo(MakeRows(), 100, small_tables)
            | WriteToZerobus(TEMPLATE, schema="text STRING", drop=["number"], batching=batching, dry_run=True)
        )
    )
    large_rows = (8 << 20) // 10_000
    small_rows = 0 if not small_tables else 9 * large_rows  # nine small rows come with each large one
    assert MakeRows.most < 1_000 + large_rows + small_rows + 200


def test_no_batch_is_larger_than_allowed(run):
    rows = [{"number": number, "text": "x" * (n % 50)} for n in range(100) for number in range(1 + n % 7)]

    def check(found: list[list[int]]) -> None:
        assert sum(found[0]) == len(rows)
        assert max(found[0]) == 30

    def build(pipeline: beam.Pipeline) -> None:
        sink = WriteToZerobus(
            TEMPLATE, schema="text STRING", drop=["number"], batching=Batching(max_rows=30), dry_run=True
        )
        result = pipeline | beam.Create(rows, reshuffle=False) | sink
        sizes = result.acknowledged | beam.Map(lambda batch: batch.rows) | beam.combiners.ToList()
        assert_that(sizes, check)

    run(build)


def test_bundles_of_a_process_divide_what_may_be_held():
    held, holders = HeldBatches(), [HeldBatches() for _ in range(4)]
    for number, holder in enumerate(holders):
        held.note(holder, holds=True)
        assert held.allowed() == 8 / (number + 1)
    held.note(holders[0], holds=False)
    del holders[1], holder
    assert held.allowed() == 4


def test_metrics_name_a_few_tables_and_lineage_all(emulator, sink, run, monkeypatch):
    monkeypatch.setattr(table_names, "_named", set())
    for number in range(4):
        emulator.create_table(f"main.many.t{number}", "id BIGINT NOT NULL")
    rows = [{"id": n, "number": n % 4} for n in range(40)]
    bad = [{"id": None, "number": 0}, {"id": None, "number": 3}, {"id": 1, "number": 9}, {"id": 1}]
    result = run(
        lambda pipeline: (
            pipeline
            | beam.Create([*rows, *bad], reshuffle=False)
            | sink(TEMPLATE, drop=["number"], on_bad_rows="dead_letter", max_tables_in_metrics=2)
        )
    )
    found = result.metrics().query(MetricsFilter().with_namespace(WriteToZerobus))["counters"]
    counted = {metric.key.metric.name: metric.committed for metric in found}
    assert counted["rows_written"] == 40
    assert counted["rows_failed"] == 4
    of_tables = {name: value for name, value in counted.items() if ":" in name and not name.startswith("bytes_sent")}
    assert of_tables == {
        "rows_written:main.many.t0": 10,
        "rows_written:main.many.t1": 10,
        "rows_written:other": 20,
        "rows_failed:main.many.t0": 1,
        "rows_failed:other": 3,
    }
    assert sum(value for name, value in counted.items() if name.startswith("bytes_sent:")) == counted["bytes_sent"]
    assert Lineage.query(result.metrics(), Lineage.SINK) == {f"databricks:main.many.t{number}" for number in range(4)}


class SeenOnce(beam.DoFn):
    """Yields one row of a table, and rows of another until the stream of the first is closed; the bundle stays open."""

    emulator: ClassVar[Any] = None

    def process(self, _: object) -> Any:
        def of_first() -> Any:
            return self.emulator.stats.tables["main.many.t0"]

        yield {"id": 0, "number": 0}
        wait_until(lambda: of_first().streams_opened, "the first row is sent")
        number = 0
        while of_first().streams_open:
            number += 1
            yield {"id": number, "number": 1}


@pytest.mark.timeout(60)
def test_a_table_that_is_seen_once_keeps_no_stream(emulator, sink, run, monkeypatch):
    monkeypatch.setattr(limits, "IDLE_CLOSE", 0.2)
    monkeypatch.setattr(SeenOnce, "emulator", emulator)
    for number in range(2):
        emulator.create_table(f"main.many.t{number}", "id BIGINT NOT NULL")
    run(
        lambda pipeline: (
            pipeline
            | beam.Create([TimestampedValue(None, 3_600)], reshuffle=False)
            | beam.WindowInto(FixedWindows(60))
            | beam.ParDo(SeenOnce())
            | sink(TEMPLATE, drop=["number"], batching=Batching(max_rows=1))
        )
    )
    stats = emulator.stats.tables
    assert stats["main.many.t0"].rows_acknowledged == 1
    assert stats["main.many.t1"].rows_acknowledged > 0


def test_rows_of_many_bundles_are_collected_for_each_table(emulator, sink, run):
    tables = [emulator.create_table(f"main.many.t{number}", "id BIGINT NOT NULL") for number in range(3)]
    batching = Batching(across_bundles=True, max_delay=1.0)
    run(
        lambda pipeline: (
            pipeline
            | beam.Create([{"id": n, "number": n % 3} for n in range(60)])
            | sink(TEMPLATE, drop=["number"], batching=batching)
        )
    )
    for number, table in enumerate(tables):
        assert sorted(table.to_arrow()["id"].to_pylist()) == list(range(number, 60, 3))
        assert emulator.stats.tables[table.name].streams_opened == 1
    assert sum(call.rows for call in emulator.stats.calls) == 60
    assert len(emulator.stats.calls) < 30
