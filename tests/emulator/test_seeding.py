"""The first rows of a table, by the control API: JSON, CSV, Parquet and Arrow."""

import json
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
import requests
from apache_beam.io.filesystem import FileMetadata
from pyarrow import parquet

from beam_zerobus.emulator import Emulator, Faults
from beam_zerobus.programs.read_csv import CsvMeaning, ReadCsv

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, name STRING"


SEEDS = {
    "application/json": b'[{"id": 1, "name": "a"}, {"id": 2}]',
    "application/x-ndjson": b'{"id": 1, "name": "a"}\n\n{"id": 2}\n',
    "text/csv": b"name,ID\na,1\n,2\n",
}


def seed(emulator: Emulator, kind: str, content: bytes, table: str = TABLE) -> requests.Response:
    headers = {"Authorization": f"Bearer {emulator.control_token}", "Content-Type": kind}
    return requests.post(
        f"{emulator.workspace_url}/control/tables/{table}/rows", data=content, headers=headers, timeout=20
    )


def seeds() -> dict[str, bytes]:
    rows = pa.table({"name": ["a", None], "id": pa.array([1, 2], pa.int32())})
    file, stream = pa.BufferOutputStream(), pa.BufferOutputStream()
    parquet.write_table(rows, file)
    with pa.ipc.new_stream(stream, rows.schema) as writer:
        writer.write_table(rows)
    return SEEDS | {
        "application/vnd.apache.parquet": file.getvalue().to_pybytes(),
        "application/vnd.apache.arrow.stream": stream.getvalue().to_pybytes(),
    }


@pytest.mark.parametrize("kind", seeds())
def test_rows_are_there_before_the_test(emulator: Emulator, kind: str) -> None:
    table = emulator.create_table(TABLE, DDL)
    emulator.faults = Faults(rate=1.0)
    answer = seed(emulator, f"{kind}; charset=utf-8", seeds()[kind])
    assert (answer.status_code, answer.json()) == (200, {"count": 2})
    assert sorted(table.to_arrow()["id"].to_pylist()) == [1, 2]
    assert sorted(table.to_arrow()["name"].to_pylist(), key=str) == [None, "a"]
    assert emulator.stats.tables[TABLE].calls == 0
    answer = seed(emulator, kind, seeds()[kind][:-30])
    assert answer.status_code == 400
    assert table.count_rows() == 2, "all rows or none"


@pytest.mark.parametrize(
    ("kind", "content", "reason"),
    [
        ("text/plain", b"", "Content-Type must be one of"),
        ("", b'[{"id": 1, "no": 2}]', "column 'no' is not in the table"),
        ("application/json", b"{}", "must be an array"),
        ("application/x-ndjson", b'{"id": 1}\n{"id": null}', "'id'"),
        ("application/x-ndjson", b'{"id": 1}\n{"id": 1e999}', "'id' is BIGINT and has a value that does not fit it"),
        ("text/csv", b"id,name\n1,a\nx,a\n", "row 1 does not fit the table: column 'id' is BIGINT"),
        ("text/csv", b"id,name\n0x10,a\n", "row 0 does not fit the table: column 'id' is BIGINT"),
        ("text/csv", b"id,name\n,a\n", "row 0 does not fit the table"),
        ("text/csv", b"id,no\n1,a\n", "'no' is not in the table"),
        ("application/vnd.apache.arrow.stream", 2 * seeds()["application/vnd.apache.arrow.stream"], "after the end"),
        ("application/vnd.apache.parquet", b"PAR1", "cannot be read as parquet"),
        ("application/vnd.apache.arrow.stream", b"", "cannot be read as arrow"),
    ],
)
def test_rows_that_do_not_fit_are_not_there(emulator: Emulator, kind: str, content: bytes, reason: str) -> None:
    table = emulator.create_table(TABLE, DDL)
    answer = seed(emulator, kind, content)
    assert answer.status_code in (400, 415)
    assert reason in answer.json()["message"]
    assert table.count_rows() == 0


def test_in_csv_only_an_empty_value_is_null(emulator: Emulator) -> None:
    table = emulator.create_table(TABLE, "id INT, name STRING, d DOUBLE")
    names = ["NA", "null", "nan", "N/A"]
    assert seed(emulator, "text/csv", "".join(["name,d\n", *(f"{n},nan\n" for n in names), ",\n"]).encode()).ok
    assert sorted(table.to_arrow()["name"].to_pylist(), key=str) == sorted([*names, None], key=str)
    assert table.to_arrow()["d"].null_count == 1


@pytest.mark.parametrize(("kind", "text"), [("FLOAT", "1e300"), ("FLOAT", "-1e999"), ("DOUBLE", "1e999")])
@pytest.mark.parametrize("media_type", ["text/csv", "application/json"])
def test_no_number_out_of_range_becomes_infinity(emulator: Emulator, kind: str, text: str, media_type: str) -> None:
    table = emulator.create_table(TABLE, f"x {kind}")
    content = f"X\n1.5\n{text}\n" if media_type == "text/csv" else f'[{{"x": 1.5}}, {{"x": {text}}}]'
    answer = seed(emulator, media_type, content.encode())
    assert answer.status_code == 400
    assert f"is {kind} and has a value that does not fit it" in answer.json()["message"]
    assert table.count_rows() == 0


@pytest.mark.parametrize(("header", "kind", "text"), [("NAME", "STRING", "007"), ("Name", "FLOAT", "0.1")])
def test_a_header_of_csv_matches_in_any_case(emulator: Emulator, header: str, kind: str, text: str) -> None:
    table = emulator.create_table(TABLE, f"name {kind}")
    assert seed(emulator, "text/csv", f"{header}\n{text}\n".encode()).json() == {"count": 1}
    (row,) = table.to_arrow().to_pylist()
    assert row["name"] == (text if kind == "STRING" else pa.scalar(0.1, pa.float32()).as_py())


