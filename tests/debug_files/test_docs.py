"""Every example of docs/debug-files.md, run unchanged."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_zerobus import DebugFiles, ZerobusWriter
from beam_zerobus.emulator import Emulator
from tests.runners.support import zerobus_environment

from .samples import TABLE
from .test_writer import open_writer, write

PAGE = (Path(__file__).parents[2] / "docs" / "debug-files.md").read_text("utf-8")
ROWS = [{"device": "attic", "co2": 417}, {"device": "cellar", "co2": 655}]


def blocks(heading: str, language: str) -> str:
    section = PAGE.partition(f"# {heading}\n")[2].partition("\n#")[0]
    found = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found, heading
    return "\n".join(found)


@pytest.fixture(params=["closed", pytest.param("open", marks=pytest.mark.hostile)])
def debug_directory(
    request: pytest.FixtureRequest, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """What the page's first example writes, and the same of a writer that is still open."""
    monkeypatch.chdir(tmp_path)
    for name, value in zerobus_environment(emulator).items():
        monkeypatch.setenv(name, value)
    emulator.create_table(TABLE, "device STRING, co2 INT")
    if request.param == "closed":
        exec(blocks("Debug files", "python"), {})
        yield tmp_path / "debug"
        return
    with ZerobusWriter(TABLE, debug_files=DebugFiles(output_dir="debug")) as writer:
        writer.send(ROWS)
        yield tmp_path / "debug"


@pytest.mark.usefixtures("debug_directory")
@pytest.mark.parametrize(
    ("heading", "name"),
    [("Python", "went_in"), ("Python", "was_sent"), ("pyarrow", "table"), ("Polars", "frame"), ("DuckDB", "result")],
)
def test_python_recipe(heading: str, name: str) -> None:
    namespace: dict[str, object] = {}
    exec(blocks(heading, "python"), namespace)
    assert len(namespace[name]) == len(ROWS)
    if heading == "pyarrow":
        assert namespace["table"].to_pylist() == ROWS


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
    assert done.stdout.count("rows {") == len(ROWS)
    assert re.findall(r"co2: (\d+)", done.stdout) == [str(row["co2"]) for row in ROWS]


@pytest.mark.skipif(sys.platform == "win32", reason="the recipes are for a POSIX shell")
@pytest.mark.parametrize("debug_directory", ["closed"], indirect=True)
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
