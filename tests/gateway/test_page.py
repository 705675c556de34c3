"""docs/gateway.md says what the settings are, and its examples work."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from beam_zerobus.gateway.loading import FLAGS, load_settings
from beam_zerobus.gateway.results import Failure, result_json
from beam_zerobus.writer.result import TransmissionResult

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gateway.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_table_of_options():
    expected = [
        f"| `{name}` | {'' if option.default is None else f'`{option.default}`'} | {option.text} |"
        for name, option in FLAGS.items()
    ]
    assert [line for line in PAGE.splitlines() if re.match(r"\| `(\w+)` \|", line) and line in expected] == expected


def test_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("ZEROBUS_ENDPOINT", "http://localhost:1")
    monkeypatch.setenv("DATABRICKS_HOST", "http://localhost:2")
    for name in ("DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET", "ALARMS_CLIENT_ID", "ALARMS_CLIENT_SECRET"):
        monkeypatch.setenv(name, "x")
    file = tmp_path / "gateway.toml"
    file.write_text(blocks("toml")[0])
    settings = load_settings(str(file), {}, {})
    assert (settings.health_port, settings.only_listed_tables) == (8816, True)
    assert settings.writer_config("main.iot.air_quality").debug_files is not None
    assert settings.writer_config("main.iot.trial").dry_run


def test_the_client_in_python(start, emulator, tmp_path):
    table = emulator.create_table("main.iot.air_quality", "device STRING, co2 INT")
    program, _ = blocks("python")
    program = program.replace("grpc://127.0.0.1:8815", start().location)
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=250)
    assert "'success': True" in done.stdout
    assert table.to_arrow().to_pylist() == [{"device": "attic", "co2": 417}]


def test_the_client_in_rust():
    program = (ROOT / "tests/languages/rust/src/main.rs").read_text()
    [excerpt] = blocks("rust")
    lines = [line.strip() for line in program.splitlines()]
    assert [line for line in excerpt.splitlines() if line.strip() not in lines] == []


def test_the_results():
    failed, last = (json.loads(block) for block in blocks("json"))
    result = TransmissionResult(
        success=True,
        error=None,
        attempts=1,
        latency_ms=1.0,
        batch_size_bytes=1,
        total_rows=1,
        successful_count=1,
        failed_count=0,
    )
    assert failed.keys() == json.loads(result_json(0, result)).keys()
    assert last.keys() == json.loads(Failure("UNAVAILABLE", "").as_json(0)).keys()
    assert failed["failed_rows"][0].keys() == {"index", "error_type", "message", "stage"}


@pytest.mark.parametrize("path", re.findall(r"`(tests/languages/[\w/.]+)`", PAGE))
def test_the_programs_exist(path):
    assert (ROOT / path).is_file()


def test_the_matrix_has_every_requirement_and_names_tests_that_exist():
    (matrix,) = re.findall(r"^\| \| what \| Python \|.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert sorted(re.findall(r"FR-(\d+)", matrix)) == [f"{number:03}" for number in range(1, 27)]
    lines = matrix.strip().splitlines()[2:]
    shown = {line: re.findall(r"`([a-z_/]+\.py)(?:::(\w+))?`", line.split("|")[-2]) for line in lines}
    without = [re.findall(r"FR-\d+", line) for line, tests in shown.items() if not tests]
    assert without == [["FR-008"], ["FR-018", "FR-019"]]
    for tests in shown.values():
        for path, name in tests:
            text = (ROOT / "tests" / path).read_text("utf-8")
            assert f"def {name}(" in text if name else "def test_" in text, (path, name)
