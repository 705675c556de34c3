"""A pipeline whose workers are other processes: the counts are read from the runner's metrics."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyarrow import parquet

from beam_zerobus.programs import files_to_zerobus, progress
from tests.runners.support import go_program, worker_pool, zerobus_environment

TABLE = "main.files.readings"
ROWS = 100_000


def embedded() -> list[str]:
    return ["--runner=PortableRunner", "--job_endpoint=embed"]


def prism() -> list[str]:
    return ["--runner=PrismRunner", f"--prism_location={go_program('go/cmd/prism', 'prism')}"]


@pytest.mark.parametrize("runner", [embedded, pytest.param(prism, marks=pytest.mark.prism)])
def test_rows_are_counted_through_the_runners_metrics(runner, zerobus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "_QUERY_SECONDS", 0.05)
    table = zerobus.create_table(TABLE, "id INT NOT NULL")
    ids = pa.array([*range(ROWS), None], pa.int32())
    parquet.write_table(pa.table({"id": ids}), tmp_path / "in.parquet", row_group_size=1_000)
    with worker_pool(zerobus_environment(zerobus), tmp_path / "pool.log") as pool:
        arguments = ["--input", str(tmp_path / "in.parquet"), "--zerobus_table", TABLE]
        arguments += ["--dead_letters", str(tmp_path / "dead")]
        workers = ["--environment_type=EXTERNAL", f"--environment_config={pool}"]
        assert files_to_zerobus.main([*arguments, *runner(), *workers]) == 0
    assert table.count_rows() == ROWS
    output = capsys.readouterr().out
    assert f"rows written  {ROWS:,}\n" in output
    assert "rows failed   1 (1 null_in_not_null_column)\n" in output