@pytest.mark.parametrize(("kind", "values"), [("INT", ["1", "", "2"]), ("STRING", ["a", "", '""', " ", "b"])])
def test_empty_lines_of_csv_are_left_out_as_the_sink_does(
    emulator: Emulator, kind: str, values: list[str], tmp_path: Path
) -> None:
    table = emulator.create_table(TABLE, f"name {kind}")
    file = tmp_path / "rows.csv"
    file.write_text("\n".join(["name", *values]) + "\n")
    meaning = CsvMeaning(table=TABLE, schema=table.schema)
    sent = [
        row["name"]
        for rows in ReadCsv(meaning, dead_letters=False).process(FileMetadata(str(file), file.stat().st_size))
        for row in rows.rows.to_pylist()
    ]
    assert seed(emulator, "text/csv", file.read_bytes()).json() == {"count": len(values) - 1}
    assert table.to_arrow()["name"].to_pylist() == sent


def test_a_row_that_does_not_fit_is_counted_from_the_first_batch(emulator: Emulator) -> None:
    emulator.create_table(TABLE, "id TINYINT")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([("id", pa.int32())])) as writer:
        for numbers in ([1, 2, 3], [4, 1000]):
            writer.write_batch(pa.record_batch({"id": pa.array(numbers, pa.int32())}))
    answer = seed(emulator, "application/vnd.apache.arrow.stream", sink.getvalue().to_pybytes())
    assert "row 4 does not fit the table" in answer.json()["message"]


def test_only_a_type_makes_a_variant(emulator: Emulator) -> None:
    # Keys that are structs are not JSON, through which the rows of a table with a VARIANT are read.
    table = emulator.create_table(TABLE, "m MAP<STRUCT<x: INT>, INT> COMMENT 'not a VARIANT'")
    rows = pa.table({"m": pa.array([[({"x": 1}, 2)]], pa.map_(pa.struct([("x", pa.int32())]), pa.int32()))})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    answer = seed(emulator, "application/vnd.apache.arrow.stream", sink.getvalue().to_pybytes())
    assert answer.json() == {"count": 1}
    assert table.count_rows() == 1


@pytest.mark.parametrize("content", ["id\n4711.5\n", "id\n1,4711\n", "at\n4711-01-01T00:00:00\n", "p\n4711\n"])
def test_what_rejects_a_csv_shows_no_value(emulator: Emulator, content: str) -> None:
    emulator.create_table(TABLE, "id INT, at TIMESTAMP, p DECIMAL(3,2)")
    answer = seed(emulator, "text/csv", content.encode())
    assert answer.status_code == 400
    assert "4711" not in answer.text


def test_rows_of_every_type_are_seeded_and_read_as_arrow(emulator: Emulator) -> None:
    ddl = "id BIGINT, at TIMESTAMP, day DATE, p DECIMAL(5,2), raw BINARY, v VARIANT, t ARRAY<STRUCT<x: INT>>"
    table = emulator.create_table(TABLE, ddl)
    row = {"id": 1, "at": 5, "day": 3, "p": "1.50", "raw": "/w==", "v": '{"a":1}', "t": [{"x": 2}]}
    assert seed(emulator, "application/json", json.dumps([row] * 3).encode()).status_code == 200
    headers = {"Authorization": f"Bearer {emulator.control_token}", "Accept": "application/vnd.apache.arrow.stream"}
    url = f"{emulator.workspace_url}/control/tables/{TABLE}/rows"
    stream = requests.get(url, headers=headers, timeout=20)
    assert stream.headers["Content-Type"] == "application/vnd.apache.arrow.stream"
    assert pa.ipc.open_stream(stream.content).read_all().equals(table.to_arrow())
    last = requests.get(f"{url}?offset=2&limit=5", headers=headers, timeout=20)
    assert pa.ipc.open_stream(last.content).read_all().num_rows == 1
    again = emulator.create_table("main.iot.again", ddl)
    assert seed(emulator, "application/vnd.apache.arrow.stream", stream.content, again.name).json() == {"count": 3}
    assert again.to_arrow().equals(table.to_arrow())
    bad = table.to_arrow().set_column(5, "v", pa.array(["{", "1", "2"], pa.large_string()))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, bad.schema) as writer:
        writer.write_table(bad)
    answer = seed(emulator, "application/vnd.apache.arrow.stream", sink.getvalue().to_pybytes(), again.name)
    assert "column 'v' is VARIANT" in answer.json()["message"]


def test_curl_seeds_a_table_from_a_file(emulator: Emulator, tmp_path: Path) -> None:
    table = emulator.create_table(TABLE, DDL)
    file = tmp_path / "rows.csv"
    file.write_bytes(SEEDS["text/csv"])
    command = ["curl", "-sS", "--noproxy", "*", f"{emulator.workspace_url}/control/tables/{TABLE}/rows"]
    command += ["--data-binary", f"@{file}", "-H", "Content-Type: text/csv", "-w", "%{http_code}"]
    for token, answer in ((emulator.control_token, '{"count": 2}200'), ("guess", "401")):
        sent = [*command, "-H", f"Authorization: Bearer {token}"]
        done = subprocess.run(sent, capture_output=True, text=True, timeout=30, check=False)
        assert done.stdout.endswith(answer), done.stderr
    assert table.count_rows() == 2
