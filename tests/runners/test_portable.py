"""The same job writes the same table on each of Beam's runners in Python, with one stream per worker process.

Prism and Flink run this job under their own markers.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from beam_zerobus.emulator import Emulator
from tests.runners import adding_job, job
from tests.runners.support import ROOT, worker_pool, workers_that_wrote_the_same_table

ROWS = 24_000

PROCESSES = ("--runner=DirectRunner", "--direct_num_workers=2", "--direct_running_mode=multi_processing")
EMBEDDED = ("--runner=PortableRunner", "--job_endpoint=embed", "--sdk_worker_parallelism=2")
THIS_PROCESS = {
    "FnApiRunner": ("--runner=FnApiRunner",),
    "DirectRunner": ("--runner=DirectRunner",),
    "BundleBasedDirectRunner": ("--runner=BundleBasedDirectRunner",),
    "portable, LOOPBACK": (*EMBEDDED, "--environment_type=LOOPBACK"),
}


@pytest.fixture(autouse=True)
def job_found(worker_here: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let worker processes find the job; files that Beam leaves behind stay in the test's directory."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("options", THIS_PROCESS.values(), ids=THIS_PROCESS)
def test_workers_in_this_process(options: tuple[str, ...], zerobus: Emulator) -> None:
    job.main([f"--rows={ROWS}", *options])
    assert workers_that_wrote_the_same_table(zerobus, ROWS) == {os.getpid()}


@pytest.mark.hostile
def test_worker_processes_of_the_direct_runner(zerobus: Emulator) -> None:
    job.main([f"--rows={ROWS}", *PROCESSES])
    workers = workers_that_wrote_the_same_table(zerobus, ROWS)
    assert len(workers) == 2
    assert os.getpid() not in workers


@pytest.mark.hostile
def test_new_fields_of_two_worker_processes(zerobus: Emulator, tmp_path: Path) -> None:
    zerobus.create_table(adding_job.TABLE, adding_job.COLUMNS)
    adding_job.main([f"--directory={tmp_path}", *PROCESSES])
    adding_job.check(zerobus, tmp_path)


def test_external_workers(zerobus: Emulator, environment: dict[str, str], tmp_path: Path) -> None:
    with worker_pool(environment, tmp_path / "pool.log") as address:
        job.main([f"--rows={ROWS}", *EMBEDDED, "--environment_type=EXTERNAL", f"--environment_config={address}"])
    workers = workers_that_wrote_the_same_table(zerobus, ROWS)
    assert os.getpid() not in workers
