"""One fault, one reason: the same bad row has the same `error_type` and column in whichever way it is sent."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_zerobus import ConversionError, KeepDeadLetters, WriteToZerobus, ZerobusWriter
from beam_zerobus.programs import files_to_zerobus, replay_dead_letters

TABLE = "main.iot.readings"
pytestmark = pytest.mark.zerobus(tables={TABLE: "id BIGINT NOT NULL, n INT, name STRING, at STRUCT<x: INT>"})
Reason = tuple[str, str]
Row = dict[str, Any]


BAD_ROWS: list[tuple[Row, Reason]] = [
    ({"id": None, "name": "x"}, ("null_in_not_null_column", "id")),
    ({"name": "x"}, ("null_in_not_null_column", "id")),
    ({"id": 1, "colour": "red"}, ("unknown_field", "colour")),
    ({"id": 1, "colour": "red", "n": 2**40}, ("unknown_field", "colour")),
    ({"id": 1, "at": {"x": 1, "y": 2}}, ("unknown_field", "at.y")),
    ({"id": 1, "at": {"x": "a"}}, ("wrong_type", "at.x")),
    ({"id": 1, "n": "abc"}, ("wrong_type", "n")),
    ({"id": 1, "n": 2**40}, ("out_of_range", "n")),
    ({"id": 1, "n": 1.5}, ("inexact", "n")),
    ({"id": 1, "name": 5}, ("wrong_type", "name")),
]
EXPECTED = {json.dumps(row): reason for row, reason in BAD_ROWS}
CSV_ROWS: list[tuple[Row, Reason]] = [
    ({"id": None, "name": "x"}, ("null_in_not_null_column", "id")),
    ({"id": 1, "n": 2**40}, ("out_of_range", "n")),
    ({"id": 1, "n": "abc"}, ("invalid_text", "n")),
    ({"id": 1, "n": 1.5}, ("invalid_text", "n")),
]


# Text for a type that dicts, JSON and CSV read from text; Arrow data has types of its own for the first three.
TEXT_TABLE = (
    "id BIGINT NOT NULL, day DATE, moment TIMESTAMP, clock TIMESTAMP_NTZ, days ARRAY<DATE>, price DECIMAL(5, 2)"
)
TEXTS: list[tuple[Row, str]] = [
    ({"id": 1, "day": "yesterday"}, "day"),
    ({"id": 1, "moment": "noon"}, "moment"),
    ({"id": 1, "clock": "noon"}, "clock"),
    ({"id": 1, "days": ["yesterday"]}, "days.element"),
    ({"id": 1, "price": "cheap"}, "price"),
]
AS_VALUES = {json.dumps(row): ("invalid_text", column) for row, column in TEXTS}
AS_COLUMNS = {json.dumps(row): ("invalid_text" if column == "price" else "wrong_type", column) for row, column in TEXTS}


def reason(error_type: str, message: str) -> Reason:
    """Return the type, and the first column that the message names."""
    column = re.search(r"column '([^']+)'", message)
    assert column is not None, message
    return error_type, column[1]


def batch_of(row: Row) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([row])


def by_writer(writer: ZerobusWriter, rows: Any) -> Reason:
    try:
        (failed,) = writer.send(rows).failed_rows
    except ConversionError as error:  # a batch that does not fit as a whole
        return reason(error.error_type, str(error))
    return reason(failed.error_type, failed.message)


def letters_in(directory: Path) -> dict[str, Reason]:
    """Return the reason of each row that is kept."""
    kept = [json.loads(line) for file in directory.rglob("*.jsonl") for line in file.read_text().splitlines()]
    found = {
        one["element"] if isinstance(one["element"], str) else json.dumps(one["element"]): reason(
            one["error_type"], one["message"]
        )
        for one in kept
    }
    assert len(found) == len(kept)
    return found


def by_file(write: Callable[[Row, Path], None], rows: list[Row], place: Path) -> dict[str, Reason]:
    """Send a file of each row, and replay what is kept, with the same outcome."""
    files, kept, again = (place / name for name in ("files", "kept", "again"))
    files.mkdir()
    for number, row in enumerate(rows):
        write(row, files / f"{number}.{write.__name__}")
    common = ["--zerobus_table", TABLE]
    assert files_to_zerobus.main([*common, "--input", str(files), "--dead_letters", str(kept)]) == 0
    assert replay_dead_letters.main([*common, "--input", str(kept), "--dead_letters", str(again)]) == 0
    assert letters_in(again) == letters_in(kept)
    return letters_in(kept)


def jsonl(row: Row, file: Path) -> None:
    file.write_text(json.dumps(row))


def parquet(row: Row, file: Path) -> None:
    pq.write_table(pa.Table.from_pylist([row]), file)


def avro(row: Row, file: Path) -> None:
    names = {int: "long", str: "string", float: "double", type(None): "null"}

    def kind(name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {"type": "record", "name": name, "fields": fields(value)}
        return names[type(value)]

    def fields(of: Row) -> list[Any]:
        return [{"name": name, "type": kind(name, value)} for name, value in of.items()]

    with file.open("wb") as out:
        fastavro.writer(out, {"type": "record", "name": "row", "fields": fields(row)}, [row])


def csv_(row: Row, file: Path) -> None:
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(row))
        writer.writeheader()
        writer.writerow(row)


csv_.__name__ = "csv"


@pytest.mark.parametrize(
    "form", [lambda row: [row], lambda row: [json.dumps(row)], batch_of], ids=["dict", "JSON", "batch"]
)
def test_a_bad_row_has_one_reason_over_the_writer(zerobus: Any, form: Callable[[Row], Any]) -> None:
    with ZerobusWriter(TABLE) as writer:
        assert {json.dumps(row): by_writer(writer, form(row)) for row, _ in BAD_ROWS} == EXPECTED


@pytest.mark.zerobus(tables={TABLE: TEXT_TABLE})
@pytest.mark.parametrize(
    ("form", "expected"),
    [(lambda row: [row], AS_VALUES), (lambda row: [json.dumps(row)], AS_VALUES), (batch_of, AS_COLUMNS)],
    ids=["dict", "JSON", "batch"],
)
def test_text_is_at_fault_as_a_value_and_its_type_as_a_column(
    zerobus: Any, form: Callable[[Row], Any], expected: dict[str, Reason]
) -> None:
    with ZerobusWriter(TABLE) as writer:
        assert {json.dumps(row): by_writer(writer, form(row)) for row, _ in TEXTS} == expected


@pytest.mark.zerobus(tables={TABLE: TEXT_TABLE})
def test_a_column_of_text_is_rejected_for_its_type_whatever_the_text_says(zerobus: Any) -> None:
    good = [{"id": 1, "day": "2026-01-31"}, {"id": 1, "moment": "2026-01-31T12:00:00Z"}, {"id": 1, "price": "1.5"}]
    with ZerobusWriter(TABLE) as writer:
        assert [writer.send([row]).success for row in good] == [True] * 3
        for row in good[:2]:
            with pytest.raises(ConversionError, match="cast the column to") as raised:
                writer.send(batch_of(row))
            assert raised.value.error_type == "wrong_type"
        assert writer.send(batch_of(good[2])).success


@pytest.mark.zerobus(tables={TABLE: TEXT_TABLE})
@pytest.mark.parametrize(("form", "expected"), [(dict, AS_VALUES), (batch_of, AS_COLUMNS)], ids=["dict", "batch"])
def test_text_for_another_type_in_a_pipeline(
    zerobus: Any, form: Callable[[Row], Any], expected: dict[str, Reason], tmp_path: Path
) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        elements = pipeline | beam.Create([form(row) for row, _ in TEXTS])
        sent = elements | WriteToZerobus(TABLE, on_bad_rows="dead_letter")
        _ = sent.failed_rows | KeepDeadLetters(str(tmp_path))
    assert letters_in(tmp_path) == expected


@pytest.mark.parametrize("form", [dict, batch_of], ids=["dict", "batch"])
def test_a_bad_row_has_one_reason_in_a_pipeline(zerobus: Any, form: Callable[[Row], Any], tmp_path: Path) -> None:
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        elements = pipeline | beam.Create([form(row) for row, _ in BAD_ROWS])
        sent = elements | WriteToZerobus(TABLE, on_bad_rows="dead_letter")
        _ = sent.failed_rows | KeepDeadLetters(str(tmp_path))
    assert letters_in(tmp_path) == EXPECTED


@pytest.mark.parametrize("write", [jsonl, parquet, avro])
def test_a_bad_row_has_one_reason_in_a_file(zerobus: Any, write: Callable[[Row, Path], None], tmp_path: Path) -> None:
    assert by_file(write, [row for row, _ in BAD_ROWS], tmp_path) == EXPECTED


@pytest.mark.zerobus(tables={TABLE: TEXT_TABLE})
def test_text_for_another_type_in_a_file(zerobus: Any, tmp_path: Path) -> None:
    assert by_file(jsonl, [row for row, _ in TEXTS], tmp_path) == AS_VALUES


@pytest.mark.zerobus(tables={TABLE: TEXT_TABLE})
def test_text_for_another_type_in_a_parquet_file(zerobus: Any, tmp_path: Path) -> None:
    assert by_file(parquet, [row for row, _ in TEXTS], tmp_path) == AS_COLUMNS


def test_csv_has_the_same_reasons_but_for_text_that_is_no_number(zerobus: Any, tmp_path: Path) -> None:
    found = by_file(csv_, [row for row, _ in CSV_ROWS], tmp_path)
    assert sorted(found.values()) == sorted(expected for _, expected in CSV_ROWS)


@pytest.mark.parametrize(("row", "column"), [({"name": "x"}, "id"), ({"id": 1, "colour": "red"}, "colour")])
def test_the_header_of_csv_is_rejected_before_any_row(
    zerobus: Any, row: Row, column: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv_(row, tmp_path / "in.csv")
    assert files_to_zerobus.main(["--zerobus_table", TABLE, "--input", str(tmp_path / "in.csv")]) == 2
    assert f"column '{column}'" in capsys.readouterr().err


def as_text(value: Any) -> str | None:
    """Return a value of a dead letter as one in Parquet has it."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_line_that_no_reader_takes_keeps_its_reason(zerobus: Any, tmp_path: Path, ending: str) -> None:
    (tmp_path / "in.csv").write_text("id,n\n1,2,3\n4,x\n5,6\n7\n")
    kept, again = tmp_path / "kept", tmp_path / "again"
    common = ["--zerobus_table", TABLE]
    assert files_to_zerobus.main([*common, "--input", str(tmp_path / "in.csv"), "--dead_letters", str(kept)]) == 0
    letters = [json.loads(line) for file in kept.glob("*.jsonl") for line in file.read_text().splitlines()]
    if ending == "parquet":
        for file in kept.iterdir():
            file.unlink()
        texts = [one | {"element": as_text(one["element"]), "typed": as_text(one.get("typed"))} for one in letters]
        pq.write_table(pa.Table.from_pylist(texts), kept / "letters.parquet")
    assert replay_dead_letters.main([*common, "--input", str(kept)]) == 1
    assert replay_dead_letters.main([*common, "--input", str(kept), "--dead_letters", str(again)]) == 0
    rejected = [json.loads(line) for file in again.glob("*.jsonl") for line in file.read_text().splitlines()]
    facts = [
        {(one["error_type"], one["message"], one["stage"], json.dumps(one["element"])) for one in some}
        for some in (letters, rejected)
    ]
    assert len(facts[0]) == 3
    assert facts[0] == facts[1]


