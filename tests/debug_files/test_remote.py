"""Debug files on a Beam filesystem."""

import io
import json
import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_zerobus import ConfigurationError, RowError
from beam_zerobus.debug_files import read_arrow, read_proto
from beam_zerobus.debug_files.folders import SUFFIXES
from beam_zerobus.rotated_files.names import Name
from tests.emulator.sdk import eventually

from .memory_filesystem import MemoryFileSystem
from .samples import TABLE
from .test_writer import ids, open_writer, write

URL = "memory://bucket/debug"


@pytest.fixture(autouse=True)
def filesystem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    MemoryFileSystem.reset()
    yield
    eventually(lambda: not list(tmp_path.iterdir()))  # the private directory goes, after an upload that hangs too


def uploaded(kind: str, suffix: str = "") -> list[str]:
    prefix = f"{URL}/zerobus/{kind}/"
    return sorted(
        p.removeprefix(prefix) for p in list(MemoryFileSystem.files) if p.startswith(prefix) and p.endswith(suffix)
    )


def test_current_files_are_uploaded_at_the_interval(tmp_path: Path) -> None:
    writer = open_writer(URL, flush_interval=0.05)
    write(writer, 0)
    eventually(lambda: uploaded("proto") == [f"{TABLE}.proto", f"{TABLE}.proto.desc"] and uploaded("arrow") != [])
    eventually(lambda: ids(read_arrow(URL)) == ids(read_proto(URL)) == [0, 1, 2])
    write(writer, 3)
    eventually(lambda: ids(read_arrow(URL)) == ids(read_proto(URL)) == list(range(6)))
    count = len(MemoryFileSystem.uploads)
    time.sleep(0.3)
    assert len(MemoryFileSystem.uploads) == count  # nothing new, nothing uploaded
    writer.close()


def test_close_uploads_everything(tmp_path: Path) -> None:
    writer = open_writer(URL, shard="host-1-0", flush_interval=600)
    writer.reject(write(writer, 0), [RowError(1, "null", "why")])
    writer.close()
    assert uploaded("arrow") == [f"{TABLE}-host-1-0.arrow", f"{TABLE}-host-1-0.rejects.jsonl"]
    assert ids(read_arrow(f"{URL}/zerobus/arrow/*.arrow")) == [0, 1, 2]
    assert not writer.failed


def test_full_files_are_uploaded_as_they_rotate(tmp_path: Path) -> None:
    writer = open_writer(URL, flush_interval=600, max_file_bytes=1, max_files_retained=None)
    for start in range(0, 30, 3):
        number = write(writer, start)
        eventually(lambda count=start // 3: len(uploaded("arrow", ".arrow")) >= count)
    # None of the full ones stays on this disk.
    eventually(lambda: not [path for path in tmp_path.rglob("*.arrow") if Name.parse(path.name, SUFFIXES).rotation])
    writer.reject(number - 4, [RowError(2, "null", "late")])
    writer.close()
    assert ids(read_arrow(URL)) == ids(read_proto(URL)) == list(range(30))
    assert len(uploaded("arrow", ".arrow")) == len(uploaded("proto", ".proto")) == len(uploaded("proto", ".desc")) == 10
    (name,) = uploaded("arrow", ".rejects.jsonl")
    mark = json.loads(MemoryFileSystem.files[f"{URL}/zerobus/arrow/{name}"])
    assert mark["reason"] == "late"
    (batch,) = read_arrow(f"{URL}/zerobus/arrow/{mark['file']}", rotated=False)
    assert batch["id"][mark["row"]].as_py() == 3 * (number - 4) + 2


@pytest.mark.parametrize("retained", [0, 2])
def test_the_retention_is_that_of_the_remote_files(tmp_path: Path, retained: int) -> None:
    other = f"{URL}/zerobus/arrow/{TABLE}-x.20200101T000000Z-000001.arrow"
    MemoryFileSystem.files[other] = b""
    writer = open_writer(URL, flush_interval=0.01, max_file_bytes=1, max_files_retained=retained)
    for start in range(0, 24, 3):
        write(writer, start)
        time.sleep(0.02)
    writer.close()
    assert other in MemoryFileSystem.files
    assert ids(read_arrow(f"{URL}/zerobus/arrow/{TABLE}.arrow")) == list(range(24 - 3 * (retained + 1), 24))
    assert ids(read_proto(URL)) == list(range(24 - 3 * (retained + 1), 24))
    assert len(uploaded("proto")) == 2 * (retained + 1)


def test_remote_files_found_at_start_are_rotated(tmp_path: Path) -> None:
    for run in range(3):
        writer = open_writer(URL)
        writer.reject(write(writer, 3 * run), [RowError(2, "null", "why")])
        writer.close()
    assert ids(read_arrow(URL)) == ids(read_proto(URL)) == list(range(9))
    for name in uploaded("arrow", ".arrow"):
        marks = MemoryFileSystem.files[f"{URL}/zerobus/arrow/{name.replace('.arrow', '.rejects.jsonl')}"]
        assert [json.loads(line)["file"] for line in marks.splitlines()] == [name]


def test_a_place_that_cannot_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    MemoryFileSystem.broken = "no permission"
    with pytest.raises(ConfigurationError, match=r"memory://bucket/debug.*no permission.*name a directory"):
        open_writer(URL)
    with pytest.raises(ConfigurationError, match="nosuchscheme"):
        open_writer("nosuchscheme://bucket/debug")


def test_an_upload_that_fails_stops_the_files_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = open_writer(URL, flush_interval=0.02)
    MemoryFileSystem.broken = "quota exceeded"
    write(writer, 0)
    eventually(lambda: writer.failed)
    write(writer, 3)
    writer.close()
    records = [record for record in caplog.records if record.name.startswith("beam_zerobus.debug_files")]
    (warning,) = [record.getMessage() for record in records if record.levelno >= logging.WARNING]
    assert "quota exceeded" in warning


def test_closing_waits_no_longer_than_it_may_for_an_upload_that_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer = open_writer(URL, flush_interval=600)
    write(writer, 0)
    answering, create = threading.Event(), MemoryFileSystem.create

    def hang(*arguments: str) -> io.BytesIO:
        assert answering.wait(60)
        return create(*arguments)

    monkeypatch.setattr(MemoryFileSystem, "create", hang)
    writer.close(0.1)  # it returns
    assert "the last upload did not end within 0.1 s" in caplog.text
    answering.set()


def test_uploads_that_do_not_keep_up_fill_no_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = open_writer(URL, max_file_bytes=1, max_files_retained=None)
    MemoryFileSystem.delay = 0.3
    began = time.monotonic()
    for start in range(0, 300, 3):
        write(writer, start)
    assert time.monotonic() - began < 100 * MemoryFileSystem.delay  # no write waits for an upload
    assert writer.failed
    writer.close()
    assert "does not keep up" in caplog.text
