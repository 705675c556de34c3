"""Rows that are rejected, kept, corrected and replayed arrive as if they had been sent directly."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.utils.timestamp import Timestamp

from beam_zerobus import OAuthClientCredentials, WriteToZerobus
from beam_zerobus.programs import files_to_zerobus, replay_dead_letters
from beam_zerobus.schema import TableSchema
from beam_zerobus.sink.dead_letters import KeepDeadLetters

COLUMNS = """
    id INT NOT NULL, i INT, s STRING, v DECIMAL(20,2), d DOUBLE, f FLOAT, raw BINARY, at TIMESTAMP, day DATE,
    m MAP<BIGINT, STRING>, n SMALLINT, tags ARRAY<STRING>, inner STRUCT<raw: BINARY, x: DOUBLE>
"""
NAMES = TableSchema.from_ddl(COLUMNS).to_arrow().names
NOON = dt.datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=dt.UTC)


class Colour(enum.Enum):
    RED = "rot"


class Row(NamedTuple):
    id: int
    i: Any
    v: Any


@dataclasses.dataclass
class Data:
    id: int
    i: Any
    raw: Any


ROWS = [
    {"v": decimal.Decimal("12345678901234567.89"), "s": b"bytes", "raw": b"\x00\xff"},
    {"s": Colour.RED, "n": np.int16(-7), "d": np.float64(0.1), "f": np.float32(0.1), "at": pd.NaT, "day": pd.NA},
    {"d": math.nan, "f": math.inf, "at": NOON, "day": dt.date(1, 1, 1)},
    {"d": -math.inf, "at": Timestamp(micros=1), "m": {5: "five", -1: ""}, "tags": ("a", "b")},
    {"at": "2024-02-29T12:00:00.000001+01:00", "inner": {"raw": b"\xfe", "x": math.nan}, "tags": np.array(["x"])},
    {"s": "\\xe9 'Zoë' \U0001f30d\n", "v": "0.10", "d": 5e-324, "inner": beam.Row(raw=b"", x=-0.0)},
]


def elements(i: Any) -> list[Any]:
    """Return elements of every kind; `i` is the value that is rejected, and that takes its place."""
    dicts = [{"id": number, "i": i, **row} for number, row in enumerate(ROWS)]
    text = f'{{"id": 100, "i": {json.dumps(i)}, "v": 12345678901234567.89, "d": 1e-7}}'
    of_float = pa.array([0.1, math.nan], pa.float32())
    rows = {
        "id": pa.array([110, 111], pa.int8()),
        "f": of_float,
        "at": pa.array([NOON, None], pa.timestamp("ns", "Europe/Berlin")),
        "raw": pa.array([b"\xff", None], pa.binary(1)),
        "s": pa.array(["a", "b"]).dictionary_encode(),
        "m": pa.array([[(1, "x")], None], pa.map_(pa.int64(), pa.string())),
    }
    # The first fails as a whole, because its `i` is text.
    whole = pa.RecordBatch.from_pydict({**rows, "i": pa.array([i, i])})
    views = pa.array(["a view of more than twelve bytes", "b"]).cast(pa.string_view())
    viewed = pa.RecordBatch.from_pydict(
        {
            "id": pa.array([120, 121]),
            "i": pa.array([i, i]),
            "s": views,
            "tags": pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), views),
            "d": pc.run_end_encode(pa.array([math.inf, -0.0])),
            "raw": pa.array([b"\xff", None], pa.binary_view()),
        }
    )
    return [
        *dicts,
        beam.Row(**dicts[0] | {"id": 50}),
        Row(51, i, decimal.Decimal("0.01")),
        Data(52, i, b"\x01"),
        text,
        text.replace("100", "101").encode(),
        whole,
        viewed,
        pa.Table.from_batches([whole.set_column(0, "id", pa.array([112, 113]))]),
    ]


def sink(emulator, table: str) -> WriteToZerobus:
    credentials = OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret)
    return WriteToZerobus(
        table,
        endpoint=emulator.endpoint,
        workspace_url=emulator.workspace_url,
        credentials=credentials,
        schema="unity_catalog",
        on_bad_rows="dead_letter",
    )


def arrived(table) -> list[str]:
    """Return the rows in a form that compares NaN."""
    return sorted(map(repr, table.to_arrow().select(NAMES).to_pylist()))


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_keep_correct_replay_is_as_if_sent_directly(zerobus, tmp_path, monkeypatch, file_format):
    direct, replayed = (zerobus.create_table(f"main.files.{name}", COLUMNS) for name in ("direct", "replayed"))
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        good, bad = (
            pipeline | f"Create {i}" >> beam.Create(elements(i), reshuffle=False).with_output_types(Any)
            for i in (1, "bad")
        )
        (good | "Write" >> sink(zerobus, "main.files.direct")).failed_rows | beam.Map(fail)
        failed = (bad | "Reject" >> sink(zerobus, "main.files.replayed")).failed_rows
        failed | KeepDeadLetters(str(tmp_path / "kept"), file_format)
    assert replayed.count_rows() == 0

    def correct(row):
        if isinstance(row, str):
            return row.replace('"bad"', "1")
        return row | {"i": 1}

    monkeypatch.setattr(replay_dead_letters, "correct", correct)
    arguments = ["--input", str(tmp_path / "kept"), "--zerobus_table", "main.files.replayed"]
    assert replay_dead_letters.main([*arguments, "--dead_letters", str(tmp_path / "again")]) == 0
    assert arrived(replayed) == arrived(direct)
    assert direct.count_rows() == len(ROWS) + 11


def fail(row: Any) -> None:
    raise AssertionError(row)


@pytest.mark.parametrize("keep", [True, False])
def test_row_groups_that_cannot_fit_the_table_are_kept_row_by_row_or_fail_the_run(zerobus, tmp_path, capsys, keep):
    table = zerobus.create_table("main.files.readings", "id INT")
    rows = pa.table({"id": pa.array(range(1_000), pa.int32()), "colour": ["red"] * 1_000})
    pq.write_table(rows, tmp_path / "in.parquet", row_group_size=400)
    arguments = ["--input", str(tmp_path / "in.parquet"), "--zerobus_table", "main.files.readings"]
    keeping = ["--dead_letters", str(tmp_path / "dead")] if keep else []
    assert files_to_zerobus.main([*arguments, *keeping]) == (0 if keep else 1)
    said = capsys.readouterr().out
    expected = "rows failed   1,000 (1,000 unknown_field)" if keep else "column 'colour' is not in the table"
    assert expected in said
    letters = [line for file in (tmp_path / "dead").glob("*") for line in file.read_text().splitlines()]
    assert sorted(json.loads(letter)["element"]["id"] for letter in letters) == (list(range(1_000)) if keep else [])
    assert table.count_rows() == 0
    if keep:
        again = ["--input", str(tmp_path / "dead"), "--zerobus_table", "main.files.readings"]
        assert replay_dead_letters.main([*again, "--zerobus_on_unknown_fields=ignore"]) == 0
        assert sorted(table.to_arrow()["id"].to_pylist()) == list(range(1_000))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"element": 1}\n{"element": }\n', "line 2 is not valid JSON"),
        ('{"element": 1}\n\n[1]\n', "line 3 is not a dead letter"),
        ('{"element": {"id": 1, "id": 2}}\n', "line 1 is not valid JSON (an object has the key 'id' twice)"),
        ('{"element": {"id": 1}}\n{"element": {"id": 2}, "typed": "two"}\n', "line 2 cannot be made into an element"),
    ],
)
def test_a_letter_that_cannot_be_read_fails_with_its_line(zerobus, tmp_path, capsys, text, reason):
    zerobus.create_table("main.files.readings", "id INT")
    (tmp_path / "rows.jsonl").write_text(text)
    arguments = ["--input", str(tmp_path), "--zerobus_table", "main.files.readings"]
    assert replay_dead_letters.main(arguments) == 1
    assert f"rows.jsonl, {reason}" in capsys.readouterr().out


def test_a_parquet_file_that_holds_no_letters_is_named(zerobus, tmp_path, capsys):
    zerobus.create_table("main.files.readings", "id INT")
    pq.write_table(pa.table({"id": [1]}), tmp_path / "rows.parquet")
    arguments = ["--input", str(tmp_path), "--zerobus_table", "main.files.readings"]
    assert replay_dead_letters.main(arguments) == 1
    assert "rows.parquet does not hold dead letters: they need the column element" in capsys.readouterr().out


def test_a_dead_letter_in_parquet_has_the_columns_of_the_docs(tmp_path):
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        failed = beam.Row(
            element={"v": decimal.Decimal(1)},
            error_type="wrong_type",
            message="m",
            stage="batching",
            table="a.b.c",
            attempts=0,
            timestamp=Timestamp(0),
        )
        pipeline | beam.Create([failed]) | KeepDeadLetters(str(tmp_path), "parquet")
    (row,) = pq.read_table(tmp_path).to_pylist()
    assert row == {
        "element": '{"v":"1"}',
        "error_type": "wrong_type",
        "message": "m",
        "stage": "batching",
        "table": "a.b.c",
        "attempts": 0,
        "timestamp": dt.datetime(1970, 1, 1, tzinfo=dt.UTC),
        "typed": '{"v":{"$decimal":"1"}}',
    }


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_a_file_without_a_byte_fails_the_replay(zerobus, tmp_path, capsys, file_format):
    zerobus.create_table("main.files.readings", "id INT")
    (tmp_path / f"rows.{file_format}").touch()
    assert replay_dead_letters.main(["--zerobus_table", "main.files.readings", "--input", str(tmp_path)]) == 1
    assert f"rows.{file_format}" in capsys.readouterr().out
