"""Failed rows are kept as they were sent, each with its reason."""

import os
import socket
import stat

import pyarrow as pa
import pytest
from pyarrow import flight

from beam_zerobus import DebugFiles, Telemetry
from beam_zerobus.errors import ConfigurationError
from beam_zerobus.gateway import Gateway, GatewaySettings
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


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_directory_that_cannot_be_written_is_rejected_at_the_start(tmp_path, name):
    (tmp_path / "file").write_text("")
    settings = GatewaySettings(port=0, dead_letters=str(tmp_path / name), defaults={"dry_run": True, "schema": None})
    below = name.replace("/", r"[/\\]+")
    with pytest.raises(ConfigurationError, match=f"dead_letters='.*{below}' cannot be written: .*name a directory"):
        Gateway(settings)


def test_every_port_and_directory_that_cannot_be_used_is_reported_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    inside = {name: str(tmp_path / "file" / name) for name in ("letters", "debug", "telemetry")}
    options = {
        "dry_run": True,
        "schema": None,
        "debug_files": DebugFiles(output_dir=inside["debug"]),
        "telemetry": Telemetry(output_dir=inside["telemetry"]),
    }
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = GatewaySettings(port=port, dead_letters=inside["letters"], defaults=options, tables={TABLE: {}})
        with pytest.raises(ConfigurationError) as raised:
            Gateway(settings)
    assert [fault.partition("=")[0] for fault in raised.value.faults] == [
        "port",
        "dead_letters",
        f"{TABLE}: debug_files.output_dir",
        f"{TABLE}: telemetry.output_dir",
    ]


def test_a_directory_that_can_no_longer_be_written_is_logged_and_the_results_arrive(start, table, tmp_path, caplog):
    directory = tmp_path / "letters"
    with flight.connect(start(dead_letters=str(directory)).location) as client:
        directory.rmdir()
        directory.write_text("")
        [result] = put(client, [batch(1, None)])
    assert (result["written"], len(result["failed_rows"])) == (1, 1)
    assert f"1 failed row of main.iot.air not kept in {directory}: " in caplog.text


@needs_limit
def test_on_a_full_disk_the_results_arrive_and_no_part_of_a_file_stays(start, table, tmp_path, caplog):
    large = pa.record_batch({"id": pa.array([None], pa.int64()), "device": ["x" * 300_000]})
    with flight.connect(start(dead_letters=str(tmp_path)).location) as client, files_end_at(100_000):
        [result] = put(client, [large])
    assert len(result["failed_rows"]) == 1
    assert "1 failed row of main.iot.air not kept" in caplog.text
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_new_directories_are_open_to_their_user_alone(start, table, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    for directory in (tmp_path / "new", shared):
        with flight.connect(start(dead_letters=str(directory)).location) as client:
            put(client, [batch(None)])
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_dir()}
    assert modes == {tmp_path / "new": 0o700, tmp_path / "new" / TABLE: 0o700, shared: 0o755, shared / TABLE: 0o700}
