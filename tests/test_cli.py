import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_zerobus import DebugFiles, RowError
from beam_zerobus.cli import main
from beam_zerobus.debug_files import DebugFileWriter
from beam_zerobus.debug_files.framing import frame
from beam_zerobus.encoding import ProtoEncoder
from beam_zerobus.schema import TableSchema

TABLE = "main.iot.air_quality"
SCHEMA = TableSchema.from_ddl("id BIGINT NOT NULL, name STRING, ts TIMESTAMP")


@pytest.fixture
def debug(tmp_path: Path) -> Path:
    """Two batches; the second's protobuf side differs in one name."""
    encoder = ProtoEncoder(SCHEMA)
    writer = DebugFileWriter(
        DebugFiles(output_dir=tmp_path, max_file_bytes=1), table=TABLE, descriptor=encoder.descriptor, schema=SCHEMA
    )
    for start, sent in ((0, "[b]x"), (3, "y")):
        names = ["a", "[b]x", None]
        columns = {"id": range(start, start + 3), "name": names, "ts": pa.array([1, 2, 3], pa.timestamp("us", "UTC"))}
        batch = pa.record_batch(columns)
        records = encoder.encode(batch.set_column(1, "name", pa.array([names[0], sent, names[2]])))
        number = writer.write(batch, frame([record for payload in records for record in payload.records]))
    writer.reject(number, [RowError(0, "t", "why", "service")])
    writer.close()
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_inspect_shows_both_sides(
    debug: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = run(capsys, "inspect", debug)
    assert status == 0
    for text in (
        f"{TABLE}: arrow files in {debug / 'zerobus' / 'arrow'}",
        f"│ {TABLE}.arrow ",
        f"{TABLE}: proto files in {debug / 'zerobus' / 'proto'}",
        "timestamp[us, tz=UTC]",
        "1970-01-01T00:00:00.000003",
        "[b]x",
    ):
        assert text in out


def test_inspect_in_json(debug: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "inspect", debug, "--json", "--head", 1, "--columns", "id,name", "--where", "id>3")
    arrow, proto = json.loads(out)
    assert status == 0
    assert (arrow["format"], arrow["rows"], arrow["matching_rows"], arrow["rejected_rows"]) == ("arrow", 6, 2, 1)
    assert arrow["head"] == [{"id": 4, "name": "[b]x"}]
    assert proto["head"] == [{"id": 4, "name": "y"}]
    assert proto["schema"][0] == {"name": "id", "type": "int64", "nullable": False}
    assert proto["time_span"] == {"ts": ["1970-01-01T00:00:00.000002+00:00", "1970-01-01T00:00:00.000003+00:00"]}
    assert len(proto["files"]) == 2
    assert [file["batches"] for side in (arrow, proto) for file in side["files"]] == [1, 1, None, None]


def test_inspect_one_file(debug: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = debug / "zerobus" / "proto" / f"{TABLE}.proto"
    (whole,) = json.loads(run(capsys, "inspect", path, "--json")[1])
    (alone,) = json.loads(run(capsys, "inspect", path, "--json", "--this-file-only")[1])
    assert (whole["rows"], alone["rows"]) == (6, 3)


def test_diff(debug: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = run(capsys, "inspect", debug, "--diff")
    assert status == 1
    assert "differs" in out
    assert "same" in out
    status, out, _ = run(capsys, "inspect", debug / "zerobus" / "arrow" / f"{TABLE}.arrow", "--diff", "--json")
    same, other = json.loads(out)
    assert (status, same["is_same"], other["is_same"]) == (1, True, False)
    assert other["differences"] == [{"batch": 0, "row": 1, "column": "name", "arrow": "[b]x", "proto": "y"}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no debug file (.arrow, .proto) at"),
        ([".", "--where", "nothing=1"], "there is no column 'nothing'"),
        ([".", "--where", "x"], "is not a condition"),
        ([".", "--columns", "nothing"], "there is no column 'nothing'"),
    ],
)
def test_an_error_is_one_line(
    debug: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    status, out, err = run(capsys, "inspect", debug / arguments[0], *arguments[1:])
    assert (status, out) == (2, "")
    assert err.startswith("beam-zerobus: ")
    assert err.count("\n") == 1
    assert message in err


def test_without_rich_the_message_names_the_remedy_and_json_works(debug: Path) -> None:
    script = "import sys; sys.modules['rich'] = None; from beam_zerobus.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "inspect", str(debug)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install '.[cli]'" in done.stderr
    assert "--json" in done.stderr
    done = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)[0]["rows"] == 6


@pytest.mark.parametrize("suffix", [".ddl", ".json", ".arrow", ".parquet", None])
def test_schema_of_any_source(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str | None) -> None:
    ddl = "id BIGINT NOT NULL, ts TIMESTAMP"
    schema = TableSchema.from_ddl(ddl)
    file = tmp_path / f"table{suffix}"
    match suffix:
        case ".ddl":
            file.write_text(ddl)
        case ".json":
            columns = [
                {
                    "name": "id",
                    "type_text": "bigint",
                    "type_json": '"long"',
                    "type_name": "LONG",
                    "position": 0,
                    "nullable": False,
                },
                {
                    "name": "ts",
                    "type_text": "timestamp",
                    "type_json": '"timestamp"',
                    "type_name": "TIMESTAMP",
                    "position": 1,
                    "nullable": True,
                },
            ]
            file.write_text(json.dumps({"name": "t", "columns": columns}))
        case ".arrow":
            with pa.ipc.new_stream(file, schema.to_arrow()):
                pass
        case ".parquet":
            pq.write_table(schema.to_arrow().empty_table(), file)
    source = ddl if suffix is None else file
    assert run(capsys, "schema", source, "--format", "ddl")[:2] == (0, ddl + "\n")
    assert "required int64 id = 1;" in run(capsys, "schema", source, "--message-name", "Air")[1]
    assert "message Air {" in run(capsys, "schema", source, "--message-name", "Air")[1]
    assert "id: int64 not null" in run(capsys, "schema", source, "--format", "arrow")[1]


@pytest.mark.parametrize("name", ["readings.csv", "my readings.avro"])
def test_a_file_of_another_kind_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (tmp_path / name).write_text("device,co2\n")
    status, _, err = run(capsys, "schema", tmp_path / name)
    assert status == 2
    assert f"{tmp_path / name}: a schema is read from a .sql, .ddl, .json, .arrow or .parquet file" in err


def test_a_wrong_schema_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "schema", "id BIGINTT")
    assert status == 2
    assert "BIGINTT" in err
    status, _, err = run(capsys, "schema", tmp_path / "none.json")
    assert status == 2
    assert "none.json" in err


@pytest.mark.parametrize("comment", ["", " COMMENT 'in m.s, at most'"])
def test_columns_are_longer_than_a_file_name_may_be(comment: str, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ", ".join(f"column_{number} BIGINT{comment}" for number in range(100))
    assert main(["schema", columns, "--format", "ddl"]) == 0
    assert "column_99 BIGINT" in capsys.readouterr().out
    assert main(["create-table", "main.iot.air", "--schema", columns, "--principal", "1", "--warehouse-id", ""]) == 0
    assert "column_99 BIGINT" in capsys.readouterr().out
    main(["check", "main.iot.air", "--schema", columns])
    assert "too long" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    "command",
    ["check", "create-table", "schema", "send", "kafka", "replay", "inspect", "gateway", "emulator", "replay-calls"],
)
def test_help_fits_80_columns(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []


def test_the_page_of_commands_lists_each(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    names = re.findall(r"^    ([a-z-]+)(?:  |$)", capsys.readouterr().out, re.MULTILINE)
    page = (Path(__file__).parents[1] / "docs/commands.md").read_text("utf-8")
    assert [name for name in names if f"`{name}`" not in page] == []


def test_the_command_is_installed_and_has_help() -> None:
    command = Path(sys.executable).with_name("beam-zerobus")
    done = subprocess.run([command, "--help"], check=True, capture_output=True, text=True)
    for name in ("inspect", "schema", "emulator"):
        assert name in done.stdout
    assert "`" not in done.stdout
    assert "see --help" not in done.stdout


def test_the_emulator_has_its_own_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["emulator", "--help"])
    assert ended.value.code == 0
    assert "--storage-dir" in capsys.readouterr().out


def test_without_its_extra_the_emulator_names_the_remedy() -> None:
    script = "import sys; sys.modules['grpc'] = None; from beam_zerobus.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", script, "emulator"], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "beam-zerobus emulator needs grpc, which is missing: run pip install '.[emulator]' in a clone of beam_zerobus\n"
    )


