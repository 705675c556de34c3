"""A Go pipeline that writes to Zerobus, by the commands of docs/runners/go.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_zerobus.emulator import Emulator
from tests.runners.expansion import (
    COLUMNS,
    SERVICE_PORT,
    TABLE,
    check_rows,
    expansion_service,
    run,
    skip_without,
    without_addresses_and_secrets,
)
from tests.runners.pages import commands

pytestmark = [pytest.mark.go, pytest.mark.slow, pytest.mark.timeout(600)]

BUILD, PIPELINE = commands("runners/go.md", "A Go pipeline")


def test_rows_come_back_equal_and_refused_ones_are_where_the_pipeline_says(
    zerobus: Emulator, environment: dict[str, str], tmp_path: Path
) -> None:
    skip_without("go")
    zerobus.create_table(TABLE, COLUMNS)
    run(BUILD, environment)
    refused = tmp_path / "refused.txt"
    with expansion_service(environment, tmp_path / "service.log") as service:
        pipeline = PIPELINE.replace(SERVICE_PORT, service).replace("--refused=refused.txt", f"--refused={refused}")
        run(pipeline, without_addresses_and_secrets(environment))
    check_rows(zerobus)
    [line] = refused.read_text().splitlines()
    assert line.startswith("655: null_in_not_null_column: column 'device'")
