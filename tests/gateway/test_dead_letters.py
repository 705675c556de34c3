"""Failed rows are kept as they were sent, each with its reason."""

import pyarrow as pa
from pyarrow import flight

from tests.gateway.conftest import TABLE, batch, put
from tests.hostile.full_disk import files_end_at, needs_limit


def test_failed_rows_are_kept(start, table, tmp_path):
    with flight.connect(start(dead_letters=str(tmp_path / "letters")).location) as client:
        first, second, third = put(client, [batch(1, None, 3), batch(4), batch(None)])
    kept = sorted((tmp_path / "letters" / TABLE).iterdir())
    assert [path.suffix for path in kept] == [".arrow"] * 2
    rows = [pa.ipc.open_file(path).read_all().to_pylist() for path in kept]
    reasons = [{**result["failed_rows"][0]} for result in (first, third)]
    assert rows == [[{"id": None, "device": "attic", "_reason": reason}] for reason in reasons]
    assert second["success"]


def test_a_directory_that_cannot_be_written_is_logged_and_the_results_arrive(start, table, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with flight.connect(start(dead_letters=str(tmp_path / "file")).location) as client:
        [result] = put(client, [batch(1, None)])
    assert (result["written"], len(result["failed_rows"])) == (1, 1)
    assert "1 failed rows of main.iot.air are not kept" in caplog.text


@needs_limit
def test_on_a_full_disk_the_results_arrive_and_no_part_of_a_file_stays(start, table, tmp_path, caplog):
    large = pa.record_batch({"id": pa.array([None], pa.int64()), "device": ["x" * 300_000]})
    with flight.connect(start(dead_letters=str(tmp_path)).location) as client, files_end_at(100_000):
        [result] = put(client, [large])
    assert len(result["failed_rows"]) == 1
    assert "1 failed rows of main.iot.air are not kept" in caplog.text
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
