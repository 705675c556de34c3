"""A Java pipeline that writes to Zerobus, by the commands of docs/runners/java.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from beam_zerobus.emulator import Emulator
from tests.runners.expansion import (
    COLUMNS,
    MADE_TABLE,
    SERVICE_PORT,
    TABLE,
    check_rows,
    expansion_service,
    free_port,
    program,
    run,
    skip_without,
    without_addresses_and_secrets,
)
from tests.runners.pages import commands

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(600)]

BUILD, RUNNER, PIPELINE = commands("runners/java.md", "A Java pipeline")


def test_the_page_makes_the_table() -> None:
    assert f'"{TABLE}={COLUMNS}"' in MADE_TABLE


def test_rows_come_back_equal_and_refused_ones_are_where_the_pipeline_says(
    zerobus: Emulator, environment: dict[str, str], tmp_path: Path
) -> None:
    skip_without("java", "mvn")
    zerobus.create_table(TABLE, COLUMNS)
    run(BUILD, environment)
    elsewhere = without_addresses_and_secrets(environment)
    runner, workers = free_port(), free_port()
    with (
        expansion_service(environment, tmp_path / "service.log") as service,
        program(RUNNER.replace("8073", runner), "Listening for beam jobs", elsewhere, tmp_path / "runner.log"),
    ):
        pipeline = PIPELINE.replace(SERVICE_PORT, service).replace("8073", runner).replace("8098", workers)
        run(pipeline.replace("--refused=refused", f"--refused={tmp_path}/refused"), elsewhere)
    check_rows(zerobus)
    [refused] = [json.loads(line) for file in tmp_path.glob("refused-*") for line in file.read_text().splitlines()]
    assert refused["element"] == {"device": None, "co2": 655}
    assert refused["error_type"] == "null_in_not_null_column"
    assert "column 'device'" in refused["message"]
