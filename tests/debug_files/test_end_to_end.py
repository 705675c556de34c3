"""The content of the files, compared with what the emulator received."""

import builtins
import json
import logging
import os
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from beam_zerobus import DebugFiles, ZerobusWriter
from beam_zerobus.debug_files import read_arrow, read_proto
from beam_zerobus.debug_files.framing import frame
from beam_zerobus.debug_files.inspect.diff import compare, pairs
from beam_zerobus.debug_files.inspect.files import find_files
from beam_zerobus.debug_files.inspect.framing import read_framed
from beam_zerobus.emulator import Emulator
from beam_zerobus.encoding import ProtoEncoder
from beam_zerobus.encoding.proto import chunks
from beam_zerobus.encoding.proto.assembly import Rows
from beam_zerobus.writer import debug_record

from .samples import AIR, TABLE, air, encode
from .test_writer import ids

THREADS, BATCHES, ROWS = 16, 12, 20
FORMATS = pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])


@pytest.fixture
def table(emulator: Emulator) -> str:
    emulator.create_table(TABLE, AIR.to_ddl())
    return TABLE


def send_from_threads(writer: ZerobusWriter) -> None:
    failures: list[Exception] = []

    def run(thread: int) -> None:
        try:
            for k in range(BATCHES):
                assert writer.send_batch(air((thread * BATCHES + k) * ROWS, ROWS)).success
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def records_in_files(directory: Path) -> list[bytes]:
    """Each record's bytes in the protobuf files, with tag and length."""
    records = []
    for file in find_files(directory, ".proto"):
        with file.open() as source:
            records += list(read_framed(source, 1))
    return records


@FORMATS
def test_every_batch_is_in_the_files_as_it_was_sent(
    emulator: Emulator, table: str, connect: Callable[..., ZerobusWriter], tmp_path: Path, wire_format: str
) -> None:
    files = DebugFiles(output_dir=tmp_path, max_file_bytes=20_000, max_files_retained=None)
    writer = connect(table, schema=AIR.to_ddl(), wire_format=wire_format, debug_files=files)
    send_from_threads(writer)
    writer.close()
    expected = list(range(THREADS * BATCHES * ROWS))
    assert len(list((tmp_path / "zerobus" / "arrow").iterdir())) > 5
    assert sorted(ids(read_arrow(tmp_path))) == sorted(ids(read_proto(tmp_path))) == expected
    assert ids(read_arrow(tmp_path)) == ids(read_proto(tmp_path))
    assert all(compare(*pair, limit=0).is_same for pair in pairs(find_files(tmp_path, ".arrow")))
    assert sorted(emulator.table(table).to_arrow()["id"].to_pylist()) == expected

    calls = [call.records for call in emulator.stats.calls]
    written = records_in_files(tmp_path)
    if wire_format == "proto":
        # Byte for byte, in the order of arrival.
        assert written == [frame([record]) for records in calls for record in records]
    else:
        assert Counter(written) == Counter(frame([record]) for i in expected for record in encode(air(i, 1)))
    batches = [batch["id"].to_pylist() for batch in read_arrow(tmp_path)]
    if wire_format == "arrow":
        assert batches == [records["id"].to_pylist() for records in calls]


@FORMATS
def test_a_batch_is_in_the_files_before_its_result_is_returned(
    table: str, connect: Callable[..., ZerobusWriter], tmp_path: Path, wire_format: str
) -> None:
    writer = connect(table, wire_format=wire_format, debug_files=DebugFiles(output_dir=tmp_path))
    for start in range(0, 30, 10):
        writer.send_batch(air(start, 10))
        assert ids(read_arrow(tmp_path)) == ids(read_proto(tmp_path)) == list(range(start + 10))


@FORMATS
def test_rows_are_not_framed_where_no_protobuf_file_is_written(
    table: str,
    connect: Callable[..., ZerobusWriter],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wire_format: str,
) -> None:
    made: list[str] = []
    framing = [(debug_record, "frame"), (chunks, "joined")]
    for owner, name in framing if wire_format == "proto" else [*framing, (ProtoEncoder, "encode")]:
        real = getattr(owner, name)

        def traced(*args: object, name: str = name, real: Callable[..., object] = real) -> object:
            made.append(name)
            return real(*args)

        monkeypatch.setattr(owner, name, traced)
    files = DebugFiles(output_dir=tmp_path, proto=False)
    writer = connect(table, schema=AIR.to_ddl(), wire_format=wire_format, debug_files=files)
    writer.send_batch(air(0, 10))
    writer.send_batch(air(10, 200))  # so many are encoded in another way
    writer.close()
    assert made == []
    assert ids(read_arrow(tmp_path)) == list(range(210))


