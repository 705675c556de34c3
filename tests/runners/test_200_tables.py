"""200 tables, few of which have most rows, over at most 20 streams: on each runner, with faults and rotation.

`RUNNER_ROWS_OF_TABLES=1000000` makes them as large as in production; Flink runs the same job in `flink/test_flink.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from beam_zerobus.emulator import Emulator
from tests.runners import tables_job
from tests.runners.support import ROWS_OF_TABLES, go_program, run_job, worker_pool

TABLES = 200
OPEN = 20
MEMORY_RATIO = 1.5

pytestmark = pytest.mark.timeout(1_200)


@pytest.fixture
def tables(zerobus: Emulator) -> Emulator:
    tables_job.create_tables(zerobus, TABLES)
    return zerobus


def write(zerobus: Emulator, environment: dict[str, str], directory: Path, *options: str) -> None:
    """Run the job with dead letters under trouble, and check what it wrote."""
    rejected = directory / "rejected"
    arguments = [
        f"--rows={ROWS_OF_TABLES}",
        f"--tables={TABLES}",
        f"--max_open_tables={OPEN}",
        f"--rejected={rejected}",
    ]
    with tables_job.trouble(zerobus):
        run_job(
            *arguments, *options, environment=environment, log=directory / "job.log", timeout=1_000, name="tables_job"
        )
    tables_job.check(zerobus, ROWS_OF_TABLES, TABLES, rejected=rejected, repeated=True)
    assert zerobus.stats.most_streams_open <= OPEN


@pytest.mark.hostile
@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are those of Linux")
def test_each_row_once_and_no_more_memory_than_one_table_needs(
    tables: Emulator, environment: dict[str, str], tmp_path: Path
) -> None:
    peaks = {}
    for count in (1, TABLES):
        peak = tmp_path / f"peak-{count}"
        options = [f"--rows={ROWS_OF_TABLES}", f"--tables={count}", f"--max_open_tables={OPEN}", f"--peak={peak}"]
        run_job(
            *options,
            "--runner=FnApiRunner",
            environment=environment,
            log=tmp_path / "job.log",
            timeout=1_000,
            name="tables_job",
        )
        peaks[count] = int(peak.read_text())
        if count == 1:
            name = tables_job.TEMPLATE.format(number=0)
            assert tables.table(name).count_rows() == ROWS_OF_TABLES
            tables.drop_table(name)
            tables.create_table(name, tables_job.COLUMNS)
    tables_job.check(tables, ROWS_OF_TABLES, TABLES)
    assert tables.stats.most_streams_open <= OPEN
    print(f"{ROWS_OF_TABLES:,} rows: {peaks[1] >> 20} MB with one table, {peaks[TABLES] >> 20} MB with {TABLES}")
    assert peaks[TABLES] <= MEMORY_RATIO * peaks[1]


@pytest.mark.hostile
def test_fn_api_runner(tables: Emulator, environment: dict[str, str], tmp_path: Path) -> None:
    write(tables, environment, tmp_path, "--runner=FnApiRunner")


@pytest.mark.hostile
def test_portable_runner_with_a_worker_in_a_process_of_its_own(
    tables: Emulator, environment: dict[str, str], tmp_path: Path
) -> None:
    with worker_pool(environment, tmp_path / "pool.log") as address:
        options = ("--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=EXTERNAL")
        write(tables, environment, tmp_path, *options, f"--environment_config={address}")


@pytest.mark.prism
@pytest.mark.slow
def test_prism(tables: Emulator, environment: dict[str, str], tmp_path: Path) -> None:
    prism = go_program("go/cmd/prism", "prism")
    write(tables, environment, tmp_path, "--runner=PrismRunner", f"--prism_location={prism}")
