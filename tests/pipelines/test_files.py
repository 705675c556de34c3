"""Files of every format through the pipeline into a Delta table, which is compared with what the files hold."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import signal
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.filesystem import FileMetadata
from apache_beam.utils.timestamp import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv

from beam_zerobus.programs import replay_dead_letters
from beam_zerobus.programs.read_csv import CsvMeaning, ReadCsv
from beam_zerobus.schema import TableSchema
from beam_zerobus.sink.dead_letters import to_json
from tests.pipelines.readings import DDL, ROWS, TABLE, arrived, send, write_avro, write_csv, write_jsonl, write_parquet
from tests.runners.support import started, wait_until, zerobus_environment


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("rows.parquet", write_parquet),
        ("rows.csv", write_csv),
        ("rows.csv.gz", write_csv),
        ("rows.jsonl", write_jsonl),
        ("rows.ndjson.gz", write_jsonl),
        ("rows.avro", write_avro),
    ],
)
def test_every_row_of_a_format_arrives_as_it_was(zerobus, tmp_path, capsys, name, write):
    zerobus.create_table(TABLE, DDL)
    for part in range(2):
        write(tmp_path / f"{part}-{name}", ROWS[part::2])
    assert send("--input", str(tmp_path / f"*-{name}")) == 0
    assert arrived(zerobus) == ROWS
    output = capsys.readouterr().out
    assert f"Sending 2 files to {TABLE}" in output
    assert "1,000 rows written, 0 failed" in output
    assert "rows/s" in output


def test_formats_mix_in_one_run_over_one_stream(zerobus, tmp_path, capsys):
    zerobus.create_table(TABLE, DDL)
    for index, (name, write) in enumerate(
        {"a.parquet": write_parquet, "b.csv": write_csv, "c.json": write_jsonl, "d.avro": write_avro}.items()
    ):
        write(tmp_path / name, ROWS[index::4])
    assert (
        send(
            "--input",
            str(tmp_path / "*.parquet"),
            str(tmp_path / "*.csv"),
            "--input",
            str(tmp_path / "*.json"),
            str(tmp_path / "d.avro"),
            "--zerobus_client_secret_env=DATABRICKS_CLIENT_SECRET",
        )
        == 0
    )
    assert arrived(zerobus) == ROWS
    assert zerobus.stats.tables[TABLE].streams_opened == 1


MIXED_CSV = b"""\
"id";co2;name;day;at;value
1;417; spaces stay ;2024-02-29;2026-01-01T00:00:00+01:00;1.5
2;n/a;"";;;
3;4 1 7;x;;;
;1;no id;;;
5;99999999999;too large;;;
6;1;latin \xe9;;;
7;1;no day;2023-02-29;;
8;1;no zone;;2026-01-01T00:00:00;
9;1;infinite;;;1e400
10;1
11;1;"n/a";;;inf
12; 12 ;n/a;;2026-01-01T00:00:00Z; -0.5
"""


def test_csv_rows_that_do_not_fit_are_kept_each_with_its_reason(zerobus, tmp_path, capsys):
    table = zerobus.create_table(
        TABLE, "id INT NOT NULL, co2 INT, name STRING, day DATE, at TIMESTAMP, value DOUBLE, extra STRING"
    )
    (tmp_path / "in.csv").write_bytes(MIXED_CSV)
    dead = tmp_path / "dead"
    options = ["--delimiter", ";", "--null_value", "", "n/a", "--dead_letters", str(dead)]
    assert send("--input", str(tmp_path / "in.csv"), *options) == 0
    rows = {row.pop("id"): tuple(row.values())[:-1] for row in table.to_arrow().to_pylist()}
    new_year = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert rows == {
        1: (417, " spaces stay ", dt.date(2024, 2, 29), new_year - dt.timedelta(hours=1), 1.5),
        2: (None, "", None, None, None),
        11: (1, "n/a", None, None, float("inf")),
        12: (12, None, None, new_year, -0.5),
    }
    letters = {
        letter["element"] if isinstance(letter["element"], str) else letter["element"]["name"]: letter
        for letter in dead_letters(dead)
    }
    assert {name: letter["error_type"] for name, letter in letters.items()} == {
        "x": "invalid_text",
        "no id": "null_in_not_null_column",
        "too large": "out_of_range",
        "latin \\xe9": "invalid_utf8",
        "no day": "invalid_text",
        "no zone": "invalid_text",
        "infinite": "out_of_range",
        "10;1": "invalid_text",
    }
    assert letters["x"]["element"] == {"id": 3, "co2": "4 1 7", "name": "x", "day": None, "at": None, "value": None}
    assert "column 'co2' is INT: a value is not a whole number" in letters["x"]["message"]
    assert "in.csv, line 11: it has 2 values, the header 6" in letters["10;1"]["message"]
    output = capsys.readouterr().out
    assert "4 rows written, 8 failed" in output
    assert "4 invalid_text" in output
    assert f"kept in       {dead}\n" in output


def dead_letters(directory: Path) -> list[dict]:
    return [json.loads(line) for file in directory.glob("*.jsonl") for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("in.csv", "id,at,co2\n1,2026-01-01T00:00:00Z,4l7\n"),
        ("in.jsonl", '{"id": 1, "at": "2026-01-01T00:00:00Z", "co2": "4l7"}\n'),
    ],
)
def test_kept_rows_can_be_corrected_and_sent_again(zerobus, tmp_path, capsys, name, text):
    table = zerobus.create_table(TABLE, "id INT NOT NULL, at TIMESTAMP, co2 INT")
    (tmp_path / name).write_text(text)
    assert send("--input", str(tmp_path / name), "--dead_letters", str(tmp_path / "dead")) == 0
    (letters,) = (tmp_path / "dead").glob("*.jsonl")
    letters.write_text(re.sub(r'\\?"4l7\\?"', "417", letters.read_text()))
    assert again(tmp_path / "dead", tmp_path / "again") == 0
    assert table.to_arrow().to_pylist() == [{"id": 1, "at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "co2": 417}]
    assert not list((tmp_path / "again").glob("*"))
    assert "1 row written, 0 failed" in capsys.readouterr().out


def again(letters: Path, dead: Path) -> int:
    arguments = ["--input", str(letters), "--dead_letters", str(dead), "--zerobus_table", TABLE]
    return replay_dead_letters.main(arguments)


def test_rows_are_not_sent_again_from_nowhere_nor_kept_over_others(tmp_path, zerobus, capsys):
    zerobus.create_table(TABLE, "id INT NOT NULL")
    assert again(tmp_path / "none", tmp_path / "dead") == 2
    assert "No file matches" in capsys.readouterr().err
    (tmp_path / "rows.jsonl").write_text('{"element": {"id": 1}}')
    assert again(tmp_path / "rows.jsonl", tmp_path / "dead") == 2
    assert "rows.jsonl is a file: name the directory that it is in" in capsys.readouterr().err
    assert again(tmp_path, tmp_path) == 2
    assert "name another directory" in capsys.readouterr().err


@given(
    st.lists(
        st.tuples(
            st.integers(-(2**31), 2**31 - 1),
            st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
            st.none() | st.floats(width=64, allow_nan=False),
        ),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from([",", ";", "\t", "|"]),
)
def test_csv_comes_back_as_arrow_wrote_it(rows, delimiter):
    schema = pa.schema({"id": pa.int32(), "name": pa.string(), "value": pa.float64()})
    written = pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)
    meaning = CsvMeaning(table=TABLE, schema=TableSchema.from_arrow(schema), delimiter=delimiter)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "in.csv")
        csv.write_csv(written, path, csv.WriteOptions(delimiter=delimiter))
        blocks = [rows.rows for rows in ReadCsv(meaning, dead_letters=False).process(FileMetadata(str(path), 0))]
    assert pa.Table.from_batches(blocks).cast(schema).equals(written)


def test_without_a_place_for_them_bad_rows_fail_the_run(zerobus, tmp_path, capsys):
    table = zerobus.create_table(TABLE, "id INT NOT NULL")
    (tmp_path / "in.csv").write_text("id\n1\ntwo\n")
    assert send("--input", str(tmp_path / "in.csv")) == 1
    output = capsys.readouterr().out
    assert "Failed: 1 of 2 rows rejected" in output
    assert "stay in the table; another run writes them again" in output
    assert "column 'id' is INT: a value is not a whole number" in output
    assert table.count_rows() == 0
    assert send("--input", str(tmp_path / "in.csv"), "--zerobus_on_bad_rows=dead_letter") == 1
    output = capsys.readouterr().out
    assert "1 row written, 1 failed" in output
    assert "--dead_letters DIR keeps them" in output
    assert table.count_rows() == 1


def test_a_file_of_malformed_rows_alone_and_files_without_rows(zerobus, tmp_path):
    table = zerobus.create_table(TABLE, "id INT, name STRING")
    for name, text in {"a.csv": "id,name\n1\n2,3,4\n", "b.csv": "", "c.csv": "id,name\n", "d.csv": "name\nx"}.items():
        (tmp_path / name).write_text(text)
    assert send("--input", str(tmp_path / "*.csv"), "--dead_letters", str(tmp_path / "dead")) == 0
    assert {letter["element"] for letter in dead_letters(tmp_path / "dead")} == {"1", "2,3,4"}
    assert table.to_arrow().to_pylist() == [{"id": None, "name": "x"}]


def test_a_dry_run_needs_no_workspace(tmp_path, capsys, monkeypatch):
    for variable in ("ZEROBUS_ENDPOINT", "DATABRICKS_HOST", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"):
        monkeypatch.delenv(variable, raising=False)
    write_parquet(tmp_path / "in.parquet", ROWS)
    assert send("--input", str(tmp_path / "in.parquet"), "--zerobus_dry_run") == 0
    assert f"Checking 1 file for {TABLE}; nothing is sent\n" in (output := capsys.readouterr().out)
    assert "1,000 rows would be written, 0 failed" in output
    assert "would be written  1,000\n" in output
    write_csv(tmp_path / "in.csv", ROWS)
    assert send("--input", str(tmp_path / "in.csv"), "--zerobus_dry_run") == 2
    assert "csv does not determine the columns: give --zerobus_schema" in capsys.readouterr().err
    assert send("--input", str(tmp_path / "in.csv"), "--zerobus_dry_run", "--zerobus_schema", DDL) == 0


class FailedRow(NamedTuple):
    element: dict
    error_type: str
    timestamp: Timestamp


def test_a_dead_letter_is_the_same_where_a_runner_made_a_named_tuple_of_it():
    failed = FailedRow({"id": 1, "raw": b"ab"}, "wrong_type", Timestamp(0))
    assert to_json(failed) == to_json(beam.Row(**failed._asdict()))


@pytest.mark.hostile
@pytest.mark.skipif(os.name == "nt", reason="Windows sends no signal to another process")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_in_a_sentence(zerobus, tmp_path, number, code):
    table = zerobus.create_table(TABLE, "id BIGINT NOT NULL")
    pq.write_table(pa.table({"id": range(10_000_000)}), tmp_path / "in.parquet", row_group_size=10_000)
    command = [sys.executable, "-m", "pipelines.files_to_zerobus", "--input", str(tmp_path / "in.parquet")]
    with started(
        [*command, f"--zerobus_table={TABLE}", "--dead_letters", str(tmp_path / "dead")],
        environment=zerobus_environment(zerobus),
        log=tmp_path / "log",
    ) as sending:
        wait_until(table.count_rows, "rows arrive")
        sending.send_signal(number)
        sending.wait(60)
    output = (tmp_path / "log").read_text()
    assert sending.returncode == code, output
    assert "Interrupted" in output
    assert "--resume" in output
    assert "Traceback" not in output
    assert [path.name for path in (tmp_path / "dead").iterdir()] == ["unfinished-run"]
