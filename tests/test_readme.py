"""What README.md shows runs as it is; docs/index.md shows the same commands."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_zerobus import WriteToZerobus

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
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


def test_the_writer(table, capsys):
    exec(SNIPPETS[1], {"record_batch": pa.record_batch({"device": ["attic", None]})})
    assert table.count_rows() == 1
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
def test_the_commands_from_the_emulator_to_the_table(tmp_path):
    emulator, read = command("beam-zerobus emulator"), command('python -c "from deltalake')
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    places = {"cwd": tmp_path, "text": True, "env": environment}
    with subprocess.Popen(["bash", "-c", f"exec {emulator}"], stdout=subprocess.PIPE, **places) as running:
        try:
            printed = iter(running.stdout.readline, "Stop with Ctrl-C.\n")
            exports = [line for line in printed if line.startswith("export ")]
            assert len(exports) == len(set(exports)) == 8
            environment |= dict(line.removeprefix("export ").strip().split("=", 1) for line in exports[:4])
            subprocess.run([sys.executable, "-c", SNIPPETS[0]], check=True, timeout=60, **places)
            shown = subprocess.check_output(["bash", "-c", read], timeout=60, **places)
        finally:
            running.terminate()
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


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
