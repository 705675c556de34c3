"""A pipeline in Beam YAML, run by the command of docs/runners/yaml.md."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from beam_zerobus.emulator import Emulator
from beam_zerobus.yaml import WriteToZerobus
from tests.runners.pages import commands
from tests.runners.support import ROOT

PIPELINE = ROOT / "pipelines" / "rows_to_zerobus.yaml"
MADE_TABLE, COMMAND = commands("runners/yaml.md", "A pipeline")
DDL = "device STRING NOT NULL, co2 INT"

REJECTED_ONES_AS_ROWS = """
    - type: StripErrorMetadata
      input: WriteToZerobus.rejected
    - type: WriteToJson
      input: StripErrorMetadata
      config: {path: again.json}
"""
"""Steps that keep rejected rows, to correct them and send them again."""


@pytest.fixture
def environment(emulator: Emulator) -> dict[str, str]:
    """The environment of the command, with addresses and without secrets."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("DATABRICKS")},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "ZEROBUS_ENDPOINT": emulator.endpoint,
        "DATABRICKS_HOST": emulator.workspace_url,
    }


def run(pipeline: Path, environment: dict[str, str], directory: Path) -> str:
    """Run a pipeline by the page's command; return its output."""
    command = COMMAND.replace("pipelines/rows_to_zerobus.yaml", str(pipeline))
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def with_settings(directory: Path, **settings: object) -> Path:
    """Return a pipeline of which all rows fit, with more settings of the sink than the table and its schema."""
    pipeline = yaml.safe_load(PIPELINE.read_text("utf-8"))
    create, write, _ = pipeline["pipeline"]["transforms"]
    del create["config"]["elements"][2]
    del write["config"]["error_handling"]
    write["config"].update(settings)
    pipeline["pipeline"]["transforms"] = [create, write]
    path = directory / "pipeline.yaml"
    path.write_text(yaml.safe_dump(pipeline, sort_keys=False), "utf-8")
    return path


def test_the_page_shows_the_pipeline_and_makes_its_table() -> None:
    page = (ROOT / "docs" / "runners" / "yaml.md").read_text("utf-8")
    [shown] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert yaml.safe_load(shown) == yaml.safe_load(PIPELINE.read_text("utf-8"))
    assert f'"main.iot.air_quality={DDL}"' in MADE_TABLE


def test_rows_arrive_and_rejected_ones_go_where_the_pipeline_says(
    emulator: Emulator, environment: dict[str, str], tmp_path: Path
) -> None:
    table = emulator.create_table("main.iot.air_quality", DDL)
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(PIPELINE.read_text("utf-8").replace("\n\nproviders:", f"{REJECTED_ONES_AS_ROWS}\nproviders:"))
    secrets = {"DATABRICKS_CLIENT_ID": emulator.client_id, "DATABRICKS_CLIENT_SECRET": emulator.client_secret}
    printed = run(pipeline, {**environment, **secrets}, tmp_path)
    assert sorted(table.to_arrow().to_pylist(), key=str) == [
        {"device": "attic", "co2": 417},
        {"device": "cellar", "co2": 655},
    ]
    [rejected] = [json.loads(row) for row in re.findall(r'\{"element".*\}', printed)]
    assert rejected["element"] == {"device": None, "co2": 1}
    assert rejected["error_type"] == "null_in_not_null_column"
    assert "column 'device'" in rejected["msg"]
    [again] = tmp_path.glob("again.json*")
    assert json.loads(again.read_text()) == {"device": None, "co2": 1}
    assert emulator.client_secret not in printed


def test_secrets_are_read_from_the_variables_that_the_pipeline_names(
    emulator: Emulator, environment: dict[str, str], tmp_path: Path
) -> None:
    table = emulator.create_table("main.iot.air_quality", DDL)
    pipeline = with_settings(tmp_path, client_id_env="MY_ID", client_secret_env="MY_SECRET")
    run(pipeline, {**environment, "MY_ID": emulator.client_id, "MY_SECRET": emulator.client_secret}, tmp_path)
    assert table.count_rows() == 2


@pytest.mark.hostile
def test_a_template_chooses_the_table(emulator: Emulator, environment: dict[str, str], tmp_path: Path) -> None:
    credentials = {"DATABRICKS_CLIENT_ID": emulator.client_id, "DATABRICKS_CLIENT_SECRET": emulator.client_secret}
    tables = {name: emulator.create_table(f"main.iot.of_{name}", "co2 INT") for name in ("attic", "cellar")}
    pipeline = with_settings(tmp_path, table="main.iot.of_{device}", schema="co2 INT", drop=["device"])
    run(pipeline, {**environment, **credentials}, tmp_path)
    found = {name: table.to_arrow()["co2"].to_pylist() for name, table in tables.items()}
    assert found == {"attic": [417], "cellar": [655]}


def test_every_option_can_be_written_in_yaml(environment: dict[str, str], tmp_path: Path) -> None:
    settings = {
        "endpoint": "https://1.zerobus.westeurope.azuredatabricks.net",
        "workspace_url": "https://adb-1.azuredatabricks.net",
        "client_id_env": "MY_ID",
        "client_secret_gcp_secret": "projects/p/secrets/s/versions/latest",
        "wire_format": "arrow",
        "arrow_compression": "zstd",
        "on_bad_rows": "dead_letter",
        "on_unknown_fields": "ignore",
        "rescue_column": "rest",
        "create_table": "never",
        "warehouse_id": "0123456789abcdef",
        "ignore_unknown_fields": False,
        "assume_timezone": "Europe/Berlin",
        "epoch_unit": "s",
        "streams_per_worker": 2,
        "max_open_tables": 5,
        "max_in_flight_bytes": 1_000_000,
        "max_tables_in_metrics": 9,
        "batch_max_rows": 100,
        "batch_max_bytes": 1_000_000,
        "batch_max_delay": 0.5,
        "batch_across_bundles": True,
        "max_retries": 3,
        "initial_backoff": 0.2,
        "max_backoff": 5,
        "debug_dir": str(tmp_path / "debug"),
        "debug_write_every": 1,
        "telemetry_endpoint": "http://localhost:1",
        "telemetry_protocol": "http/protobuf",
        "telemetry_service_name": "air",
        "telemetry_attributes": {"team": "air"},
        "dry_run": True,
    }
    others = {"client_secret_env", "client_id_gcp_secret", "table", "schema", "error_handling", "keep", "drop"}
    assert set(inspect.signature(WriteToZerobus).parameters) == {*settings, *others}
    run(with_settings(tmp_path, **settings), environment, tmp_path)
    assert list((tmp_path / "debug").rglob("*.arrow"))
