"""A disk that fills or fails while it is written: the files stop with one warning, the caller notices nothing."""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beam_zerobus import DebugFiles, RowError, ZerobusWriter
from beam_zerobus.debug_files import read_arrow, read_proto
from beam_zerobus.debug_files.framing import frame
from beam_zerobus.emulator import Emulator

from .samples import AIR, TABLE, air, encode
from .test_writer import ids, open_writer, write


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a small tmpfs needs Linux and root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def one_warning(caplog: pytest.LogCaptureFixture) -> str:
    records = [record for record in caplog.records if record.name.startswith("beam_zerobus.debug_files")]
    (record,) = [record for record in records if record.levelno >= logging.WARNING]
    return record.getMessage()


def test_a_full_disk(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    reasons: list[str] = []
    writer = open_writer(small_disk, on_failure=reasons.append)
    batch = air(0, 200)
    records = encode(batch)
    numbers = [writer.write(batch, frame(records)) for _ in range(200)]
    writer.reject(0, [RowError(0, "null", "why")])
    writer.flush()
    writer.close()
    assert numbers == list(range(200))
    assert writer.failed
    assert "No space left on device" in one_warning(caplog)
    assert "Sending goes on" in one_warning(caplog)
    assert len(reasons) == 1
    # What was written before is whole but for the last batch.
    assert next(read_arrow(small_disk)) == batch
    assert len(ids(read_proto(small_disk))) >= 200


def test_a_disk_that_fills_while_rows_are_sent(
    emulator: Emulator, connect: Callable[..., ZerobusWriter], small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.create_table(TABLE, AIR.to_ddl())
    writer = connect(TABLE, schema=AIR.to_ddl(), debug_files=DebugFiles(output_dir=small_disk))
    for start in range(0, 40_000, 2_000):
        assert writer.send_batch(air(start, 2_000)).success
    assert writer.counters.debug_file_failures == 1
    writer.close()
    assert emulator.table(TABLE).count_rows() == 40_000
    assert "No space left on device" in one_warning(caplog)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not remove open files")
def test_a_directory_that_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = open_writer(tmp_path / "debug")
    write(writer, 0)
    shutil.rmtree(tmp_path / "debug")
    assert [write(writer, start) for start in (3, 6, 9)] == [1, 2, 3]
    deadline = time.monotonic() + 60
    while not writer.failed and time.monotonic() < deadline:  # a look ten times a second
        write(writer, 12)
    assert writer.failed
    writer.close()
    assert "FileNotFoundError" in one_warning(caplog)
    assert not (tmp_path / "debug").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not remove open files")
def test_a_directory_that_is_removed_after_the_last_batch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = open_writer(tmp_path / "debug")
    write(writer, 0)
    shutil.rmtree(tmp_path / "debug")
    writer.close()
    assert "FileNotFoundError" in one_warning(caplog)


def make_read_only(directory: Path) -> list[str] | None:
    """Let nobody, not even root, change the directory; return the command that undoes it, or None."""
    if os.geteuid() != 0:
        directory.chmod(0o500)
        return ["chmod", "700", str(directory)]
    if (
        shutil.which("chattr")
        and not subprocess.run(["chattr", "+i", directory], check=False, capture_output=True).returncode
    ):
        return ["chattr", "-i", str(directory)]
    return None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no read-only directories")
def test_a_directory_that_becomes_read_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = open_writer(tmp_path, max_file_bytes=1)
    write(writer, 0)
    undo = make_read_only(tmp_path / "zerobus" / "arrow")
    if undo is None:
        pytest.skip("root may write everywhere on a file system without immutable directories")
    try:
        assert [write(writer, start) for start in (3, 6)] == [1, 2]
        writer.close()
    finally:
        subprocess.run(undo, check=True)
    assert writer.failed
    assert "debug files" in one_warning(caplog)
    assert ids(read_arrow(tmp_path)) == [0, 1, 2]
    # The next writer starts where this one stopped.
    again = open_writer(tmp_path)
    write(again, 3)
    again.close()
    assert ids(read_arrow(tmp_path)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not remove open files")
def test_a_failing_hook_does_no_harm(tmp_path: Path) -> None:
    def fail(reason: str) -> None:
        raise RuntimeError(reason)

    writer = open_writer(tmp_path / "debug", on_failure=fail)
    write(writer, 0)
    shutil.rmtree(tmp_path / "debug")
    writer.close()
    assert writer.failed
