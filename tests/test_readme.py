"""What README.md shows runs as it is; docs/index.md shows the same commands."""

import ast
import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import typing
import venv
from pathlib import Path

import apache_beam as beam
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_zerobus import WriteToZerobus
from tests.docs.steps import running_emulator


class Reading(typing.NamedTuple):
    device: str
    co2: int


@dataclasses.dataclass
class ReadingClass:
    device: str
    co2: int


READING = {"device": "attic", "co2": 417}
ELEMENTS = {
    "dict": READING,
    "beam.Row": beam.Row(**READING),
    "NamedTuple": Reading(**READING),
    "dataclass": ReadingClass(**READING),
    "str": json.dumps(READING),
    "bytes": json.dumps(READING).encode(),
    "RecordBatch": pa.RecordBatch.from_pylist([READING]),
    "Table": pa.Table.from_pylist([READING]),
}

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
UV = Path(sys.executable).parent / "uv"
ROWS = '[{"device": "attic", "co2": 417}]'
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def command(start):
    """Return the README's one command that starts like this."""
    [found] = [line for line in README.splitlines() if line.startswith(start)]
    return found


@pytest.fixture
def table(emulator, monkeypatch):
    monkeypatch.setenv("ZEROBUS_ENDPOINT", emulator.endpoint)
    monkeypatch.setenv("DATABRICKS_HOST", emulator.workspace_url)
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", emulator.client_id)
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", emulator.client_secret)
    return emulator.create_table("main.iot.air_quality", "device STRING NOT NULL, co2 INT")


def test_the_pipeline(table):
    exec(SNIPPETS[0].replace("beam.Pipeline()", "beam.Pipeline(runner=FnApiRunner())"), {"FnApiRunner": FnApiRunner})
    assert sorted(table.to_arrow().to_pylist(), key=str) == [
        {"device": "attic", "co2": 417},
        {"device": "cellar", "co2": 655},
    ]


@pytest.mark.parametrize("kind", ELEMENTS)
def test_the_pipeline_with_each_kind_of_element(table, kind):
    start, end = SNIPPETS[0].index("beam.Create("), SNIPPETS[0].index("])") + 2
    example = SNIPPETS[0][:start] + "beam.Create([element])" + SNIPPETS[0][end:]
    example = example.replace("beam.Pipeline()", "beam.Pipeline(runner=FnApiRunner())")
    exec(example, {"FnApiRunner": FnApiRunner, "element": ELEMENTS[kind]})
    assert table.to_arrow().to_pylist() == [READING]


@pytest.mark.parametrize(
    "rows",
    [[READING], pd.DataFrame([READING]), pl.DataFrame([READING]), ELEMENTS["Table"]],
    ids=["list", "pandas", "polars", "Table"],
)
def test_the_writer_with_each_kind_of_rows(table, rows):
    exec(SNIPPETS[1].replace(ROWS, "rows"), {"rows": rows})
    assert table.to_arrow().to_pylist() == [READING]


def test_the_writer(table, capsys):
    exec(SNIPPETS[1], {})
    exec(SNIPPETS[1].replace(ROWS, "rows"), {"rows": pa.record_batch({"device": ["attic", None]})})
    assert table.count_rows() == 2
    assert "device" in capsys.readouterr().out


def test_the_dead_letters(table, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows = pipeline | beam.Create([{"device": "attic"}, {"co2": 4}])
        exec(SNIPPETS[2], {"rows": rows, "beam": beam, "WriteToZerobus": WriteToZerobus})
    assert table.to_arrow()["device"].to_pylist() == ["attic"]
    assert "null_in_not_null_column" in capsys.readouterr().out
    [kept] = (tmp_path / "dead-letters" / "today").iterdir()
    assert json.loads(kept.read_text("utf-8"))["element"] == {"co2": 4}


@pytest.mark.skipif(os.name == "nt", reason="the README's commands are for a POSIX shell")
@pytest.mark.timeout(400)
def test_the_commands_from_the_emulator_to_the_table(tmp_path):
    emulator, read = command("beam-zerobus emulator"), command('python -c "from deltalake')
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    places = {"cwd": tmp_path, "text": True, "env": environment}
    with running_emulator(emulator, tmp_path, environment) as exported:
        places["env"] = environment | exported
        subprocess.run([sys.executable, "-c", SNIPPETS[0]], check=True, timeout=150, **places)
        shown = subprocess.check_output(["bash", "-c", read], timeout=150, **places)
    assert sorted(ast.literal_eval(shown), key=str) == [
        {"device": "attic", "co2": 417},
        {"device": "cellar", "co2": 655},
    ]


def test_docs_index_shows_the_same_commands():
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    assert f"\n{command('beam-zerobus emulator')}\n" in index
    assert f"\n{command('python -c')}\n" in index


def test_the_extras_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert {"emulator", "otlp", "cli", "yaml"} <= set(re.findall(r'"\.\[(\w+)\]"', README)) <= set(extras)


@pytest.mark.hostile
@pytest.mark.skipif(not UV.exists(), reason="uv resolves the extras; make installs it")
@pytest.mark.parametrize("line", re.findall(r"^pip install (\S+)", README, re.MULTILINE))
def test_each_line_of_the_installation_can_be_installed(line, tmp_path):
    venv.create(tmp_path / "venv", with_pip=False, symlinks=os.name != "nt")
    [python] = [path for path in (tmp_path / "venv").glob("*/python*") if path.stem == "python"]
    command = [UV, "pip", "install", "--dry-run", "--python", python, *shlex.split(line)]
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=False, timeout=250, text=True, stderr=subprocess.PIPE
    )
    assert done.returncode == 0, done.stderr
    assert "beam-zerobus" in done.stderr


def test_it_is_read_in_two_minutes():
    prose = re.sub(r"```.*?```|<!--.*?-->", "", README, flags=re.DOTALL)
    prose = re.sub(r"\]\([^)]*\)", "]", prose)
    assert len(re.findall(r"[^\s|#*`-]\S*", prose)) <= 620


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
