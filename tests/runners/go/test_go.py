"""A Go pipeline that writes to Zerobus, by the commands of docs/runners/go.md."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from beam_zerobus.emulator import Emulator
from tests.runners.expansion import (
    COLUMNS,
    SERVICE_FOR_A_POOL,
    SERVICE_PORT,
    TABLE,
    check_rows,
    expansion_service,
    run,
    without_addresses_and_secrets,
)
from tests.runners.pages import commands
from tests.runners.support import worker_pool

pytestmark = [pytest.mark.go, pytest.mark.slow, pytest.mark.timeout(600)]

BUILD, PIPELINE = commands("runners/go.md", "A Go pipeline")
PRISM_DEFECT = "error decoding metrics"
"""The message of Prism's own failure, according to the page, in the log of a pipeline of two languages."""


@pytest.fixture
def pipeline(zerobus: Emulator, environment: dict[str, str], tmp_path: Path) -> str:
    """The page's pipeline, built, and its table."""
    if shutil.which("go") is None:
        pytest.skip("a Go pipeline needs Go, and go is not on the PATH")
    run(BUILD, environment)
    zerobus.create_table(TABLE, COLUMNS)
    return PIPELINE.replace("--rejected=rejected.txt", f"--rejected={tmp_path}/rejected.txt")


def run_on_prism(pipeline: str, environment: dict[str, str]) -> int:
    """Run the pipeline to its end, again if Prism failed by the page's defect; return the number of runs."""
    runs = 1
    while True:
        try:
            run(pipeline, environment)
        except AssertionError as error:
            if runs == 5 or PRISM_DEFECT not in str(error):
                raise
            runs += 1
        else:
            return runs


def check_rejected(directory: Path) -> None:
    [line] = (directory / "rejected.txt").read_text().splitlines()
    assert line.startswith("655: null_in_not_null_column: column 'device'")


def test_rows_are_equal_in_the_table_and_rejected_ones_in_the_output(
    zerobus: Emulator, pipeline: str, environment: dict[str, str], tmp_path: Path
) -> None:
    with expansion_service(environment, tmp_path / "service.log") as service:
        runs = run_on_prism(pipeline.replace(SERVICE_PORT, service), without_addresses_and_secrets(environment))
    check_rows(zerobus, runs)
    check_rejected(tmp_path)


def test_only_workers_of_a_pool_have_the_secrets(
    zerobus: Emulator, pipeline: str, environment: dict[str, str], tmp_path: Path
) -> None:
    addresses = {name: environment[name] for name in ("ZEROBUS_ENDPOINT", "DATABRICKS_HOST")}
    elsewhere = without_addresses_and_secrets(environment)
    secrets = {name: value for name, value in environment.items() if name not in addresses}
    with worker_pool(secrets, tmp_path / "pool.log") as pool:
        command = SERVICE_FOR_A_POOL.replace("localhost:50000", pool)
        with expansion_service({**elsewhere, **addresses}, tmp_path / "service.log", command) as service:
            runs = run_on_prism(pipeline.replace(SERVICE_PORT, service), elsewhere)
    check_rows(zerobus, runs)
    check_rejected(tmp_path)
