"""Paths of local files, with the separators that Windows has; elsewhere a backslash is part of a name."""

from __future__ import annotations

import os

import pytest

from beam_zerobus.programs.command import InputError
from beam_zerobus.programs.find_files import files_by_format
from tests.pipelines.readings import send

TABLE = "main.files.readings"


@pytest.mark.parametrize("separator", sorted({"/", os.sep}))
def test_patterns_and_directories_with_either_separator(zerobus, tmp_path, capsys, separator):
    table = zerobus.create_table(TABLE, "id INT NOT NULL")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "rows.csv").write_text("id\n1\nx\n")
    where = str(tmp_path).replace(os.sep, separator) + separator
    arguments = ["--input", f"{where}in{separator}*.csv", f"{where}in{separator}", "--dead_letters", f"{where}dead/"]
    assert send(*arguments) == 0
    assert table.to_arrow()["id"].to_pylist() == [1]
    assert send(*arguments) == 2
    assert "holds the dead letters of an earlier run" in capsys.readouterr().err


@pytest.mark.parametrize("end", ["", os.sep])
def test_hidden_files_and_a_delta_table_below_a_directory(tmp_path, end):
    for name in ("air/rows.csv", "air/.rows.csv", "_temporary/0/rows.csv", ".part/rows.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found, _ = files_by_format([f"{tmp_path}{end}"], None)
    assert [file.path for file in found["csv"]] == [str(tmp_path / "air" / "rows.csv")]
    (tmp_path / "table" / "_delta_log").mkdir(parents=True)
    (tmp_path / "table" / "_delta_log" / "0.json").touch()
    with pytest.raises(InputError) as raised:
        files_by_format([f"{tmp_path}{end}"], None)
    assert str(raised.value).startswith(f"{tmp_path / 'table'} is a Delta table")
