"""Edges of the formats, through the whole program: no rows, one row, odd names, one bad file among good ones."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_zerobus.programs import files_to_zerobus
from beam_zerobus.programs.command import InputError
from beam_zerobus.programs.open_files import FilePart
from beam_zerobus.programs.read_json import ReadObjects

TABLE = "main.files.readings"
AVRO = {
    "type": "record",
    "name": "Reading",
    "fields": [{"name": "id", "type": "int"}, {"name": "name", "type": ["null", "string"]}],
}


def as_csv(rows) -> bytes:
    return "\n".join(["id,name", *(f'{row["id"]},"{row["name"]}"' for row in rows)]).encode()


def as_jsonl(rows) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def as_parquet(rows) -> bytes:
    buffer = io.BytesIO()
    schema = pa.schema({"id": pa.int32(), "name": pa.string()})
    pq.write_table(pa.Table.from_pylist(rows, schema), buffer, row_group_size=2, write_page_checksum=True)
    return buffer.getvalue()


def as_avro(rows) -> bytes:
    buffer = io.BytesIO()
    fastavro.writer(buffer, AVRO, rows, codec="deflate")
    return buffer.getvalue()


def flipped(parquet: bytes) -> bytes:
    """Change a bit in the middle of the second row group."""
    column = pq.ParquetFile(io.BytesIO(parquet)).metadata.row_group(1).column(1)
    at = column.dictionary_page_offset + column.total_compressed_size - 1
    return parquet[:at] + bytes([parquet[at] ^ 1]) + parquet[at + 1 :]


FORMATS = {"csv": as_csv, "jsonl": as_jsonl, "parquet": as_parquet, "avro": as_avro}
ROWS = [{"id": number, "name": f"name {number}"} for number in range(5)]


@pytest.fixture
def table(zerobus):
    return zerobus.create_table(TABLE, "id INT NOT NULL, name STRING")


def send(*arguments: object) -> int:
    return files_to_zerobus.main(["--zerobus_table", TABLE, *map(str, arguments)])


def ids(table) -> list[int]:
    return sorted(table.to_arrow()["id"].to_pylist())


@pytest.mark.parametrize(
    ("text", "several"),
    [
        ('{"id": 1,\n"name": "a"}\n', True),
        ('\ufeff\n{\n  "id": 1\n}\n{\n  "id": 2\n}', True),
        ('{"id": 1,\n{"id": 2}\n', False),
        ('{"id": 1}}\n{"id": 2}\n', False),
        ('{"id": 1,  "name": {"a": "\n"}}\n', False),
    ],
)
def test_an_object_of_several_lines_is_named(tmp_path, text, several):
    (tmp_path / "in.json").write_text(text)
    said = "in.json begins with an object that has several lines: put each object on a line, as jq -c . does"
    with pytest.raises(InputError, match=said) if several else nullcontext():
        assert list(ReadObjects().process(FilePart(str(tmp_path / "in.json"))))


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")  # Beam's own pattern for a bracket
@pytest.mark.parametrize("ending", FORMATS)
def test_files_without_rows_with_one_and_with_odd_names_are_all_read(table, tmp_path, ending):
    names = ["none", "one", "a[1]b", "what?", "*", "{x,y}", "blank in it", "é"]
    for number, name in enumerate(names):
        rows = [] if name == "none" else [{"id": number, "name": None if ending != "csv" else name}]
        (tmp_path / f"{name}.{ending}").write_bytes(FORMATS[ending](rows))
    assert send("--input", *(tmp_path / f"{name}.{ending}" for name in names)) == 0
    assert ids(table) == list(range(1, len(names)))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    ("ending", "damage", "message"),
    [
        ("csv", lambda data: data + b'\n9,"open', "bad.csv, line 7: a quote is opened and not closed"),
        ("csv.gz", lambda data: b"\x1f\x8b" + data, "bad.csv.gz cannot be read"),
        ("jsonl.zst", lambda data: b"\x28\xb5\x2f\xfd" + data, "bad.jsonl.zst cannot be read"),
        ("parquet", lambda data: data[:-9], "bad.parquet cannot be read"),
        ("parquet", flipped, "bad.parquet cannot be read at row group 1"),
        ("avro", lambda data: data[:-1], "bad.avro cannot be read at byte"),
    ],
)  # fmt: skip
def test_an_unreadable_file_among_good_ones_is_named_with_the_place(
    *, table, tmp_path, capsys, ending, damage, message, keep
):
    file_format = ending.partition(".")[0]
    for name in ("a", "z"):
        (tmp_path / f"{name}.{file_format}").write_bytes(FORMATS[file_format](ROWS))
    (tmp_path / f"bad.{ending}").write_bytes(damage(FORMATS[file_format](ROWS)))
    dead_letters = ["--dead_letters", tmp_path / "dead"] if keep else []
    assert send("--input", tmp_path / f"*.{file_format}", tmp_path / f"bad.{ending}", *dead_letters) in (1, 2)
    output = "".join(capsys.readouterr())
    assert message in output
    assert "Traceback" not in output


@pytest.mark.skipif("__import__('os').geteuid() == 0", reason="root may read every file")
def test_a_file_without_permission_is_named(table, tmp_path, capsys):
    (tmp_path / "secret.csv").write_bytes(as_csv(ROWS))
    (tmp_path / "secret.csv").chmod(0)
    assert send("--input", tmp_path / "secret.csv") == 2
    assert "secret.csv cannot be read" in capsys.readouterr().err
