"""Links, FIFOs and directories in place of our files: never followed, never waited for, never a lost row."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_zerobus import ConfigurationError, DebugFiles, RowError, ZerobusWriter
from beam_zerobus.debug_files import read_arrow, read_proto
from beam_zerobus.options import Telemetry
from beam_zerobus.telemetry.arrow_exporter import MetricFiles, SpanFiles, check_directory
from tests.debug_files.samples import AIR, TABLE, air
from tests.debug_files.test_writer import ids, open_writer, write

SECRET = b"somebody else's file"
ARROW = f"zerobus/arrow/{TABLE}.arrow"
PROTO = f"zerobus/proto/{TABLE}.proto"
DESCRIPTOR = f"{PROTO}.desc"
REJECTS = f"zerobus/arrow/{TABLE}.rejects.jsonl"
LOCK = f"zerobus/.{TABLE}.lock"
ROTATED = f"{TABLE}.20990101T000000Z-000001"
FILES = (ARROW, PROTO, DESCRIPTOR, REJECTS, LOCK)
KINDS = ("link", "dangling link", "fifo", "directory")
OBSTACLES = pytest.mark.parametrize("kind", KINDS)


class Elsewhere:
    """A directory with a file and a directory of somebody else, which must stay as they are."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "elsewhere"
        (self.directory / "files").mkdir(parents=True)
        self.file = self.directory / "file"
        self.file.write_bytes(SECRET)

    def put(self, kind: str, path: Path) -> None:
        """Put a link, a FIFO or a directory in place of a path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        while path.is_dir() and not path.is_symlink():
            with suppress(FileNotFoundError):  # the writer removes old files meanwhile
                shutil.rmtree(path)
        path.unlink(missing_ok=True)
        try:
            if kind == "fifo":
                os.mkfifo(path)
            elif kind == "directory":
                path.mkdir()
            else:
                targets = {"link": self.file, "dangling link": self.directory / "new", "link to a directory": None}
                path.symlink_to(targets[kind] or self.directory / "files")
        except (AttributeError, NotImplementedError, OSError):
            pytest.skip(f"this system makes no {kind}")

    def is_untouched(self) -> bool:
        """Whether nothing was written, made or removed here."""
        found = {path.relative_to(self.directory).as_posix() for path in self.directory.rglob("*")}
        return found == {"file", "files"} and self.file.read_bytes() == SECRET


@pytest.fixture
def elsewhere(tmp_path: Path) -> Elsewhere:
    return Elsewhere(tmp_path)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@OBSTACLES
@pytest.mark.parametrize("place", FILES)
def test_an_obstacle_at_start_is_a_configuration_error(
    tmp_path: Path, elsewhere: Elsewhere, place: str, kind: str
) -> None:
    elsewhere.put(kind, tmp_path / "debug" / place)
    with pytest.raises(ConfigurationError, match=r"is .*, not a regular file: remove it") as raised:
        open_writer(tmp_path / "debug")
    assert str(tmp_path / "debug" / place) in str(raised.value)
    assert elsewhere.is_untouched()


@pytest.mark.parametrize("kind", ["link to a directory", "dangling link", "fifo"])
@pytest.mark.parametrize("place", ["zerobus", "zerobus/arrow", "zerobus/proto"])
def test_directories_below_the_users_are_no_links(tmp_path: Path, elsewhere: Elsewhere, place: str, kind: str) -> None:
    elsewhere.put(kind, tmp_path / "debug" / place)
    with pytest.raises(ConfigurationError, match="not a directory: remove it"):
        open_writer(tmp_path / "debug")
    assert elsewhere.is_untouched()


def test_the_users_own_directory_may_be_a_link(tmp_path: Path, elsewhere: Elsewhere) -> None:
    elsewhere.put("link to a directory", tmp_path / "debug")
    writer = open_writer(tmp_path / "debug", max_file_bytes=1)
    for start in (0, 3, 6):
        writer.reject(write(writer, start), [RowError(0, "null", "why")])
    writer.close()
    assert not writer.failed
    assert ids(read_arrow(tmp_path / "debug")) == ids(read_proto(tmp_path / "debug")) == list(range(9))


@OBSTACLES
def test_marks_of_rejected_rows_go_through_no_obstacle(
    tmp_path: Path, elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    writer = open_writer(tmp_path / "debug")
    number = write(writer, 0)
    elsewhere.put(kind, tmp_path / "debug" / REJECTS)
    writer.reject(number, [RowError(1, "null", "why")])
    writer.close()
    assert writer.failed
    assert elsewhere.is_untouched()
    (warning,) = warnings(caplog)
    assert "not a regular file" in warning
    assert ids(read_arrow(tmp_path / "debug" / ARROW)) == [0, 1, 2]


@OBSTACLES
def test_a_batch_with_rejected_rows_has_its_result(
    tmp_path: Path, elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    batch = air(0, 4).set_column(0, "id", pa.array([0, None, 2, 3], pa.int64()))
    files = DebugFiles(output_dir=tmp_path / "debug")
    with ZerobusWriter(TABLE, schema=AIR, debug_files=files, dry_run=True) as writer:
        writer.send_batch(air(0))
        elsewhere.put(kind, tmp_path / "debug" / REJECTS)
        for _ in range(3):
            result = writer.send_batch(batch)
            assert [error.index for error in result.failed_rows] == [1]
    assert elsewhere.is_untouched()
    assert len([line for line in warnings(caplog) if line.startswith("debug files")]) == 1


@OBSTACLES
@pytest.mark.parametrize("suffix", [".arrow", ".rejects.jsonl"])
def test_a_rotation_replaces_no_obstacle(
    tmp_path: Path, elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture, kind: str, suffix: str
) -> None:
    from beam_zerobus.debug_files import DebugFileWriter

    options = DebugFiles(output_dir=tmp_path / "debug", max_file_bytes=1, proto=False)
    writer = DebugFileWriter(options, table=TABLE, clock=lambda: 0.0)
    writer.reject(writer.write(air(0)), [RowError(1, "null", "why")])
    elsewhere.put(kind, tmp_path / f"debug/zerobus/arrow/{TABLE}.19700101T000000Z-000001{suffix}")
    writer.write(air(3))
    writer.close()
    assert writer.failed
    assert elsewhere.is_untouched()
    assert len(warnings(caplog)) == 1


@OBSTACLES
@pytest.mark.parametrize("place", [DESCRIPTOR, REJECTS])
def test_a_rotation_copies_no_obstacle(
    tmp_path: Path, elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture, place: str, kind: str
) -> None:
    writer = open_writer(tmp_path / "debug", max_file_bytes=1)
    write(writer, 0)
    elsewhere.put(kind, tmp_path / "debug" / place)
    write(writer, 3)
    writer.close()
    assert writer.failed
    assert elsewhere.is_untouched()
    assert len(warnings(caplog)) == 1
    assert not [path for path in (tmp_path / "debug").rglob("*Z-*") if path.read_bytes() == SECRET]


@pytest.mark.parametrize("kind", ["link", "dangling link", "fifo"])
@pytest.mark.parametrize("suffix", [".arrow", ".rejects.jsonl"])
def test_a_sync_opens_no_obstacle(
    tmp_path: Path, elsewhere: Elsewhere, caplog: pytest.LogCaptureFixture, suffix: str, kind: str
) -> None:
    writer = open_writer(tmp_path / "debug", fsync=True, flush_interval=600)
    write(writer, 0)
    elsewhere.put(kind, tmp_path / f"debug/zerobus/arrow/{ROTATED}{suffix}")
    writer.close()
    assert elsewhere.is_untouched()
    (warning,) = warnings(caplog)
    assert "not a regular file" in warning


@pytest.mark.parametrize("kind", ["link", "dangling link", "fifo"])
def test_the_retention_removes_an_obstacle_and_nothing_else(tmp_path: Path, elsewhere: Elsewhere, kind: str) -> None:
    old = tmp_path / f"debug/zerobus/arrow/{TABLE}.19700101T000000Z-000001.arrow"
    elsewhere.put(kind, old)
    writer = open_writer(tmp_path / "debug", max_file_bytes=1, max_files_retained=1)
    for start in (0, 3, 6):
        write(writer, start)
    writer.close()
    assert not writer.failed
    assert not os.path.lexists(old)
    assert elsewhere.is_untouched()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.sampled_from([*FILES, "zerobus", "zerobus/arrow", f"zerobus/arrow/{ROTATED}.arrow"]),
    kind=st.sampled_from(KINDS),
    before=st.integers(0, 3),
    options=st.fixed_dictionaries(
        {
            "max_file_bytes": st.sampled_from([1, 1 << 20]),
            "max_files_retained": st.sampled_from([0, 1, None]),
            "fsync": st.booleans(),
        }
    ),
)
def test_whatever_is_put_anywhere_at_any_time_nothing_raises_hangs_or_leaks(
    place: str, kind: str, before: int, options: dict[str, object]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        elsewhere = Elsewhere(root)
        writer = open_writer(root / "debug", **options)
        for step in range(6):
            if step == before:
                elsewhere.put(kind, root / "debug" / place)
            assert write(writer, 3 * step) == step
            writer.reject(step, [RowError(0, "null", "why")])
        writer.close()
        assert elsewhere.is_untouched()


@pytest.mark.parametrize("kind", ["link", "dangling link", "fifo", "directory"])
@pytest.mark.parametrize("place", [ARROW, PROTO, DESCRIPTOR])
def test_readers_open_no_obstacle(tmp_path: Path, elsewhere: Elsewhere, place: str, kind: str) -> None:
    writer = open_writer(tmp_path / "debug")
    write(writer, 0)
    writer.close()
    elsewhere.put(kind, tmp_path / "debug" / place)
    with pytest.raises(OSError, match="not a regular file"):
        list(read_arrow(tmp_path / "debug") if place == ARROW else read_proto(tmp_path / "debug"))


SIGNALS: dict[str, Callable[[Path], object]] = {"traces/spans": SpanFiles, "metrics/metrics": MetricFiles}


@OBSTACLES
@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("place", ["{directory}/{base}.arrow", ".{base}.lock"])
def test_telemetrys_files_meet_no_obstacle(
    tmp_path: Path, elsewhere: Elsewhere, signal: str, place: str, kind: str
) -> None:
    directory = signal.partition("/")[0]
    exporter = SIGNALS[signal](tmp_path / "probe")
    (lock,) = (tmp_path / "probe" / "otlp").glob(".*.lock")
    exporter.shutdown()
    base = lock.name.removeprefix(".").removesuffix(".lock")
    elsewhere.put(kind, tmp_path / "telemetry" / "otlp" / place.format(directory=directory, base=base))
    with pytest.raises(ConfigurationError, match=r"Telemetry\.output_dir=.*not a regular file: remove it"):
        SIGNALS[signal](tmp_path / "telemetry")
    assert elsewhere.is_untouched()


@pytest.mark.parametrize("kind", ["link to a directory", "dangling link", "fifo"])
def test_telemetrys_directory_is_no_link(tmp_path: Path, elsewhere: Elsewhere, kind: str) -> None:
    elsewhere.put(kind, tmp_path / "telemetry" / "otlp")
    with pytest.raises(ConfigurationError, match=r"Telemetry\.output_dir=.*not a directory"):
        check_directory(Telemetry(output_dir=tmp_path / "telemetry").output_dir)
    assert elsewhere.is_untouched()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs")
def test_a_fifo_with_a_reader_gets_no_row(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    number = write(writer, 0)
    os.mkfifo(tmp_path / REJECTS)
    reader = os.open(tmp_path / REJECTS, os.O_RDONLY | os.O_NONBLOCK)
    try:
        writer.reject(number, [RowError(1, "null", "why")])
        assert os.read(reader, 100) == b""
    finally:
        os.close(reader)
    writer.close()
    assert writer.failed
