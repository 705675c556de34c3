"""What the README shows must run as it stands."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_zerobus import WriteToZerobus

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


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


def test_the_dead_letters(table, capsys):
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        rows = pipeline | beam.Create([{"device": "attic"}, {"co2": 4}])
        exec(SNIPPETS[2], {"rows": rows, "beam": beam, "WriteToZerobus": WriteToZerobus})
    assert table.to_arrow()["device"].to_pylist() == ["attic"]
    assert "null_in_not_null_column" in capsys.readouterr().out


def test_the_emulator_command(tmp_path):
    line = next(line for line in README.splitlines() if line.startswith("beam-zerobus emulator"))
    assert '--table "main.iot.air_quality=device STRING, co2 INT"' in line
    script = shutil.which("beam-zerobus", path=str(Path(sys.executable).parent))
    assert script is not None
    command = [script, "emulator", "--storage-dir", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--table", "main.iot.air_quality=device STRING, co2 INT"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as running:
        try:
            assert running.stdout is not None
            assert any("ZEROBUS_ENDPOINT" in running.stdout.readline() for _ in range(20))
        finally:
            running.terminate()


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parent.parent / target).exists(), target
