"""Files whose rows or headers have a name twice: no value is lost silently."""

from __future__ import annotations

import datetime as dt
import json

import fastavro
import pytest

from beam_zerobus.programs.command import InputError
from tests.pipelines.readers import avro_records
from tests.pipelines.readings import TABLE, send

LINES = ['{"id": 1}', '{"id": 2, "id": 3}', '{"id": 4, "m": {"a": 1, "a": 2}}', '{"id": 5, "m": {"a": 1}}']


@pytest.mark.parametrize("text", ["\n".join(LINES), f"[{', '.join(LINES)}]"], ids=["lines", "array"])
def test_json_rows_with_a_key_twice_are_dead_letters(zerobus, tmp_path, text):
    table = zerobus.create_table(TABLE, "id INT, m MAP<STRING, INT>")
    (tmp_path / "in.json").write_text(text)
    assert send("--input", str(tmp_path / "in.json"), "--dead_letters", str(tmp_path / "dead")) == 0
    assert sorted(table.to_arrow().column("id").to_pylist()) == [1, 5]
    letters = [json.loads(line) for file in (tmp_path / "dead").glob("*") for line in file.read_text().splitlines()]
    assert sorted((letter["element"], letter["error_type"]) for letter in letters) == [
        (LINES[1], "invalid_json"),
        (LINES[2], "invalid_json"),
    ]


@pytest.mark.parametrize("header", ["id,x,x", "id,x,y,x"])
def test_a_header_of_csv_with_a_name_twice_is_not_rescued(zerobus, tmp_path, capfd, header):
    table = zerobus.create_table(TABLE, "id INT, _rescued_data STRING")
    (tmp_path / "in.csv").write_text(f"{header}\n1,2,3{',4' * (header.count(',') - 2)}\n")
    assert send("--input", str(tmp_path / "in.csv"), "--zerobus_on_unknown_fields=rescue") != 0
    assert "in.csv has two columns 'x'; drop or rename one of them" in "".join(capfd.readouterr())
    assert table.count_rows() == 0


def test_a_schema_of_avro_with_a_name_twice_cannot_be_read(tmp_path):
    inner = {"type": "record", "name": "inner", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "int"}]}
    schema = {"type": "record", "name": "row", "fields": [{"name": "s", "type": inner}]}
    with (tmp_path / "in.avro").open("wb") as file:
        fastavro.writer(file, schema, [{"s": {"a": 1, "b": 2}}])
    good = (tmp_path / "in.avro").read_bytes()
    (tmp_path / "in.avro").write_bytes(good.replace(b'"b"', b'"a"'))
    with pytest.raises(InputError, match="a record of its schema has the field 'a' twice"):
        avro_records(tmp_path / "in.avro")


INNER = {
    "type": "record",
    "name": "Inner",
    "fields": [{"name": "m", "type": {"type": "map", "values": ["null", {"type": "int", "logicalType": "date"}]}}],
}
MAPS = {
    "type": "record",
    "name": "org.example.Row",
    "fields": [
        {"name": "id", "type": "int"},
        {"name": "m", "type": {"type": "map", "values": ["null", INNER]}, "default": {}},
        {
            "name": "other",
            "type": ["null", "Inner", {"type": "array", "items": "int"}, {"type": "map", "values": "Row"}],
        },
    ],
}


def test_maps_of_avro_are_read_as_fastavro_reads_them(tmp_path):
    row = {"id": 1, "m": {"a": {"m": {"x": dt.date(2026, 1, 31), "y": None}}, "b": None}, "other": None}
    rows = [
        row,
        {**row, "id": 2, "m": {}, "other": [1]},
        {**row, "other": {"m": {"z": None}}},
        {**row, "other": {"z": row}},
    ]
    with (tmp_path / "in.avro").open("w+b") as file:
        fastavro.writer(file, MAPS, rows)
        file.seek(0)
        assert avro_records(tmp_path / "in.avro") == rows == list(fastavro.reader(file))


def test_a_map_of_avro_with_a_key_twice_is_rejected_alone(zerobus, tmp_path):
    table = zerobus.create_table(TABLE, "id INT, m MAP<STRING, INT>")
    fields = [{"name": "id", "type": "int"}, {"name": "m", "type": {"type": "map", "values": "int"}}]
    with (tmp_path / "in.avro").open("wb") as file:
        maps = [{"a": 1, "b": 2}, {"a": 1, "c": 2}, {}]
        rows = [{"id": number, "m": each} for number, each in enumerate(maps)]
        fastavro.writer(file, {"type": "record", "name": "Row", "fields": fields}, rows)
    written = (tmp_path / "in.avro").read_bytes()
    (tmp_path / "in.avro").write_bytes(written.replace(b"\x02c", b"\x02a"))  # no writer makes it
    assert send("--input", str(tmp_path / "in.avro"), "--dead_letters", str(tmp_path / "dead")) == 0
    assert sorted(table.to_arrow().column("id").to_pylist()) == [0, 2]
    (letter,) = [json.loads(line) for file in (tmp_path / "dead").glob("*") for line in file.read_text().splitlines()]
    assert (letter["element"], letter["error_type"]) == ({"id": 1, "m": [["a", 1], ["a", 2]]}, "duplicate_key")