@pytest.mark.zerobus(tables={TABLE: "n INT, name STRING, at TIMESTAMP, raw BINARY"})
def test_text_that_is_not_utf_8_is_rejected_by_each_replay(zerobus: Any, tmp_path: Path) -> None:
    """A BINARY column takes bytes of any kind, but text in a file is base64."""
    (tmp_path / "in.csv").write_bytes(b"n,name,at,raw\n\xff,a,,\n2,\xff,,\n3,a,\xff,\n4,a,,\xff\nfive,a,,\xff\n")
    kept, again = tmp_path / "kept", tmp_path / "again"
    common = ["--zerobus_table", TABLE]
    assert files_to_zerobus.main([*common, "--input", str(tmp_path / "in.csv"), "--dead_letters", str(kept)]) == 0
    (file,) = kept.glob("*.jsonl")
    file.write_text(file.read_text().replace('"n":"five"', '"n":5', 1))
    assert replay_dead_letters.main([*common, "--input", str(kept), "--dead_letters", str(again)]) == 0
    rejected = [json.loads(line) for file in again.glob("*.jsonl") for line in file.read_text().splitlines()]
    assert zerobus.table(TABLE).count_rows() == 0
    assert sorted(reason(one["error_type"], one["message"]) for one in rejected) == [
        ("invalid_text", "raw"),
        ("invalid_text", "raw"),
        *(("invalid_utf8", name) for name in ("at", "n", "name")),
    ]
