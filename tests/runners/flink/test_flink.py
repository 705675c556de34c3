"""The sink on a Flink session cluster, by the commands of docs/runners/flink.md."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from beam_zerobus.emulator import Emulator
from tests.runners import adding_job, job, tables_job
from tests.runners.flink import cluster as flink
from tests.runners.flink.cluster import SessionCluster
from tests.runners.go_programs import go_module
from tests.runners.pages import commands
from tests.runners.support import (
    ROOT,
    ROWS,
    ROWS_OF_TABLES,
    go_program,
    started,
    wait_until,
    without_secrets,
    workers_that_wrote_the_same_table,
    zerobus_environment,
)

pytestmark = [pytest.mark.flink, pytest.mark.slow, pytest.mark.timeout(400)]

CREDENTIALS = {"client_id": "runners", "client_secret": "known to tests only"}
STREAM_ROWS = 20_000
"""The number in the guide's stream."""


def lasting_port() -> int:
    """Return a free port, below those that systems choose from: nobody gets it between two tests."""
    for port in random.sample(range(20_000, 30_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("of a hundred ports none is free")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of all processes, with the addresses that each test's Zerobus has."""
    with Emulator(**CREDENTIALS, port=lasting_port(), http_port=lasting_port()) as emulator:
        return {**zerobus_environment(emulator), "TMPDIR": str(tmp_path_factory.mktemp("beam"))}


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
    """Return the job's command below a heading, the last one there."""
    command = commands(flink.PAGE, heading)[-1].replace(flink.POOL, flink.POOL_OF_EACH)
    return ["bash", "-c", f"exec {command}"]


def run(command: list[str], environment: dict[str, str]) -> None:
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=350, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]


@pytest.mark.parametrize(("there", "lack"), [([], "java"), (["java"], "mvn"), (["java", "mvn"], None)])
def test_says_what_is_missing(
    there: list[str], lack: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in there:
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert flink.missing() == (lack and f"{lack} is not on the PATH")


def test_the_page_makes_the_table() -> None:
    [emulator] = commands(flink.PAGE, "Flink")
    assert f'"{job.TABLE}={job.COLUMNS}"' in emulator


def test_pools_beside_the_task_managers(
    cluster: SessionCluster, zerobus: Emulator, environment: dict[str, str]
) -> None:
    run(job_command("Workers of a pool beside each task manager"), without_secrets(environment))
    assert len(workers_that_wrote_the_same_table(zerobus, ROWS)) == 2, "one worker process a task manager"


def test_200_tables_on_two_task_managers_with_faults_and_rotation(
    cluster: SessionCluster, zerobus: Emulator, environment: dict[str, str], tmp_path: Path
) -> None:
    tables_job.create_tables(zerobus, 200)
    [*shell, command] = job_command("Workers of a pool beside each task manager")
    assert "tests.runners.job" in command
    command = command.replace("tests.runners.job", "tests.runners.tables_job")
    command += f" --rows={ROWS_OF_TABLES} --tables=200 --max_open_tables=10 --rejected={tmp_path}/rejected"
    with tables_job.trouble(zerobus):
        run([*shell, command], without_secrets(environment))
    tables_job.check(zerobus, ROWS_OF_TABLES, 200, rejected=tmp_path / "rejected", repeated=True)
    assert zerobus.stats.most_streams_open <= 20, "ten for each of two workers"


def test_new_fields_in_the_middle_of_a_stream(
    cluster: SessionCluster, zerobus: Emulator, environment: dict[str, str], tmp_path: Path
) -> None:
    table = zerobus.create_table(adding_job.TABLE, adding_job.COLUMNS)
    [*shell, command] = job_command("A stream with checkpoints")
    assert "tests.runners.job --rows=20000 --rows-per-tick=50" in command
    command = command.replace(
        "tests.runners.job --rows=20000 --rows-per-tick=50", f"tests.runners.adding_job --directory={tmp_path}"
    )
    with started([*shell, command], environment=without_secrets(environment), log=tmp_path / "job.log"):
        stream = wait_until(cluster.running_job, "the stream runs")
        wait_until(
            lambda: table.count_rows() + len(adding_job.failed_rows(tmp_path)) >= adding_job.ROWS,
            "all rows are there",
            timeout=200,
        )
        cluster.cancel(stream)
    adding_job.check(zerobus, tmp_path)


def test_processes_of_the_task_managers(
    cluster: SessionCluster, zerobus: Emulator, environment: dict[str, str]
) -> None:
    heading = "Workers that task managers start"
    build = commands(flink.PAGE, heading)[0].replace("go install", "echo")
    assert subprocess.check_output(["bash", "-c", build], env=environment, text=True).strip() == go_module(
        "python/container"
    )
    program = str(go_program("python/container", "container").relative_to(ROOT))
    try:
        run(
            [word.replace(".cache/bin/container", program) for word in job_command(heading)],
            without_secrets(environment),
        )
    finally:
        (ROOT / "pipeline_options.json").unlink(missing_ok=True)
    assert len(workers_that_wrote_the_same_table(zerobus, ROWS)) == 2, "one worker process a task manager"


def test_the_process_that_submits_the_job(
    cluster: SessionCluster, zerobus: Emulator, environment: dict[str, str]
) -> None:
    run(job_command("Workers in the process that submits the job"), environment)
    assert len(workers_that_wrote_the_same_table(zerobus, ROWS)) == 1


def rows_of_others(rows: pa.Table, workers: set[int]) -> pa.Table:
    """Return the rows that none of these workers wrote."""
    return rows.filter(pc.invert(pc.is_in(rows["worker"], pa.array(workers, rows["worker"].type))))


def test_killed_workers_lose_no_row_and_only_their_own_rows_are_repeated(
    cluster: SessionCluster, zerobus: Emulator, environment: dict[str, str], tmp_path: Path
) -> None:
    table = zerobus.table(job.TABLE)
    dead: set[int] = set()
    with started(job_command("When a worker dies"), environment=environment, log=tmp_path / "job.log") as running:
        for share in (8, 3):
            wait_until(lambda share=share: table.count_rows() > ROWS // share, f"1/{share} of the rows are there")
            [(busiest, _)] = Counter(rows_of_others(table.to_arrow(), dead)["worker"].to_pylist()).most_common(1)
            os.kill(busiest, signal.SIGKILL)
            dead.add(busiest)
        assert running.wait(timeout=250) == 0, (tmp_path / "job.log").read_text()[-4000:]
    rows = table.to_arrow()
    job.copies(rows, ROWS)
    of_the_living = rows_of_others(rows, dead)
    assert pc.count_distinct(of_the_living["id"]).as_py() == len(of_the_living)
    of_each_once = rows.select(["id", "worker"]).group_by(["id", "worker"]).aggregate([])
    assert len(of_each_once) == len(rows)


def test_a_stream_continues_from_its_last_checkpoint(
    cluster: SessionCluster, zerobus: Emulator, environment: dict[str, str], tmp_path: Path
) -> None:
    table = zerobus.table(job.TABLE)

    def workers() -> set[int]:
        return set(table.to_arrow()["worker"].to_pylist())

    def ids_of_a_checkpoint(stream: str, *, earlier: set[int]) -> set[int]:
        """Return rows of the current workers that were there before the last complete checkpoint began."""
        wait_until(lambda: workers() - earlier, "new workers write")
        rows, now = rows_of_others(table.to_arrow(), earlier), time.time()
        wait_until(lambda: cluster.last_checkpoint(stream) > now, "a checkpoint is complete")
        assert len(rows) < STREAM_ROWS
        return set(rows["id"].to_pylist())

    with started(job_command("A stream with checkpoints"), environment=environment, log=tmp_path / "job.log"):
        stream = wait_until(cluster.running_job, "the stream runs")
        first, first_workers = ids_of_a_checkpoint(stream, earlier=set()), workers()
        os.kill(max(first_workers), signal.SIGKILL)
        second, second_workers = ids_of_a_checkpoint(stream, earlier=first_workers), workers()
        cluster.kill_task_manager(1)
        cluster.start_task_manager(1)
        wait_until(
            lambda: pc.count_distinct(table.to_arrow()["id"]).as_py() == STREAM_ROWS, "every row is there", timeout=200
        )
        cluster.cancel(stream)
    rows = table.to_arrow()
    assert max(job.copies(rows, STREAM_ROWS)) <= 3, "a row came again more than once for each death"
    assert not first & set(rows_of_others(rows, first_workers)["id"].to_pylist())
    assert not second & set(rows_of_others(rows, second_workers)["id"].to_pylist())


def test_a_stream_stopped_with_a_savepoint_continues_there(
    cluster: SessionCluster, zerobus: Emulator, environment: dict[str, str], tmp_path: Path
) -> None:
    table = zerobus.table(job.TABLE)
    [*shell, command] = job_command("A stream with checkpoints")
    with started([*shell, command], environment=environment, log=tmp_path / "first.log") as first:
        stream = wait_until(cluster.running_job, "the stream runs")
        wait_until(table.count_rows, "rows are there")
        savepoint = cluster.stop(stream)
        assert first.wait(timeout=60) == 0
    assert table.count_rows() < STREAM_ROWS
    command += f" --savepoint_path={savepoint}"
    with started([*shell, command], environment=environment, log=tmp_path / "second.log"):
        wait_until(lambda: table.count_rows() >= STREAM_ROWS, "every row is there", timeout=200)
        cluster.cancel(cluster.running_job())
    workers_that_wrote_the_same_table(zerobus, STREAM_ROWS)
