"""CSV into a table with a rescue column: columns that the table does not have arrive as text, whatever they hold."""

from __future__ import annotations

import json

import pytest

from tests.pipelines.readings import TABLE, send

RESCUE = "--zerobus_on_unknown_fields=rescue"
CSV = b"""id,price,extra,Other
1,1.25,"a, ""b""
c",
2,1.255,0123,1e400
3,,"",\xc3\xa9
4,x,,NULL
five,1,lost?,
6,1.5,\xff,ok
7,2.5,,
"""


@pytest.mark.parametrize(
    "wire_format", ["proto", *(pytest.param(name, marks=pytest.mark.hostile) for name in ("arrow", "json"))]
)
def test_unknown_columns_of_csv_are_rescued_as_text(zerobus, tmp_path, wire_format):
    table = zerobus.create_table(TABLE, "id INT, price DECIMAL(5,2), _rescued_data STRING")
    (tmp_path / "in.csv").write_bytes(CSV)
    arguments = ["--input", str(tmp_path / "in.csv"), "--dead_letters", str(tmp_path / "dead"), RESCUE]
    assert send(*arguments, f"--zerobus_wire_format={wire_format}") == 0
    rows = {
        row["id"]: (row["price"], json.loads(row["_rescued_data"] or "null")) for row in table.to_arrow().to_pylist()
    }
    assert {number: (None if price is None else str(price), rest) for number, (price, rest) in rows.items()} == {
        1: ("1.25", {"extra": 'a, "b"\nc'}),
        2: (None, {"extra": "0123", "Other": "1e400", "price": "1.255"}),
        3: (None, {"extra": "", "Other": "é"}),
        4: (None, {"Other": "NULL", "price": "x"}),
        7: ("2.50", None),
    }
    letters = [json.loads(line) for file in (tmp_path / "dead").glob("*") for line in file.read_text().splitlines()]
    places = {letter["message"].partition("in.csv, ")[2].partition(",")[0]: letter for letter in letters}
    assert {place: letter["error_type"] for place, letter in places.items()} == {
        "line 7": "invalid_text",
        "line 8": "invalid_utf8",
    }
    # What is not in the table is kept, too.
    assert places["line 7"]["element"] == {"id": "five", "price": "1", "extra": "lost?", "Other": None}


def test_a_file_without_a_column_of_the_table_is_rescued_as_a_whole(zerobus, tmp_path):
    table = zerobus.create_table(TABLE, "id INT, _rescued_data VARIANT")
    (tmp_path / "in.csv").write_text("a;b\n1;2\n")
    assert send("--input", str(tmp_path / "in.csv"), RESCUE, "--delimiter", ";") == 0
    assert [json.loads(row["_rescued_data"]) for row in table.to_arrow().to_pylist()] == [{"a": "1", "b": "2"}]