@pytest.mark.parametrize("program", ["send", "kafka", "replay"])
def test_the_programs_have_help_of_their_own(program, capsys):
    with pytest.raises(SystemExit) as ended:
        main([program, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: beam-zerobus {program}" in shown
    assert "--zerobus_table" in shown
    template = {"send": "'main.iot.{folder}'", "kafka": "'main.iot.{topic}'"}.get(program, "")
    assert template in shown


def test_without_its_extra_a_program_names_the_remedy():
    script = "import sys; sys.modules['rich'] = None; from beam_zerobus.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", script, "send"], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "beam-zerobus send needs rich, which is missing: run pip install '.[cli]' in a clone of beam_zerobus\n"
    )


PAGE = (Path(__file__).parents[1] / "docs" / "schema.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("command", "printed"), re.findall(r"```console\nbeam-zerobus ([^\n]*)\n```\n\n```text\n(.*?)```", PAGE, re.DOTALL)
)
def test_the_page_of_schemas_shows_what_is_printed(tmp_path, capsys, monkeypatch, command, printed):
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"device": ["attic"], "co2": pa.array([417], pa.int32())}), "readings.parquet")
    assert run(capsys, *shlex.split(command)) == (0, printed, "")


WORDS = ["日本 →", "😀 é"]


@pytest.fixture
def run_in_cp1252(tmp_path: Path):
    """Run the command with the encoding that a pipe has on Windows in many countries."""
    batch = pa.record_batch({"word": WORDS})
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as file, pa.ipc.new_stream(file, batch.schema) as writer:
        writer.write_batch(batch)

    def run(*arguments: str) -> tuple[int, str, str]:
        script = "import sys; from beam_zerobus.cli import main; sys.exit(main())"
        ended = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            capture_output=True,
            env={**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"},
            check=False,
        )
        return ended.returncode, ended.stdout.decode("cp1252"), ended.stderr.decode("cp1252")

    return run


def test_an_output_whose_encoding_lacks_characters_gets_escapes(tmp_path: Path, run_in_cp1252) -> None:
    status, output, errors = run_in_cp1252("inspect", str(tmp_path))
    assert (status, errors) == (0, "")
    assert r"\u65e5\u672c \u2192" in output
    assert r"\U0001f600 é" in output
    status, output, errors = run_in_cp1252("inspect", str(tmp_path), "--json")
    assert (status, errors) == (0, "")
    assert [row["word"] for row in json.loads(output)[0]["head"]] == WORDS


def test_a_schema_is_never_written_with_other_characters(run_in_cp1252) -> None:
    status, output, errors = run_in_cp1252("schema", "id INT COMMENT 'é'", "--format", "ddl")
    assert (status, output.strip(), errors) == (0, "id INT COMMENT 'é'", "")
    status, output, errors = run_in_cp1252("schema", "id INT COMMENT '日'", "--format", "ddl")
    assert (status, output) == (2, "")
    assert "standard output is cp1252, which has no '\\u65e5': set PYTHONIOENCODING=utf-8" in errors
