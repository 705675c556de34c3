"""The commands of docs/pipelines.md; those for Kafka are in test_kafka.py."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from beam_zerobus.emulator import Emulator
from tests.runners.pages import commands
from tests.runners.support import ROOT, zerobus_environment

PAGE = "pipelines.md"
TABLE, COLUMNS = "main.iot.air_quality", "device STRING NOT NULL, co2 INT"


def run(command: str, zerobus: Emulator, directory: Path) -> str:
    environment = {**zerobus_environment(zerobus), "PYTHONPATH": os.fspath(ROOT)}
    ended = subprocess.run(
        command, shell=True, cwd=directory, env=environment, capture_output=True, text=True, timeout=250, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.skipif(os.name == "nt", reason="the page's commands are for a POSIX shell")
def test_files_are_sent_and_what_was_rejected_again(zerobus: Emulator, tmp_path: Path) -> None:
    assert f'"{TABLE}={COLUMNS}"' in commands(PAGE, "Pipelines")[0]
    table = zerobus.create_table(TABLE, COLUMNS)
    readings = tmp_path / "readings"
    readings.mkdir()
    parquet.write_table(
        pa.table({"device": ["attic", None], "co2": pa.array([417, 1], pa.int32())}), readings / "a.parquet"
    )
    with pa.CompressedOutputStream(readings / "b.csv.gz", "gzip") as file:
        csv.write_csv(pa.table({"device": ["cellar"], "co2": [655]}), file)
    [send], [again] = commands(PAGE, "Files"), commands(PAGE, "Rows that were rejected")
    assert "2 rows written, 1 failed" in run(send, zerobus, tmp_path)
    [letters] = (tmp_path / "dead-letters" / "today").iterdir()
    letter = json.loads(letters.read_text())
    letter["element"]["device"] = "garden"
    letters.write_text(json.dumps(letter) + "\n")
    assert "1 row written, 0 failed" in run(again, zerobus, tmp_path)
    assert sorted(table.to_arrow()["device"].to_pylist()) == ["attic", "cellar", "garden"]
