"""A RecordBatch or Table that cannot fit the table fails row by row: in `failed_rows`, in every count."""

from __future__ import annotations

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.testing.util import assert_that, equal_to

from beam_zerobus import ConversionError
from beam_zerobus.sink import elements, outputs
from beam_zerobus.sink.single_rows import single_row

TABLE = "main.iot.air"


def rows(count: int) -> pa.Table:
    return pa.table({"id": range(count), "colour": [f"c{number}" for number in range(count)]})


def summary(failed) -> tuple:
    (values,) = failed.element.to_pylist()
    return type(failed.element).__name__, values["id"], values["colour"], failed.error_type, failed.stage


@pytest.mark.parametrize("kind", ["Table", "RecordBatch"])
def test_each_row_of_a_batch_with_an_unknown_column_is_a_failed_row(emulator, sink, run, kind):
    table = emulator.create_table(TABLE, "id BIGINT NOT NULL")
    whole = rows(1_000)
    elements = [whole.slice(start, 400) for start in range(0, 1_000, 400)]
    if kind == "RecordBatch":
        elements = [element.combine_chunks().to_batches()[0] for element in elements]
    elements.append(elements[0].select(["id"]))
    expected = [(kind, number, f"c{number}", "unknown_field", "schema") for number in range(1_000)]

    def build(pipeline):
        keeping = sink(on_bad_rows="dead_letter", schema="unity_catalog")
        result = pipeline | beam.Create(elements, reshuffle=False) | keeping
        assert_that(result.failed_rows | beam.Map(summary), equal_to(expected))

    counters = run(build).metrics().query(MetricsFilter().with_name("rows_failed"))["counters"]
    assert sum(counter.result for counter in counters) == 1_000
    assert sorted(table.to_arrow()["id"].to_pylist()) == list(range(400))


def test_without_dead_letters_it_fails_the_bundle(emulator, sink, run):
    emulator.create_table(TABLE, "id BIGINT NOT NULL")
    with pytest.raises(ConversionError, match="colour"):
        run(lambda pipeline: pipeline | beam.Create([rows(3)], reshuffle=False) | sink(schema="unity_catalog"))


class Received:
    """Counts the rows that were made and not received yet; pickled by its name, so in this process there is one."""

    waiting = 0

    def __call__(self, _):
        Received.waiting -= 1


def test_the_rows_of_a_rejected_batch_are_emitted_a_few_at_a_time(emulator, sink, run, monkeypatch):
    emulator.create_table(TABLE, "id BIGINT NOT NULL")

    def made(rows, index):
        Received.waiting += 1
        assert Received.waiting <= 10, "too many rows of the batch were made before these were received"
        return single_row(rows, index)

    monkeypatch.setattr(elements, "single_row", made)
    monkeypatch.setattr(outputs, "_AT_ONCE", 10)

    def build(pipeline):
        keeping = sink(on_bad_rows="dead_letter", schema="unity_catalog")
        result = pipeline | beam.Create([rows(500), rows(500)], reshuffle=False) | keeping
        result.failed_rows | beam.Map(Received())

    run(build)
    assert Received.waiting == 0
