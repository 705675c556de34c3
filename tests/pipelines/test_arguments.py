"""What the programs are told, checked before anything runs."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_zerobus.programs import command, files_to_zerobus, replay_dead_letters
from tests.pipelines.readings import TABLE, send


@pytest.mark.parametrize(("schema", "said"), [([], True), (["--zerobus_schema=unity_catalog"], False)])
def test_a_dry_run_says_that_it_does_not_look_at_the_table(zerobus, tmp_path, capsys, schema, said):
    zerobus.create_table(TABLE, "id INT")
    pq.write_table(pa.table({"id": pa.array([1], pa.int32())}), tmp_path / "in.parquet")
    assert send("--input", str(tmp_path / "in.parquet"), "--zerobus_dry_run", *schema) == 0
    assert ("--zerobus_schema=unity_catalog checks" in capsys.readouterr().out) == said


@pytest.mark.parametrize("name", ["json", "jsonl"])
def test_json_has_two_names(name):
    assert files_to_zerobus.make_parser().parse_args(["--input", "-", "--format", name]).format == "jsonl"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--input", "{}/none-*.csv"], "No file matches {}/none-*.csv"),
        (["--input", "{}/in.txt"], "The ending of {}/in.txt is that of no known format: give --format"),
        (["--input", "{}/in.csv", "--zerobus_table=main.files"], "has 2 parts"),
        (["--input", "{}/in.csv", "--zerobus_table="], "Name the table: --zerobus_table=catalog.schema.table"),
        (["--input", "{}/delta"], "{}/delta/main/readings is a Delta table, whose files hold deleted rows too"),
        (["--input", "{}/delta/main/readings/"], "{}/delta/main/readings is a Delta table"),
        (["--input", "{}/texts"], "No file below {}/texts ends in .parquet, .csv"),
        (["--input", "{}/in.csv", "--zerobus_dry_run"], "give --zerobus_schema=unity_catalog"),
        (["--input", "{}/in.csv", "--zerobus_table=main.files.{{kind}}"], "has a field"),
        (["--input", "{}/in.csv", "--zerobus_tabel=x"], "did you mean --zerobus_table?"),
        (["--inptu", "{}/in.csv"], "There is no flag --inptu: did you mean --input?"),
        (
            ["--input", "{}/in.csv", "--dead-letters={}/d"],
            "There is no flag --dead-letters: did you mean --dead_letters?",
        ),
        (["--input", "{}/in.csv", "--endpoint=x"], "There is no flag --endpoint: did you mean --zerobus_endpoint?"),
        (["--input", "{}/in.csv", "--xyzzy", "1"], "There is no flag --xyzzy: see --help for the flags"),
        (["--input", "{}/in.csv", "--runner=FlinkRunner", "--runer=x"], "did you mean --runner?"),
        (["--input", "{}/in.csv", "--zerobus_table=main.files.none"], "table main.files.none does not exist"),
        (["--input", "{}/in.csv", "--delimiter=;"], "The header of {}/in.csv"),
        (["--input", "{}/utf16.csv"], "The header of {}/utf16.csv is not text in UTF-8: encode the file as UTF-8"),
        (
            ["--input", "{}/in.csv", "--delimiter=;", "--zerobus_on_unknown_fields=ignore"],
            "names no column of the table",
        ),
        (["--input", "{}/in.csv", "--zerobus_schema=id INT, co3 INT"], "did you mean 'co3'?"),
        (["--input", "{}/in.csv", "--zerobus_schema=id INT, co2 MAP<STRING, INT>"], "which CSV cannot represent"),
        (["--input", "{}/in.csv", "--dead_letters", "{}"], "holds the dead letters of an earlier run"),
        (
            ["--input", "{}/in.csv", "--dead_letters", "{}/in.txt"],
            "{}/in.txt cannot hold dead letters",
        ),
        (
            ["--input", "{}/in.csv", "--dead_letters", "{}/in.txt/d"],
            "{}/in.txt is not a directory that you may write to",
        ),
        (
            ["--input", "{}/in.csv", "--dead_letters", "{}/d", "--zerobus_on_bad_rows=raise"],
            "--zerobus_on_bad_rows=raise fails on them",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(zerobus, tmp_path, capsys, arguments, reason):
    table = zerobus.create_table(TABLE, "id INT, co2 INT")
    for name in ("in.csv", "in.txt"):
        (tmp_path / name).write_text("id,co2\n1,2\n")
    (tmp_path / "utf16.csv").write_text("id,co2\n1,2\n", "utf-16")
    for name in ("delta/main/readings/_delta_log/0.json", "delta/main/readings/0.parquet", "texts/in.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert send(*(argument.format(tmp_path) for argument in arguments)) == 2
    assert reason.format(tmp_path.as_posix()) in capsys.readouterr().err.replace(os.sep, "/")
    assert table.count_rows() == 0


def test_a_flag_that_only_the_service_of_a_runner_knows_is_passed_on():
    arguments = ["--runner=FlinkRunner", "--checkpointing_interval=3000", f"--zerobus_table={TABLE}"]
    _, options = command.arguments_of(command.parser_of("files_to_zerobus", "Send files."), arguments)
    assert options.get_all_options(retain_unknown_options=True)["checkpointing_interval"] == "3000"


def test_wrong_arguments_end_with_the_reason(capsys):
    for arguments, reason in (([], "--input"), (["--input", "x.csv", "--delimiter", "ab"], "is not one character")):
        with pytest.raises(SystemExit) as ended:
            files_to_zerobus.main(arguments)
        assert ended.value.code == 2
        assert reason in capsys.readouterr().err


@pytest.mark.parametrize("program", [files_to_zerobus, replay_dead_letters])
def test_help_names_the_options_of_the_program_and_of_the_sink(program, capsys):
    with pytest.raises(SystemExit) as ended:
        program.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in ("--input", "--dead_letters", "--zerobus_table", "--runner"))


@pytest.mark.parametrize("kept", [True, False])
def test_reasons_of_rows_name_flags(zerobus, tmp_path, capsys, kept):
    zerobus.create_table(TABLE, "at TIMESTAMP")
    (tmp_path / "in.jsonl").write_text('{"at": "2026-01-01T00:00:00"}\n{"at": 1, "co2": 2}\n')
    dead = ["--dead_letters", str(tmp_path / "dead")] if kept else []
    assert send("--input", str(tmp_path / "in.jsonl"), *dead) == (0 if kept else 1)
    said = "".join(path.read_text() for path in tmp_path.glob("dead/*")) if kept else capsys.readouterr().out
    assert "--zerobus_assume_timezone=" in said
    assert "--zerobus_on_unknown_fields=" in said or not kept


@pytest.fixture
def one_row(zerobus, tmp_path):
    zerobus.create_table(TABLE, "id INT")
    (tmp_path / "in.jsonl").write_text('{"id": 1}\n')
    return tmp_path / "in.jsonl"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ("DATABRICKS_CLIENT_SECRET", "or name other variables with --zerobus_client_id_env"),
        ("DATABRICKS_CLIENT_SECRET=dapi123", "client_secret is a personal access token"),
        (
            "DATABRICKS_CLIENT_SECRET=wrong",
            "rejected the credentials (401, invalid_client): check client id and secret",
        ),
        ("ZEROBUS_ENDPOINT=http://127.0.0.1:1", "or allow more with --zerobus_max_retries and --zerobus_max_backoff"),
        (
            "DATABRICKS_HOST=http://127.0.0.1:1",
            "reached (ConnectionError): check the workspace's URL (--zerobus_workspace_url, or DATABRICKS_HOST)",
        ),
        (
            "DATABRICKS_HOST",
            "--zerobus_workspace_url is not set: pass --zerobus_workspace_url=... or set DATABRICKS_HOST",
        ),
        ("ZEROBUS_ENDPOINT=https://dbc-1-2.cloud.databricks.com", "$ZEROBUS_ENDPOINT looks like the workspace's"),
        (
            "DATABRICKS_HOST=https://1.zerobus.eu-west-1.cloud.databricks.com",
            "$DATABRICKS_HOST looks like the Zerobus endpoint: write the address that the workspace has in the browser",
        ),
    ],
)
def test_wrong_addresses_and_credentials_are_named_in_one_line(one_row, capsys, monkeypatch, changed, reason):
    variable, equals, value = changed.partition("=")
    monkeypatch.setenv(variable, value) if equals else monkeypatch.delenv(variable)
    assert send("--input", str(one_row), "--zerobus_max_retries=0") in (1, 2)
    said = "".join(capsys.readouterr())
    assert reason in said
    assert "while running" not in said
    assert "Traceback" not in said


def test_credentials_that_are_given_twice(one_row, capsys):
    assert send("--input", str(one_row), "--profile", "ingest", "--zerobus_client_id_env=ID") == 2
    assert "given twice: drop the profile, or" in capsys.readouterr().err


def test_a_profile_without_a_file_is_named_and_nothing_else_signs_in(one_row, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
    assert send("--input", str(one_row), "--profile", "ingest") in (1, 2)
    assert "The profile 'ingest' cannot be read, as there is no file" in "".join(capsys.readouterr())


def test_a_failed_run_leaves_no_empty_folder(zerobus, tmp_path, capsys):
    zerobus.create_table(TABLE, "id INT")
    (tmp_path / "in.parquet").write_bytes(b"junk")
    assert send("--input", str(tmp_path / "in.parquet"), "--dead_letters", str(tmp_path / "dead")) == 1
    assert [path.name for path in (tmp_path / "dead").iterdir()] == ["unfinished-run"]


def test_the_header_of_a_csv_file_has_no_arrow_type(zerobus, tmp_path, capsys):
    zerobus.create_table(TABLE, "id INT")
    (tmp_path / "in.csv").write_text("id,colour\n1,red\n")
    assert send("--input", str(tmp_path / "in.csv")) == 2
    assert "in.csv: column 'colour' is not in the table; leave it out, set --zerobus" in capsys.readouterr().err
