"""A pipeline in Beam YAML, run by Beam's own YAML command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from beam_zerobus.emulator import Emulator

PIPELINE = Path(__file__).parents[2] / "pipelines" / "rows_to_zerobus.yaml"
DDL = "device STRING NOT NULL, co2 INT"


def run_yaml(emulator: Emulator, directory: Path, pipeline: Path, **secrets: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "apache_beam.yaml.main", f"--yaml_pipeline_file={pipeline}", "--runner=FnApiRunner"],
        cwd=directory,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("DATABRICKS")},
            "ZEROBUS_ENDPOINT": emulator.endpoint,
            "DATABRICKS_HOST": emulator.workspace_url,
            **secrets,
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_rows_arrive_and_refused_ones_go_where_the_pipeline_says(emulator, tmp_path):
    table = emulator.create_table("main.iot.air_quality", DDL)
    done = run_yaml(
        emulator,
        tmp_path,
        PIPELINE,
        DATABRICKS_CLIENT_ID=emulator.client_id,
        DATABRICKS_CLIENT_SECRET=emulator.client_secret,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(table.to_arrow().to_pylist(), key=str) == [
        {"device": "attic", "co2": 417},
        {"device": "cellar", "co2": 655},
    ]
    assert "null_in_not_null_column" in done.stderr
    assert emulator.client_secret not in done.stderr + done.stdout


def test_secrets_are_read_from_the_variables_that_the_pipeline_names(emulator, tmp_path):
    table = emulator.create_table("main.iot.air_quality", DDL)
    named = tmp_path / "named.yaml"
    named.write_text(
        PIPELINE.read_text()
        .replace("          - {device: null, co2: 1}\n", "")
        .replace(
            "        error_handling: {output: refused}\n",
            "        client_id_env: MY_ID\n        client_secret_env: MY_SECRET\n",
        )
        .replace("    - type: LogForTesting\n      input: WriteToZerobus.refused\n", "")
    )
    done = run_yaml(emulator, tmp_path, named, MY_ID=emulator.client_id, MY_SECRET=emulator.client_secret)
    assert done.returncode == 0, done.stderr[-3000:]
    assert table.count_rows() == 2
