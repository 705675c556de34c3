"""The sink on a Flink session cluster, by the commands of docs/runners/flink.md."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from beam_zerobus.emulator import Emulator
from tests.runners import job
from tests.runners.flink import cluster as flink
from tests.runners.flink.cluster import SessionCluster
from tests.runners.pages import commands
from tests.runners.support import (
    ROOT,
    ROWS,
    workers_that_wrote_the_same_table,
    zerobus_environment,
)

pytestmark = [pytest.mark.flink, pytest.mark.slow, pytest.mark.timeout(300)]

CREDENTIALS = {"client_id": "runners", "client_secret": "known to tests only"}


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """The environment of all processes, with the addresses that each test's Zerobus has."""
    with Emulator(**CREDENTIALS) as emulator:
        return zerobus_environment(emulator)


@pytest.fixture
def zerobus(environment: dict[str, str]) -> Iterator[Emulator]:
    port, http_port = (urlsplit(environment[name]).port for name in ("ZEROBUS_ENDPOINT", "DATABRICKS_HOST"))
    with Emulator(**CREDENTIALS, port=port, http_port=http_port) as emulator:
        emulator.create_table(job.TABLE, job.COLUMNS)
        yield emulator


@pytest.fixture(scope="module")
def cluster(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[SessionCluster]:
    if (lack := flink.missing()) is not None:
        pytest.skip(f"a Flink cluster cannot be had: {lack}")
    with SessionCluster(environment, tmp_path_factory.mktemp("flink")) as running:
        yield running


def job_command(heading: str) -> list[str]:
    """Return the job's command below a heading, which is the last there."""
    command = commands(flink.PAGE, heading)[-1].replace(flink.POOL, flink.POOL_OF_EACH)
    return ["bash", "-c", f"exec {command}"]


def run(heading: str, environment: dict[str, str]) -> None:
    ended = subprocess.run(
        job_command(heading), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250, check=False
    )
    assert ended.returncode == 0, ended.stderr[-4000:]


def test_pools_beside_the_task_managers(
    cluster: SessionCluster, zerobus: Emulator, environment: dict[str, str]
) -> None:
    run("Workers of a pool beside each task manager", environment)
    assert len(workers_that_wrote_the_same_table(zerobus, ROWS)) == 2, "one worker process a task manager"


def test_processes_of_the_task_managers(
    cluster: SessionCluster, zerobus: Emulator, environment: dict[str, str]
) -> None:
    build = commands(flink.PAGE, "Workers that task managers start")[0]
    subprocess.run(["bash", "-c", build], cwd=ROOT, env=environment, check=True)
    run("Workers that task managers start", environment)
    assert len(workers_that_wrote_the_same_table(zerobus, ROWS)) == 2, "one worker process a task manager"


def test_the_process_that_submits_the_job(
    cluster: SessionCluster, zerobus: Emulator, environment: dict[str, str]
) -> None:
    run("Workers in the process that submits the job", environment)
    assert len(workers_that_wrote_the_same_table(zerobus, ROWS)) == 1