def test_batches_that_are_left_out_are_not_framed(
    table: str, connect: Callable[..., ZerobusWriter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    framed: list[Rows] = []
    real = chunks.joined
    monkeypatch.setattr(chunks, "joined", lambda rows: framed.append(rows) or real(rows))
    writer = connect(table, schema=AIR.to_ddl(), debug_files=DebugFiles(output_dir=tmp_path, write_every=3))
    for start in range(0, 1_200, 200):
        writer.send_batch(air(start, 200))
    writer.close()
    assert ids(read_proto(tmp_path)) == [*range(200), *range(600, 800)]
    assert len(framed) == 2


def test_a_table_is_not_copied_where_no_arrow_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = DebugFiles(output_dir=tmp_path, arrow=False)
    with monkeypatch.context() as patch, ZerobusWriter(TABLE, schema=AIR, debug_files=files, dry_run=True) as writer:
        patch.delattr(pa, "concat_batches")
        writer.send_batch(pa.Table.from_batches([air(0), air(3)]))
    assert ids(read_proto(tmp_path)) == list(range(6))


def test_the_files_of_a_writer_alone_have_no_shard(
    table: str, connect: Callable[..., ZerobusWriter], tmp_path: Path
) -> None:
    writer = connect(table, debug_files=DebugFiles(output_dir=tmp_path))
    writer.send_batch(air(0))
    writer.close()
    root = tmp_path / "zerobus"
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {
        root / "arrow" / f"{TABLE}.arrow",
        root / "proto" / f"{TABLE}.proto",
        root / "proto" / f"{TABLE}.proto.desc",
    }


def test_rejected_rows_are_in_the_files_with_their_reason(
    emulator: Emulator, table: str, connect: Callable[..., ZerobusWriter], tmp_path: Path
) -> None:
    writer = connect(table, schema=AIR.to_ddl(), debug_files=DebugFiles(output_dir=tmp_path))
    batch = air(0, 6).set_column(0, "id", pa.array([0, None, 2, 3, None, 5], pa.int64()))
    result = writer.send_batch(batch)
    writer.close()
    assert [error.index for error in result.failed_rows] == [1, 4]
    assert ids(read_arrow(tmp_path)) == batch["id"].to_pylist()
    assert ids(read_proto(tmp_path)) == [0, 2, 3, 5]
    (pair,) = pairs(find_files(tmp_path, ".arrow"))
    found = compare(*pair, limit=10)
    assert (found.is_same, found.rejected_rows) == (True, 2)


@FORMATS
def test_write_every_takes_every_nth(
    table: str, connect: Callable[..., ZerobusWriter], tmp_path: Path, wire_format: str
) -> None:
    files = DebugFiles(output_dir=tmp_path, write_every=3)
    writer = connect(table, schema=AIR.to_ddl(), wire_format=wire_format, debug_files=files)
    for start in range(0, 16, 2):
        batch = air(start, 2).set_column(0, "id", pa.array([start, None], pa.int64()))
        assert writer.send_batch(batch).failed_count == 1
    writer.close()
    assert ids(read_arrow(tmp_path)) == [0, None, 6, None, 12, None]
    assert ids(read_proto(tmp_path)) == [0, 6, 12]
    marks = [json.loads(line) for line in (tmp_path / f"zerobus/arrow/{TABLE}.rejects.jsonl").read_text().splitlines()]
    batches = list(read_arrow(tmp_path))
    assert len(marks) == 3
    assert all(batches[mark["batch"]]["id"][mark["row"]].as_py() is None for mark in marks)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not remove open files")
@FORMATS
@pytest.mark.usefixtures("table")
def test_when_the_directory_is_removed_the_rows_arrive_with_one_warning(
    emulator: Emulator,
    connect: Callable[..., ZerobusWriter],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    wire_format: str,
) -> None:
    writer = connect(TABLE, wire_format=wire_format, debug_files=DebugFiles(output_dir=tmp_path / "debug"))
    writer.send_batch(air(0))
    shutil.rmtree(tmp_path / "debug")
    send_from_threads(writer)
    writer.close()
    assert emulator.table(TABLE).count_rows() == 3 + THREADS * BATCHES * ROWS
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([text for text in warnings if "debug files" in text]) == 1


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("on", [False, True])
def test_off_touches_no_file(
    emulator: Emulator, connect: Callable[..., ZerobusWriter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on: bool
) -> None:
    opened: list[str] = []
    strangers = {*threading.enumerate()} - {threading.current_thread()}  # the emulator's, and those of earlier tests
    for module, name in ((os, "open"), (builtins, "open"), (pa, "OSFile")):
        real = getattr(module, name)

        def traced(path: object, *args: object, real: Callable[..., object] = real, **options: object) -> object:
            if threading.current_thread() not in strangers:
                opened.append(str(path))
            return real(path, *args, **options)

        monkeypatch.setattr(module, name, traced)
    writer = connect(TABLE, debug_files=DebugFiles(output_dir=tmp_path) if on else None)
    for start in range(0, 30, 3):
        writer.send_batch(air(start))
    writer.close()
    ours = [path for path in opened if not path.startswith(str(emulator.storage_dir))]
    assert bool(ours) == any(tmp_path.iterdir()) == on


@pytest.mark.usefixtures("table")
def test_rows_that_no_file_can_hold_arrive_all_the_same(
    emulator: Emulator, connect: Callable[..., ZerobusWriter], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def part(start: int, ids: list[int | None]) -> pa.RecordBatch:
        devices = pa.DictionaryArray.from_arrays(pa.array(range(100), pa.int8()), [f"d{start + i}" for i in range(100)])
        return air(start, 100).set_column(0, "id", pa.array(ids, pa.int64())).set_column(1, "device", devices)

    # Rejected rows are in the files with the rows after them; both parts have more devices than an int8 counts.
    parts = pa.Table.from_batches([part(0, [None] * 100), part(100, list(range(100)))])
    writer = connect(TABLE, schema=AIR.to_ddl(), debug_files=DebugFiles(output_dir=tmp_path))
    assert writer.send_batch(parts).successful_count == 100
    assert writer.send_batch(air(100, 10)).success
    writer.close()
    assert emulator.table(TABLE).count_rows() == 110
    assert len([record for record in caplog.records if "debug files" in record.getMessage()]) == 1
