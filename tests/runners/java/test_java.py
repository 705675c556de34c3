"""Java pipelines that write to Zerobus, by the commands of docs/runners/java.md."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from beam_zerobus.emulator import Emulator
from tests.runners.expansion import (
    COLUMNS,
    MADE_TABLE,
    PAGE,
    SERVICE_PORT,
    TABLE,
    check_rows,
    expansion_service,
    free_port,
    program,
    run,
    without_addresses_and_secrets,
)
from tests.runners.pages import commands

pytestmark = [pytest.mark.java, pytest.mark.slow, pytest.mark.timeout(600)]

BUILD, RUNNER, PIPELINE = commands(PAGE, "A Java pipeline")
JAR = "tests/runners/java/target/rows-to-zerobus.jar"
EVERY_TYPE = """
    id BIGINT NOT NULL, flag BOOLEAN, tiny TINYINT, small SMALLINT, whole INT, single FLOAT, number DOUBLE,
    price DECIMAL(38,18), name STRING, raw BINARY, seen TIMESTAMP, tags ARRAY<STRING>, limits MAP<STRING, BIGINT>,
    place STRUCT<city: STRING NOT NULL, height: DOUBLE>
"""

Run = Callable[[str], None]


@pytest.fixture
def run_pipeline(environment: dict[str, str], tmp_path: Path) -> Iterator[Run]:
    """Run the page's pipeline, in some form of its command, on a runner that has neither addresses nor secrets."""
    for name in ("java", "mvn"):
        if shutil.which(name) is None:
            pytest.skip(f"a Java pipeline needs Java 17 and Maven, and {name} is not on the PATH")
    run(BUILD, environment)
    elsewhere = without_addresses_and_secrets(environment)
    runner, workers = free_port(), free_port()
    with (
        expansion_service(environment, tmp_path / "service.log") as service,
        program(RUNNER.replace("8073", runner), "Listening for beam jobs", elsewhere, tmp_path / "runner.log"),
    ):

        def run_here(command: str) -> None:
            command = command.replace(SERVICE_PORT, service).replace("8073", runner).replace("8098", workers)
            run(command.replace("--rejected=rejected", f"--rejected={tmp_path}/rejected"), elsewhere)

        yield run_here


def test_the_page_makes_the_table() -> None:
    assert f'"{TABLE}={COLUMNS}"' in MADE_TABLE


def test_rows_are_equal_in_the_table_and_rejected_ones_in_the_output(
    zerobus: Emulator, run_pipeline: Run, tmp_path: Path
) -> None:
    zerobus.create_table(TABLE, COLUMNS)
    run_pipeline(PIPELINE)
    check_rows(zerobus)
    [rejected] = [json.loads(line) for file in tmp_path.glob("rejected-*") for line in file.read_text().splitlines()]
    assert rejected["element"] == {"device": None, "co2": 655}
    assert rejected["error_type"] == "null_in_not_null_column"
    assert "column 'device'" in rejected["message"]


def test_every_type_is_equal_in_the_table_with_the_schema_of_the_rows(zerobus: Emulator, run_pipeline: Run) -> None:
    table = zerobus.create_table("main.iot.every_type", EVERY_TYPE)
    run_pipeline(PIPELINE.replace(f"-jar {JAR}", f"-cp {JAR} example.EveryType"))
    full, empty = sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])
    assert full == {
        "id": 1,
        "flag": True,
        "tiny": 8,
        "small": -300,
        "whole": -70_000,
        "single": 0.5,
        "number": 0.1,
        "price": Decimal("12.50"),
        "name": "Zürich",
        "raw": b"raw",
        "seen": dt.datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=dt.UTC),
        "tags": ["a", "b"],
        "limits": [("low", 1)],
        "place": {"city": "Zürich", "height": 408.0},
    }
    # Protobuf has no null for repeated fields.
    assert empty == {**dict.fromkeys(full), "id": 2, "tags": [], "limits": []}
