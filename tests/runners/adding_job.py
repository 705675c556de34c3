"""A job whose rows get new fields in its middle, one of them of another type on each worker, for any runner.

It is a program, so that runners start it as users do, and a module, so that tests know what it writes.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.periodicsequence import PeriodicImpulse, RebaseMode
from deltalake import DeltaTable

from beam_zerobus import WriteToZerobus
from beam_zerobus.emulator import Emulator
from beam_zerobus.emulator.sql import WAREHOUSE_ID

TABLE = "main.runners.growing"
COLUMNS = "id BIGINT NOT NULL, at STRUCT<x: BIGINT>, kind STRING"
NEW_COLUMNS = 4
"""Columns and struct fields that the table gets."""
ROWS = 8_000


@cache
def kind_of_worker(directory: str) -> str:
    """Return ``"number"`` in the process that asks first, ``"text"`` in all others."""
    try:
        (Path(directory) / "number").touch(exist_ok=False)
    except FileExistsError:
        return "text"
    return "number"


def row(number: int, kind: str) -> dict[str, Any]:
    """Return a row: from the middle on, each has one of the new fields, or two."""
    made: dict[str, Any] = {"id": number, "at": {"x": number}, "kind": kind}
    if number >= ROWS // 2:
        match number % 3:
            case 0:
                made["mixed"] = number if kind == "number" else f"text {number}"
            case 1:
                made["at"]["y"] = {"z": number / 8}
            case _:
                made |= {"note": f"row {number}", "more": [{"inside": number}]}
    return made


def rows_between(start: int, stop: int, directory: str = "") -> Iterator[dict[str, Any]]:
    """Yield the rows of a range."""
    for number in range(start, stop):
        yield row(number, kind_of_worker(directory))


def ranges(count: int) -> list[tuple[int, int]]:
    """Return the pieces in which rows are made."""
    return list(pairwise(ROWS * number // count for number in range(count + 1)))


def keep(failed: Any, directory: str) -> None:
    """Add a failed row to the file of this process."""
    with (Path(directory) / f"failed-{os.getpid()}").open("a") as file:
        file.write(json.dumps([failed.element["id"], failed.element["kind"], failed.error_type]) + "\n")


def failed_rows(directory: Path) -> list[list[Any]]:
    """Return what was kept: id, kind and reason of each failed row."""
    lines = [line for file in directory.glob("failed-*") for line in file.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def check(emulator: Emulator, directory: Path) -> None:
    """Check that each row is in the table with all its fields, or failed for the type that its worker gave a field.

    Raises:
        AssertionError: It is not so, or a column was not added once.
    """
    table = emulator.table(TABLE)
    failed, written = failed_rows(directory), table.to_arrow().to_pylist()
    assert {line[2] for line in failed} == {"wrong_type"}, "two types for one field, so that one worker's rows fail"
    [loser] = {line[1] for line in failed}
    names = {column.name: str(column.type) for column in table.schema.columns}
    assert names.pop("mixed") == ("STRING" if loser == "number" else "BIGINT")
    assert names == {
        "id": "BIGINT",
        "at": "STRUCT<x: BIGINT, y: STRUCT<z: DOUBLE>>",
        "kind": "STRING",
        "note": "STRING",
        "more": "ARRAY<STRUCT<inside: BIGINT>>",
    }
    assert sorted([line[0] for line in failed] + [found["id"] for found in written]) == list(range(ROWS))
    assert all(line[0] >= ROWS // 2 and line[0] % 3 == 0 for line in failed)
    for found in written:
        assert not (found["kind"] == loser and found["mixed"] is not None)
        assert without_nulls(found) == row(found["id"], found["kind"])
    history = DeltaTable(table.path).history()  # the emulator rewrites a table whose columns change
    changes = sum(entry.get("operationParameters", {}).get("mode") == "Overwrite" for entry in history)
    assert 1 <= changes <= NEW_COLUMNS, "a column is added once"


def without_nulls(value: Any) -> Any:
    """Return a row as it was sent: without the fields that it does not have, and protobuf's empty lists."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None and item != []}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the rows; options that are not named here go to the runner."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--directory", required=True, help="for the failed rows, and for what workers agree on")
    parser.add_argument("--interval", type=float, help="run as a stream with a range each so many seconds")
    job, runner_options = parser.parse_known_args(arguments)
    sink = WriteToZerobus(TABLE, on_unknown_fields="add", on_bad_rows="dead_letter", warehouse_id=WAREHOUSE_ID)
    with beam.Pipeline(options=PipelineOptions(runner_options)) as pipeline:
        if job.interval:
            parts = pipeline | PeriodicImpulse(
                data=ranges(80), fire_interval=job.interval, rebase=RebaseMode.REBASE_ALL
            )
        else:
            parts = pipeline | "Ranges" >> beam.Create(ranges(80))
        written = parts | beam.Reshuffle() | "Rows" >> beam.FlatMapTuple(rows_between, directory=job.directory) | sink
        written.failed_rows | beam.Map(keep, job.directory)


if __name__ == "__main__":
    # Workers import this module by its name: functions of __main__ would have to be sent with the job.
    from tests.runners import adding_job

    adding_job.main()
