"""Shared by the tests on several runners: the processes of a job, and the table that it writes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from beam_zerobus.emulator import Emulator
from tests.runners import job
from tests.runners.go_programs import build, program_path

ROOT = Path(__file__).parents[2]
ROWS = int(os.environ.get("RUNNER_ROWS", "1000000"))
"""Rows of the large job on each runner."""
ROWS_OF_TABLES = int(os.environ.get("RUNNER_ROWS_OF_TABLES", "60000"))
"""Rows of the job that writes to 200 tables; 1,000,000 take minutes."""


def zerobus_environment(emulator: Emulator) -> dict[str, str]:
    """Return this process's environment with the variables that a worker needs to reach the emulator."""
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "ZEROBUS_ENDPOINT": emulator.endpoint,
        "DATABRICKS_HOST": emulator.workspace_url,
        "DATABRICKS_CLIENT_ID": emulator.client_id,
        "DATABRICKS_CLIENT_SECRET": emulator.client_secret,
    }


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that submits a job, where its workers have the credentials."""
    return {name: value for name, value in environment.items() if not name.startswith("DATABRICKS_CLIENT")}


def go_program(package: str, name: str) -> Path:
    """Return a program of Beam's Go module, built once into the cache; skips the test where Go is missing."""
    if not program_path(name).exists() and shutil.which("go") is None:
        pytest.skip(f"{name} is built from Go, and go is not on the PATH")
    return build(package, name, print)


@contextmanager
def started(command: list[str], *, environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for as long as the context lasts."""
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def worker_pool(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """Run Beam's worker pool; yield its address, for ``--environment_type=EXTERNAL --environment_config=``."""
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", "--service_port=0"]
    with started(command, environment=environment, log=log):
        yield wait_until(lambda: re.search(r"at port: (localhost:\d+)", log.read_text()), "the worker pool starts")[1]


def run_job(
    *arguments: str, environment: Mapping[str, str], log: Path, timeout: float = 500.0, name: str = "job"
) -> None:
    """Run the job, or the one of that name, to its end; a failure's message has its output."""
    with log.open("wb") as output:
        ended = subprocess.run(
            [sys.executable, "-m", f"tests.runners.{name}", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    assert ended.returncode == 0, log.read_text(errors="replace")[-4000:]


def workers_that_wrote_the_same_table(emulator: Emulator, rows: int) -> set[int]:
    """Check that the job's table is the one that every runner writes; return the processes, with a stream each."""
    table = emulator.table(job.TABLE).to_arrow()
    assert job.copies(table, rows) == {1: rows}
    assert job.digest(table) == job.expected_digest(rows)
    workers = set(table["worker"].to_pylist())
    assert emulator.stats.tables[job.TABLE].streams_opened == len(workers)
    return workers


def wait_until(probe: Callable[[], Any], what: str, *, timeout: float = 120.0) -> Any:
    """Return what `probe` returns once that is true.

    Raises:
        TimeoutError: It is not in time.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if value := probe():
            return value
        time.sleep(0.1)
    raise TimeoutError(f"waited {timeout} s in vain until {what}")
