"""ALTER TABLE while a pipeline runs: each row gets into the table or the folder of rejected rows, or is a dead letter.

A second pipeline goes on with the writer of the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest

from beam_zerobus import Batching, OAuthClientCredentials, Retry
from beam_zerobus.emulator import Emulator, Faults
from tests.emulator.sdk import FORMATS, eventually

pytestmark = pytest.mark.hostile

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, name STRING, size INT"
BEFORE = {"name": "n", "size": 1}
CHANGE_AT, KNOWN_AT, ROWS = 400, 700, 1000  # the table changes at the first row; from the second, rows have its columns


def recreate(emulator: Emulator) -> None:
    emulator.drop_table(TABLE)
    emulator.create_table(TABLE, "late STRING, id BIGINT NOT NULL")


# What changes the table, and the values of rows that know it.
CHANGES: dict[str, tuple[Callable[[Emulator], None], dict[str, Any]]] = {
    "add": (lambda emulator: emulator.table(TABLE).add_column("late STRING"), BEFORE | {"late": "x"}),
    "drop": (lambda emulator: emulator.table(TABLE).drop_column("name"), {"size": 1}),
    "widen": (lambda emulator: emulator.table(TABLE).widen_column("size", "BIGINT"), BEFORE | {"size": 2**40}),
    "recreate": (recreate, {"late": "x"}),
}


class Running:
    """The test that runs; functions that Beam pickles by name find it here."""

    emulator: Emulator
    change: str
    as_batch: bool
    failed: list[tuple[int, str]]


def elements(start: int) -> Iterator[Any]:
    change, columns = CHANGES[Running.change]
    for first in range(start, start + ROWS, 10):
        if first == CHANGE_AT:
            change(Running.emulator)
        rows = [{"id": row} | (columns if row >= KNOWN_AT else BEFORE) for row in range(first, first + 10)]
        yield from [pa.RecordBatch.from_pylist(rows)] if Running.as_batch else rows


def note_failed(row: Any) -> None:
    (number,) = row.element["id"].to_pylist() if Running.as_batch else [row.element["id"]]
    Running.failed.append((number, row.message))


@pytest.mark.parametrize("as_batch", [False, True])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("wire_format", FORMATS)
def test_alter_in_the_middle_of_a_pipeline(sink, run, wire_format: str, change: str, as_batch: bool) -> None:
    # In memory, a table that was dropped can still be read; late rows need Delta tables.
    late = {"memory": True, "check_rows": True} if change == "recreate" else {"readable_after": 0.3}
    with Emulator(faults=Faults(ack_delay=0.02), **late) as emulator:
        first = emulator.create_table(TABLE, DDL)
        Running.emulator, Running.change, Running.as_batch, Running.failed = emulator, change, as_batch, []
        settings = {
            "endpoint": emulator.endpoint,
            "workspace_url": emulator.workspace_url,
            "credentials": OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
            "schema": "unity_catalog",
            "wire_format": wire_format,
            "on_bad_rows": "dead_letter",
            "batching": Batching(max_rows=25),
            "retry": Retry(max_retries=20, initial_backoff=0.01, max_backoff=0.1),
        }
        for start in (0, ROWS):
            run(
                lambda pipeline, start=start: (
                    (
                        pipeline | beam.Create([start], reshuffle=False) | beam.FlatMap(elements) | sink(**settings)
                    ).failed_rows
                    | beam.Map(note_failed)
                )
            )
        failed = {number for number, _ in Running.failed}
        tables = (first, emulator.table(TABLE))  # the same one, unless it was made again

        def kept() -> set[int]:
            found = [rows for table in tables for rows in (table.to_arrow(), *table.rejected_after_alter())]
            return {number for rows in found for number in rows["id"].to_pylist()}

        eventually(lambda: kept() | failed == set(range(2 * ROWS)))
        # Only rows that have what the table lost may fail, and those that are the first to show that a column is wider.
        may_fail = {"add": range(0), "widen": range(KNOWN_AT, KNOWN_AT + 10)}.get(change, range(KNOWN_AT))
        assert failed <= set(may_fail)
        assert emulator.stats.streams_opened <= 8, "the second pipeline goes on with the same writer"
