"""The pipelines that people run as they are, run as they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from deltalake import DeltaTable

from beam_zerobus.programs import replay_dead_letters
from beam_zerobus.sink.dead_letters import KeepDeadLetters
from pipelines import quickstart
from pipelines.flights import load_flights

ROOT = Path(__file__).parents[2]


@pytest.mark.hostile
def test_the_quickstart_brings_every_flight_and_its_query_runs(tmp_path):
    command = [sys.executable, "-m", "pipelines.quickstart", "--output", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "336,776" in run.stdout
    assert "All rows arrived" in run.stdout
    assert DeltaTable(tmp_path / "main" / "nyc" / "flights").to_pyarrow_table().num_rows == 336_776
    query = run.stdout.splitlines()[-1]
    answer = subprocess.run(query, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert "58665" in answer.stdout, answer.stderr


def test_the_quickstart_stays_on_this_machine_whatever_the_environment_says(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ZEROBUS_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(quickstart, "load_flights", lambda: load_flights().slice(0, 100))
    monkeypatch.setattr(quickstart, "run_with_progress", lambda *_, **options: pytest.fail(options["endpoint"]))
    with pytest.raises(pytest.fail.Exception) as sent:
        quickstart.main(["--output", str(tmp_path)])
    assert str(sent.value) != "http://127.0.0.1:1"
    assert "starting the emulator" in capsys.readouterr().out


def test_the_quickstart_says_what_differs():
    flights = load_flights().slice(0, 100)
    assert quickstart.check_arrived(flights, flights.take(list(reversed(range(100)))))
    with pytest.raises(quickstart.QuickstartError, match="100 rows were sent, but the table has 99"):
        quickstart.check_arrived(flights, flights.slice(1))
    changed = flights.set_column(0, flights.schema.field(0), pa.array([2014] * 100, flights.schema.field(0).type))
    with pytest.raises(quickstart.QuickstartError, match="differ from those sent"):
        quickstart.check_arrived(flights, changed)


def test_the_quickstart_fails_with_the_reason(tmp_path, capsys):
    code = quickstart.main(["--output", str(tmp_path), "--table", "main.nyc"])
    assert code == 1
    assert "main.nyc" in capsys.readouterr().out


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_dead_letters_are_kept_corrected_and_sent_again(emulator, sink, tmp_path, monkeypatch, file_format):
    table = emulator.create_table("main.iot.air", "id BIGINT NOT NULL, name STRING, raw BINARY, at TIMESTAMP")
    rows = [
        {"id": 1, "name": "good", "raw": b"\x00", "at": None},
        {"id": None, "name": "no id", "raw": b"\xff", "at": "2024-01-01T00:00:00Z"},
        {"id": 3, "name": 3, "raw": None, "at": None},
    ]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        result = pipeline | beam.Create(rows) | sink(on_bad_rows="dead_letter")
        result.failed_rows | KeepDeadLetters(str(tmp_path / "kept"), file_format)
    letters = kept_in(tmp_path / "kept", file_format)
    assert {letter["error_type"] for letter in letters} == {"null_in_not_null_column", "wrong_type"}
    assert {(letter["stage"], letter["table"], letter["attempts"]) for letter in letters} == {
        ("schema", "main.iot.air", 0),
        ("batching", "main.iot.air", 0),
    }
    for variable, value in {
        "ZEROBUS_ENDPOINT": emulator.endpoint,
        "DATABRICKS_HOST": emulator.workspace_url,
        "DATABRICKS_CLIENT_ID": emulator.client_id,
        "DATABRICKS_CLIENT_SECRET": emulator.client_secret,
    }.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(replay_dead_letters, "correct", lambda row: row | {"id": row["id"] or 2})
    again = ["--zerobus_table", "main.iot.air", "--dead_letters", str(tmp_path / "again")]
    assert replay_dead_letters.main(["--input", str(tmp_path / "kept"), *again]) == 0
    assert sorted((row["id"], row["name"], row["raw"]) for row in table.to_arrow().to_pylist()) == [
        (1, "good", b"\x00"),
        (2, "no id", b"\xff"),
    ]
    (still,) = kept_in(tmp_path / "again", "jsonl")
    assert still["element"] == {"id": 3, "name": 3, "raw": None, "at": None}


def kept_in(directory, file_format):
    if file_format == "parquet":
        return pq.read_table(directory).to_pylist()
    return [json.loads(line) for file in directory.glob("*.jsonl") for line in file.read_text().splitlines()]
