"""The sink on Prism, by the commands of docs/runners/prism.md."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_zerobus.emulator import Emulator
from tests.runners import job
from tests.runners.go_programs import go_module
from tests.runners.pages import commands
from tests.runners.support import (
    ROOT,
    ROWS,
    go_program,
    started,
    without_secrets,
    worker_pool,
    workers_that_wrote_the_same_table,
)

pytestmark = [pytest.mark.prism, pytest.mark.slow, pytest.mark.timeout(600)]

PAGE = "runners/prism.md"


@pytest.fixture(scope="module")
def prism() -> Path:
    return go_program("go/cmd/prism", "prism")


@pytest.fixture
def pool(environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    with worker_pool(without_addresses(environment), tmp_path / "pool.log") as address:
        yield address


def job_command(heading: str, number: int, prism: Path, **replaced: str) -> list[str]:
    """Return a command of the page, with the programs and addresses of this test."""
    command = commands(PAGE, heading)[number].replace("$HOME/go/bin/prism", str(prism))
    for name, value in replaced.items():
        command, count = re.subn(rf"--{name}=\S+", f"--{name}={value}", command)
        assert count == 1, f"--{name} is not in {command}"
    return ["bash", "-c", command]


def run(command: list[str], environment: dict[str, str]) -> None:
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]


def without_addresses(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in ("ZEROBUS_ENDPOINT", "DATABRICKS_HOST")}


def test_the_page_builds_prism_and_makes_the_table(environment: dict[str, str]) -> None:
    build, emulator = commands(PAGE, "Prism")
    printed = subprocess.check_output(["bash", "-c", build.replace("go install", "echo")], env=environment, text=True)
    assert printed.strip() == go_module("go/cmd/prism")
    assert f'"{job.TABLE}={job.COLUMNS}"' in emulator


def test_workers_in_the_job_write_every_row_once(prism: Path, zerobus: Emulator, environment: dict[str, str]) -> None:
    [*shell, command] = job_command("Workers in the process that submits the job", 0, prism)
    run([*shell, f"{command} --rows={ROWS}"], environment)
    assert len(workers_that_wrote_the_same_table(zerobus, ROWS)) == 1


def test_workers_of_a_pool_write_every_row_once(
    prism: Path, zerobus: Emulator, environment: dict[str, str], pool: str
) -> None:
    [*shell, command] = job_command("Workers of a pool", 1, prism, environment_config=pool)
    run([*shell, f"{command} --rows={ROWS}"], without_secrets(environment))
    assert len(workers_that_wrote_the_same_table(zerobus, ROWS)) == 1


def test_rejected_rows_go_where_the_pipeline_sends_them(
    prism: Path, zerobus: Emulator, environment: dict[str, str], pool: str, tmp_path: Path
) -> None:
    command = job_command("Workers of a pool", 2, prism, environment_config=pool, rejected=str(tmp_path / "rejected"))
    command[-1] += " --rows=20000"
    run(command, without_secrets(environment))
    written = zerobus.table(job.TABLE).to_arrow()["id"].to_pylist()
    assert sorted(written) == [number for number in range(20_000) if number % 100]
    rejected = [json.loads(line) for file in tmp_path.glob("rejected-*") for line in file.read_text().splitlines()]
    assert sorted(row["element"]["value"] for row in rejected) == [number / 8 for number in range(0, 20_000, 100)]
    assert {row["error_type"] for row in rejected} == {"null_in_not_null_column"}
    assert all("column 'id'" in row["message"] for row in rejected)


def test_rows_of_a_stream_are_seen_within_seconds(
    prism: Path, zerobus: Emulator, environment: dict[str, str], tmp_path: Path
) -> None:
    command = job_command("A stream", 0, prism)
    table = zerobus.table(job.TABLE)
    with started(command, environment=environment, log=tmp_path / "job.log") as stream:
        sights = set()
        while stream.poll() is None:
            time.sleep(0.2)
            sights.add(table.count_rows())
    assert stream.returncode == 0, (tmp_path / "job.log").read_text()[-4000:]
    # Rows come for ten seconds, and were seen many times meanwhile: not all of them late, and not all at the end.
    assert len(sights - {0, 1_000}) >= 5, sights
    workers_that_wrote_the_same_table(zerobus, 1_000)
