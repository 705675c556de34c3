"""Folder to table, and topic to table: the programs' templates."""

from __future__ import annotations

import io
import json

import pytest

from beam_zerobus.programs import replay_dead_letters
from beam_zerobus.programs.command import InputError
from beam_zerobus.programs.tables import folder_of, tables_of
from tests.pipelines.readings import DDL, ROWS, arrived, send, write_avro, write_csv, write_jsonl, write_parquet

WRITE = {"a.parquet": write_parquet, "b.csv": write_csv, "c.jsonl": write_jsonl, "d.avro": write_avro}
TEMPLATE = "--zerobus_table=main.files.{folder}"


@pytest.fixture
def folders(tmp_path, zerobus, monkeypatch):
    """Two folders with files of each format, for two tables of different shape; and standard input."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"id\n1\n")))
    for place, folder in enumerate(("air", "water-2")):
        (tmp_path / folder).mkdir()
        for number, (name, write) in enumerate(WRITE.items()):
            write(tmp_path / folder / name, ROWS[place * 4 + number :: 8])
    zerobus.create_table("main.files.air", DDL)
    zerobus.create_table("main.files.water_2", f"{DDL}, more STRING")
    return tmp_path


@pytest.mark.hostile
@pytest.mark.parametrize("dead_letters", [[], ["--dead_letters"]], ids=["", "with dead letters"])
def test_each_folder_goes_into_its_table(zerobus, folders, tmp_path, dead_letters):
    options = [*dead_letters, str(tmp_path / "letters")] if dead_letters else []
    assert send("--input", str(folders / "air"), f"{folders}/water-2/*", TEMPLATE, *options) == 0
    by_table = {name: arrived(zerobus, f"main.files.{name}") for name in ("air", "water_2")}
    every = [{key: value for key, value in row.items() if key != "more"} for rows in by_table.values() for row in rows]
    assert sorted(every, key=lambda row: row["id"]) == ROWS
    assert {row["id"] % 8 for row in by_table["air"]} == {0, 1, 2, 3}


@pytest.mark.hostile
def test_rejected_rows_are_kept_by_table_and_sent_again_to_theirs(zerobus, tmp_path, capsys):
    tables = [zerobus.create_table(f"main.files.t{number}", "id INT NOT NULL") for number in range(2)]
    for number in range(2):
        (tmp_path / f"t{number}").mkdir()
        (tmp_path / f"t{number}" / "in.jsonl").write_text(f'{{"id": {number}}}\n{{"id": "wrong {number}"}}\n')
    letters = tmp_path / "letters"
    assert send("--input", f"{tmp_path}/*/in.jsonl", TEMPLATE, "--dead_letters", str(letters)) == 0
    assert "2 rows written, 2 failed" in capsys.readouterr().out
    for number in range(2):
        directory = letters / f"main.files.t{number}"
        (path,) = directory.iterdir()
        assert json.loads(path.read_text())["table"] == f"main.files.t{number}"
        path.write_text(path.read_text().replace(f'\\"wrong {number}\\"', str(number + 10)))
        assert replay_dead_letters.main(["--input", str(directory), f"--zerobus_table=main.files.t{number}"]) == 0
        assert sorted(tables[number].to_arrow()["id"].to_pylist()) == [number, number + 10]
    assert send("--input", f"{tmp_path}/*/in.jsonl", TEMPLATE, "--dead_letters", str(letters)) == 2
    assert "holds the dead letters of an earlier run" in capsys.readouterr().err


@pytest.mark.hostile
def test_rejected_rows_of_all_tables_are_sent_again_at_once(zerobus, tmp_path, capsys):
    tables = [zerobus.create_table(f"main.files.t{number}", "id INT NOT NULL") for number in range(2)]
    for number in range(2):
        (tmp_path / f"t{number}").mkdir()
        (tmp_path / f"t{number}" / "in.jsonl").write_text(f'{{"id": "wrong"}}\n{{"id": "still wrong {number}"}}\n')
    letters, still = tmp_path / "letters", tmp_path / "still"
    assert send("--input", f"{tmp_path}/*/in.jsonl", TEMPLATE, "--dead_letters", str(letters)) == 0
    for number, path in enumerate(sorted(letters.rglob("*.jsonl"))):
        path.write_text(path.read_text().replace('\\"wrong\\"', str(number)))
    again = ["--input", str(letters), "--dead_letters", str(still)]
    assert replay_dead_letters.main([*again, "--zerobus_table=main.files.t0"]) == 2
    assert "is not that of main.files.t1: name one of the directories" in capsys.readouterr().err
    assert replay_dead_letters.main([*again, TEMPLATE]) == 0
    assert "2 rows written, 2 failed" in capsys.readouterr().out
    assert [table.to_arrow()["id"].to_pylist() for table in tables] == [[0], [1]]
    kept = {path.parent.name: path.read_text() for path in still.rglob("*.jsonl")}
    assert {name: "still wrong 0" in text for name, text in kept.items()} == {
        "main.files.t0": True,
        "main.files.t1": False,
    }


def test_a_single_folder_too_has_a_directory_for_its_dead_letters(zerobus, tmp_path, capsys):
    zerobus.create_table("main.files.air", "id INT NOT NULL")
    (tmp_path / "air").mkdir()
    (tmp_path / "air" / "in.jsonl").write_text('{"id": 1}\n{"id": "wrong"}\n')
    letters = tmp_path / "letters"
    assert send("--input", f"{tmp_path}/air", TEMPLATE, "--dead_letters", str(letters)) == 0
    assert [path.parent.name for path in letters.rglob("*.jsonl")] == ["main.files.air"]
    assert replay_dead_letters.main(["--input", str(letters / "main.files.air"), TEMPLATE]) == 2
    assert "has the dead letters of one table: name that, as --zerobus_table=" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["{0}/air", "--zerobus_table=main.files.{{folder}}_{{kind}}"], "chooses a table only by the folder"),
        (["-", "--format=csv", "--zerobus_table=main.files.{{folder}}"], "standard input has no folder"),
        (
            ["{0}/air", "{0}/water-2", "--zerobus_table=main.files.{{folder}}", "--zerobus_max_open_tables=1"],
            "raise it",
        ),
        (["{0}/air", "--zerobus_table={{folder}}"], "has 1 part"),
        (["{0}/air", "--zerobus_table=main.files.none_{{folder}}"], "table main.files.none_air does not exist"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(zerobus, folders, capsys, arguments, reason):
    assert send("--input", *(argument.format(folders) for argument in arguments)) == 2
    assert reason in capsys.readouterr().err
    assert zerobus.stats.streams_opened == 0


def test_names_of_folders_and_topics_become_names_of_tables():
    assert tables_of("main.kafka.{topic}", "topic", ["air", "orders.v1", "air"]) == {
        "air": "main.kafka.air",
        "orders.v1": "main.kafka.orders_v1",
    }
    assert tables_of("main.{topic}.t_{kind}", "topic", ["air"]) == {"air": "main.air.t_{kind}"}
    with pytest.raises(InputError, match=r"The topics 'a\.b' and 'a-b' both give the table main\.kafka\.a_b"):
        tables_of("main.kafka.{topic}", "topic", ["a.b", "a-b"])


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("gs://bucket/air/2026.parquet", "air"),
        ("/data/air/a.csv", "air"),
        ("air/a.csv", "air"),
        ("./x/../air/a.csv", "air"),
    ],
)
def test_the_folder_of_a_file(path, folder):
    assert folder_of(path) == folder
