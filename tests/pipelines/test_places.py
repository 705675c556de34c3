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
