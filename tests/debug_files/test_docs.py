"""Every example of docs/debug-files.md, run unchanged."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from .samples import TABLE, air
from .test_writer import open_writer, write

PAGE = (Path(__file__).parents[2] / "docs" / "debug-files.md").read_text("utf-8")
ROWS = 12


def blocks(heading: str, language: str) -> str:
    section = PAGE.partition(f"# {heading}\n")[2].partition("\n#")[0]
    found = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found, heading
    return "\n".join(found)


@pytest.fixture(params=["closed", pytest.param("open", marks=pytest.mark.hostile)])
def debug_directory(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Files of a writer that is closed, and of one that still writes."""
    writer = open_writer(tmp_path / "debug")
    for start in range(0, ROWS, 3):
        write(writer, start)
    if request.param == "closed":
        writer.close()
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "debug"
    writer.close()


@pytest.mark.usefixtures("debug_directory")
@pytest.mark.parametrize(
    ("heading", "name", "rows"),
    [
        ("Python", "went_in", ROWS),
        ("Python", "was_sent", ROWS),
        ("pyarrow", "table", ROWS),
        ("Polars", "frame", ROWS),
        ("DuckDB", "result", 7),
    ],
)
def test_python_recipe(heading: str, name: str, rows: int) -> None:
    namespace: dict[str, object] = {}
    exec(blocks(heading, "python"), namespace)
    assert len(namespace[name]) == rows
    if heading == "pyarrow":
        assert namespace["table"] == pa.Table.from_batches([air(start) for start in range(0, ROWS, 3)])


def run(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run shell commands with the real protoc (of grpcio-tools) and our command."""
    programs = directory.parent / "bin"
    programs.mkdir(exist_ok=True)
    for program, module in (("protoc", "grpc_tools.protoc"), ("beam-zerobus", "beam_zerobus.cli")):
        call = "from beam_zerobus.cli import main; raise SystemExit(main())" if program != "protoc" else None
        command = [sys.executable, *(["-c", call] if call else ["-m", module])]
        (programs / program).write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        (programs / program).chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["sh", "-ec", script], check=False, capture_output=True, text=True, env=environment, cwd=directory.parent
    )


@pytest.mark.skipif(sys.platform == "win32", reason="the recipes are for a POSIX shell")
def test_protoc_recipe(debug_directory: Path) -> None:
    done = run(blocks("protoc", "console"), debug_directory)
    assert done.stderr == ""
    assert done.stdout.count("rows {") == ROWS
    assert re.findall(r"id: (\d+)", done.stdout) == [str(i) for i in range(ROWS)]


@pytest.mark.skipif(sys.platform == "win32", reason="the recipes are for a POSIX shell")
def test_inspect_recipes(debug_directory: Path) -> None:
    script = blocks("Inspect them", "console").replace("pip install '.[cli]'\n", "")
    done = run(script, debug_directory)
    assert (done.returncode, done.stderr) == (0, "")
    assert TABLE in done.stdout


def test_protoc_decodes_each_file_with_the_descriptor_set_beside_it(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, max_file_bytes=2_000, max_files_retained=None)
    for start in range(0, 300, 10):
        write(writer, start, rows=10)
    writer.close()
    decoded: list[str] = []
    files = sorted((tmp_path / "zerobus" / "proto").glob("*.proto"))
    assert len(files) > 3
    for file in files:
        with file.open("rb") as data:
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "grpc_tools.protoc",
                    "--decode=Rows",
                    f"--descriptor_set_in={file}.desc",
                    "rows.proto",
                ],
                check=True,
                stdin=data,
                capture_output=True,
                text=True,
            )
        decoded += re.findall(r"id: (\d+)", done.stdout)
    assert decoded == [str(i) for i in range(300)]
