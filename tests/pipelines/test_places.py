"""A rejected row names its place in the file, and is kept as it was."""

from __future__ import annotations

import json

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_zerobus.programs import files_to_zerobus

AVRO = {"type": "record", "name": "Row", "fields": [{"name": "id", "type": "long"}]}
BAD = 2**40
PLACES = {
    "jsonl": "in.jsonl, line 4, column 'id'",
    "avro": "record 2, column 'id'",
    "parquet": "in.parquet, row group 1, row 0, column 'id'",
    "csv": "in.csv, line 4, column 'id'",
}


@pytest.mark.parametrize("ending", PLACES)
@pytest.mark.parametrize("keep", [True, False])
def test_a_rejected_row_names_its_place(zerobus, tmp_path, capsys, ending, keep):
    table = zerobus.create_table("main.files.readings", "id INT")
    path, rows = tmp_path / f"in.{ending}", [{"id": 1}, {"id": 2}, {"id": BAD}]
    if ending == "jsonl":
        path.write_text("\n".join([json.dumps(rows[0]), "", *map(json.dumps, rows[1:])]))
    elif ending == "avro":
        with path.open("wb") as file:
            fastavro.writer(file, AVRO, rows)
    elif ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    else:
        path.write_text(f"id\n1\n2\n{BAD}\n")
    arguments = ["--input", str(path), "--zerobus_table", "main.files.readings"]
    keeping = ["--dead_letters", str(tmp_path / "dead")] if keep else []
    assert files_to_zerobus.main([*arguments, *keeping]) == (0 if keep else 1)
    said = capsys.readouterr().out
    if keep:
        (kept,) = (tmp_path / "dead").glob("*")
        letter = json.loads(kept.read_text())
        assert PLACES[ending] in letter["message"]
        assert table.count_rows() == 2
    else:
        assert PLACES[ending] in said


@pytest.mark.parametrize("keep", [True, False])
def test_a_row_of_csv_that_the_sink_rejects_names_its_line(zerobus, tmp_path, capsys, keep):
    table = zerobus.create_table("main.files.readings", "id INT, name STRING, price DECIMAL(4,2)")
    path, dead = tmp_path / "in.csv", tmp_path / "dead"
    path.write_text('id,name,price\n\n1,"two\nlines",1.25\n\n2,,123.45\n' + "x,,\n" * keep)
    arguments = ["--input", str(path), "--zerobus_table", "main.files.readings"]
    keeping = ["--dead_letters", str(dead)] if keep else []
    assert files_to_zerobus.main([*arguments, *keeping]) == (0 if keep else 1)
    said = capsys.readouterr().out
    if keep:
        letters = [json.loads(line) for kept in dead.glob("*") for line in kept.read_text().splitlines()]
        places = sorted(letter["message"].partition(", column")[0].rpartition("/")[2] for letter in letters)
        assert places == ["in.csv, line 6", "in.csv, line 7"]
        assert table.count_rows() == 1
    else:
        assert "in.csv, line 6, column 'price'" in said


def test_columns_that_do_not_fit_name_the_file(zerobus, tmp_path, capsys):
    zerobus.create_table("main.files.readings", "id INT")
    pq.write_table(pa.table({"id": ["one"]}), tmp_path / "in.parquet")
    arguments = ["--input", str(tmp_path / "in.parquet"), "--zerobus_table", "main.files.readings"]
    assert files_to_zerobus.main(arguments) == 1
    said = capsys.readouterr().out
    assert "in.parquet, row group 0: table main.files.readings: the batch does not fit: column 'id'" in said, said
