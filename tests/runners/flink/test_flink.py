"""The sink on a Flink session cluster: Python workers in each environment, killed workers, checkpoints, savepoints."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beam_zerobus.emulator import Emulator
from tests.runners import job
from tests.runners.flink import cluster as flink
from tests.runners.support import ROWS, go_program, run_job, started, wait_until, worker_pool

pytestmark = [pytest.mark.flink, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[flink.SessionCluster]:
    if (lack := flink.missing()) is not None:
        pytest.skip(f"a Flink cluster cannot be had: {lack}")
    with flink.SessionCluster(task_managers=2, slots=2) as running:
        yield running


@pytest.fixture
def pool(environment: dict[str, str], tmp_path: Path) -> Iterator[list[str]]:
    with worker_pool(environment, tmp_path / "pool.log") as address:
        yield ["--environment_type=EXTERNAL", f"--environment_config={address}"]


def on(cluster: flink.SessionCluster, *options: str) -> list[str]:
    return ["--runner=PortableRunner", f"--job_endpoint={cluster.job_endpoint}", "--parallelism=4", *options]


def process_environment(environment: dict[str, str]) -> list[str]:
    boot = go_program("python/container", "boot")
    passed_on = ("PATH", "ZEROBUS_ENDPOINT", "DATABRICKS_HOST", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET")
    variables = {name: environment[name] for name in passed_on} | {"RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT": "1"}
    configuration = json.dumps({"command": str(boot), "env": variables})
    return ["--environment_type=PROCESS", f"--environment_config={configuration}"]


def workers(zerobus: Emulator) -> Counter[int]:
    return Counter(zerobus.table(job.TABLE).to_arrow()["worker"].to_pylist())


def busy_worker(zerobus: Emulator) -> int | None:
    """Return a worker that has written since a moment ago; one that wrote earlier may be gone."""
    earlier = workers(zerobus)
    time.sleep(0.5)
    return next(iter(workers(zerobus) - earlier), None)


def test_external_workers_write_every_row_once_over_one_stream_each(
    cluster: flink.SessionCluster, zerobus: Emulator, environment: dict[str, str], pool: list[str], tmp_path: Path
) -> None:
    run_job(f"--rows={ROWS}", *on(cluster, *pool), environment=environment, log=tmp_path / "job.log")
    assert job.copies(zerobus.table(job.TABLE).to_arrow(), ROWS) == {1: ROWS}
    assert len(workers(zerobus)) == 2, "one worker process a task manager"
    assert zerobus.stats.tables[job.TABLE].streams_opened == 2


@pytest.mark.parametrize("kind", ["LOOPBACK", "PROCESS"])
def test_other_environments_write_the_same_table(
    kind: str, cluster: flink.SessionCluster, zerobus: Emulator, environment: dict[str, str], tmp_path: Path
) -> None:
    rows = min(ROWS, 20_000)
    workers_in = process_environment(environment) if kind == "PROCESS" else ["--environment_type=LOOPBACK"]
    run_job(f"--rows={rows}", *on(cluster, *workers_in), environment=environment, log=tmp_path / "job.log")
    assert job.copies(zerobus.table(job.TABLE).to_arrow(), rows) == {1: rows}
    assert zerobus.stats.tables[job.TABLE].streams_opened == len(workers(zerobus))


def test_a_batch_job_completes_though_workers_are_killed(
    cluster: flink.SessionCluster, zerobus: Emulator, environment: dict[str, str], pool: list[str], tmp_path: Path
) -> None:
    table = zerobus.table(job.TABLE)
    arguments = [f"--rows={ROWS}", "--ranges=80", "--seconds=0.3", *on(cluster, *pool)]
    command = [sys.executable, "-m", "tests.runners.job", *arguments]
    written = []
    with started(command, environment=environment, log=tmp_path / "job.log") as process:
        for part in (4, 2):
            wait_until(lambda part=part: table.count_rows() > ROWS // part, f"1/{part} of the rows are there")
            victim = table.to_arrow()["worker"].to_pylist()[-1]
            os.kill(victim, signal.SIGKILL)
            written.append(table.count_rows())
        assert process.wait(timeout=600) == 0, (tmp_path / "job.log").read_text()[-4000:]
    copies = job.copies(table.to_arrow(), ROWS)
    assert max(copies) <= 1 + len(written)
    duplicates = table.count_rows() - ROWS
    assert duplicates <= sum(written), "only rows of bundles that were open when a worker died are written again"


def jobs(cluster: flink.SessionCluster) -> dict[str, Any]:
    return {found["jid"]: found for found in cluster.get("jobs/overview")["jobs"]}


def test_a_stream_shows_rows_at_once_and_goes_on_from_its_checkpoint(
    cluster: flink.SessionCluster, zerobus: Emulator, environment: dict[str, str], pool: list[str], tmp_path: Path
) -> None:
    table = zerobus.table(job.TABLE)
    rows, before = 20_000, jobs(cluster)
    arguments = [f"--rows={rows}", "--rows-per-tick=50", "--interval=0.1"]  # 40 seconds
    streaming = ["--streaming", "--checkpointing_interval=2000", "--shutdown_sources_after_idle_ms=2000"]
    command = [sys.executable, "-m", "tests.runners.job", *arguments, *on(cluster, *pool, *streaming)]
    with started(command, environment=environment, log=tmp_path / "job.log") as process:
        job_id = wait_until(lambda: next(iter(jobs(cluster).keys() - before.keys()), None), "the job is there")
        wait_until(table.count_rows, "rows are there, with the source still running")
        wait_until(lambda: checkpoints(cluster, job_id)["completed"] >= 2, "two checkpoints are complete")
        os.kill(wait_until(lambda: busy_worker(zerobus), "a worker writes"), signal.SIGKILL)
        wait_until(lambda: checkpoints(cluster, job_id)["restored"] >= 1, "the job goes on from a checkpoint")
        wait_until(lambda: len(set(table.to_arrow()["id"].to_pylist())) == rows, "the last row is there")
        assert process.wait(timeout=200) == 0, (tmp_path / "job.log").read_text()[-4000:]
    job.copies(table.to_arrow(), rows)


def checkpoints(cluster: flink.SessionCluster, job_id: str) -> dict[str, int]:
    return cluster.get(f"jobs/{job_id}/checkpoints")["counts"]
