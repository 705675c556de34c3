import json
import logging
import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from beam_zerobus import ConfigurationError, DebugFiles, RowError
from beam_zerobus.debug_files import DebugFileWriter, read_arrow, read_proto
from beam_zerobus.debug_files.framing import frame

from .samples import AIR, AIR_ENCODER, TABLE, air, encode, names

ROW = len(encode(air(0, 1))[0]) + 2


def open_writer(
    output_dir: Path | str,
    *,
    shard: str | None = None,
    table: str = TABLE,
    on_failure: Callable[[str], None] | None = None,
    on_written: Callable[[int], None] | None = None,
    **options: object,
) -> DebugFileWriter:
    return DebugFileWriter(
        DebugFiles(output_dir=output_dir, **options),
        table=table,
        shard=shard,
        descriptor=AIR_ENCODER.descriptor,
        schema=AIR,
        on_written=on_written,
        on_failure=on_failure,
    )


def write(writer: DebugFileWriter, start: int, rows: int = 3) -> int:
    batch = air(start, rows)
    return writer.write(batch, frame(encode(batch)))


def ids(batches: object) -> list[int]:
    return [value for batch in batches for value in batch["id"].to_pylist()]


def test_each_format_has_its_file_and_each_batch_is_in_both_at_once(tmp_path: Path) -> None:
    written: list[int] = []
    writer = open_writer(tmp_path / "deep" / "debug", on_written=written.append)
    root = tmp_path / "deep" / "debug" / "zerobus"
    for number in range(3):
        assert write(writer, 3 * number) == number
        # Nothing is flushed or closed: the operating system has what write() wrote.
        assert ids(read_arrow(root / "arrow" / f"{TABLE}.arrow")) == list(range(3 * number + 3))
        assert ids(read_proto(root / "proto" / f"{TABLE}.proto")) == list(range(3 * number + 3))
    writer.close()
    writer.close()
    assert names(root / "arrow") == [f"{TABLE}.arrow"]
    assert names(root / "proto") == [f"{TABLE}.proto", f"{TABLE}.proto.desc"]
    assert names(root) == ["arrow", "proto"]
    end_of_stream = 8
    sizes = [(root / kind / f"{TABLE}.{kind}").stat().st_size for kind in ("arrow", "proto")]
    assert sum(written) == sum(sizes) - end_of_stream
    assert not writer.failed


def test_arrow_batches_are_read_unchanged(tmp_path: Path) -> None:
    batches = [
        air(0).slice(1),
        pa.record_batch({"d": pa.array(["x", "y", "x"]).dictionary_encode()}),
        pa.record_batch({"d": pa.array(["z", "y", None]).dictionary_encode()}),
        pa.record_batch({"d": pa.array([], pa.string())}),
        pa.record_batch({"n": pa.array([[{"a": 1}], None])}, metadata={"k": "v"}),
    ]
    writer = open_writer(tmp_path, proto=False)
    for batch in batches:
        writer.write(batch)
    writer.close()
    read = list(read_arrow(tmp_path))
    assert read == batches
    # Another schema needs another file.
    assert len(names(tmp_path / "zerobus" / "arrow")) == 4


def test_a_shard_is_in_the_names(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, shard="host.local-42-0")
    write(writer, 0)
    writer.close()
    assert names(tmp_path / "zerobus" / "arrow") == [f"{TABLE}-host.local-42-0.arrow"]


@pytest.mark.parametrize(("arrow", "proto"), [(True, False), (False, True)])
def test_each_format_alone(tmp_path: Path, arrow: bool, proto: bool) -> None:
    writer = open_writer(tmp_path, arrow=arrow, proto=proto)
    write(writer, 0)
    writer.close()
    assert names(tmp_path / "zerobus") == ["arrow" if arrow else "proto"]


def test_a_table_without_protobuf_form_has_arrow_files_only(tmp_path: Path) -> None:
    writer = DebugFileWriter(DebugFiles(output_dir=tmp_path), table=TABLE)
    writer.write(air(0))
    writer.close()
    assert names(tmp_path / "zerobus") == ["arrow"]
    with pytest.raises(ConfigurationError, match="switch arrow on"):
        DebugFileWriter(DebugFiles(output_dir=tmp_path, arrow=False), table=TABLE)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes: files get their directory's rights")
def test_files_and_directories_are_private(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        writer = open_writer(tmp_path / "debug", max_file_bytes=1)
        writer.reject(write(writer, 0), [RowError(1, "null", "column 'id' is NOT NULL")])
        write(writer, 3)
        writer.close()
    finally:
        os.umask(mask)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "debug").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert len(modes) == 2 + 1 + 2 + 1 + 4
    assert stat.S_IMODE((tmp_path / "debug").stat().st_mode) == 0o700


def test_full_files_rotate_together_and_read_back_in_order(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, max_file_bytes=3_000, max_files_retained=None)
    for start in range(0, 300, 3):
        write(writer, start)
    writer.close()
    arrow, proto = names(tmp_path / "zerobus" / "arrow"), names(tmp_path / "zerobus" / "proto")
    assert len(arrow) > 3
    assert [name.removesuffix(".arrow") for name in arrow] == [
        n.removesuffix(".proto") for n in proto if n.endswith(".proto")
    ]
    assert [f"{name}.desc" for name in proto if name.endswith(".proto")] == [n for n in proto if n.endswith(".desc")]
    assert all(path.stat().st_size <= 3_000 for path in (tmp_path / "zerobus").glob("*/*.[ap]r*[wo]"))
    assert ids(read_arrow(tmp_path)) == ids(read_proto(tmp_path)) == list(range(300))
    for name in arrow:
        one, other = (
            (tmp_path / "zerobus" / "arrow" / name),
            (tmp_path / "zerobus" / "proto" / name.replace(".arrow", ".proto")),
        )
        assert ids(read_arrow(one, rotated=False)) == ids(read_proto(other, rotated=False))


def test_a_batch_larger_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, max_file_bytes=2_000)
    for start, rows in ((0, 2), (2, 1_000), (1_002, 2), (1_004, 2)):
        write(writer, start, rows)
    writer.close()
    counts = [len(ids(read_arrow(path, rotated=False))) for path in sorted((tmp_path / "zerobus/arrow").iterdir())]
    assert counts == [2, 1_000, 4]


def test_files_found_at_start_are_rotated(tmp_path: Path) -> None:
    for run in range(3):
        writer = open_writer(tmp_path)
        writer.reject(write(writer, 3 * run), [RowError(2, "null", "why")])
        writer.close()
    assert ids(read_arrow(tmp_path)) == ids(read_proto(tmp_path)) == list(range(9))
    rotated = [name for name in names(tmp_path / "zerobus" / "arrow") if name.endswith(".arrow")]
    assert len(rotated) == 3
    for name in rotated:
        marks = (tmp_path / "zerobus" / "arrow" / name.replace(".arrow", ".rejects.jsonl")).read_text().splitlines()
        assert [json.loads(line)["file"] for line in marks] == [name]


def test_files_of_a_format_that_is_switched_off_are_rotated_too(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    write(writer, 0)
    writer.close()
    writer = open_writer(tmp_path, proto=False)
    write(writer, 3)
    writer.close()
    (proto,) = (tmp_path / "zerobus" / "proto").glob("*.proto")
    (arrow,) = (tmp_path / "zerobus" / "arrow").glob("*Z-*.arrow")
    assert proto.stem == arrow.stem


@pytest.mark.parametrize("retained", [0, 1, 3, None])
def test_retention_keeps_the_youngest_of_this_writer_and_touches_no_other(tmp_path: Path, retained: int | None) -> None:
    others = [
        "main.iot.air.20200101T000000Z-000001.arrow",
        f"{TABLE}-shard.20200101T000000Z-000001.arrow",
        f"{TABLE}_2.20200101T000000Z-000001.arrow",
        f"x{TABLE}.20200101T000000Z-000001.arrow",
        f"{TABLE}.20200101T000000Z-000001.arrow.bak",
        f"{TABLE}.notes.txt",
    ]
    (tmp_path / "zerobus" / "arrow").mkdir(parents=True)
    for other in others:
        (tmp_path / "zerobus" / "arrow" / other).write_bytes(b"")
    writer = open_writer(tmp_path, max_file_bytes=1, max_files_retained=retained)
    for start in range(0, 18, 3):
        writer.reject(write(writer, start), [RowError(0, "null", "why")])
    writer.close()
    kept = 5 if retained is None else retained
    assert ids(read_proto(tmp_path)) == list(range(18 - 3 * (kept + 1), 18))
    left = names(tmp_path / "zerobus" / "arrow")
    assert set(others) <= set(left)
    assert len(left) == len(others) + 2 * (kept + 1)
    assert len(names(tmp_path / "zerobus" / "proto")) == 2 * (kept + 1)


def test_marks_of_rejected_rows_name_their_row_after_a_rotation_too(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, max_file_bytes=1_500)
    numbers = [write(writer, start) for start in range(0, 60, 3)]
    for number in numbers:
        writer.reject(number, [RowError(number % 3, "null", f"row {3 * number + number % 3}", "service")])
        writer.reject(number, [])
    writer.close()
    marks = [
        json.loads(line)
        for path in (tmp_path / "zerobus" / "arrow").glob("*.rejects.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert len(marks) == 20
    for mark in marks:
        assert set(mark) == {"file", "batch", "row", "reason", "error_type", "stage"}
        batches = list(read_arrow(tmp_path / "zerobus" / "arrow" / mark["file"], rotated=False))
        assert mark["reason"] == f"row {batches[mark['batch']]['id'][mark['row']]}"


def test_two_writers_of_one_name_do_not_touch_each_other(tmp_path: Path) -> None:
    first, second, third = (open_writer(tmp_path, max_file_bytes=1) for _ in range(3))
    for start, writer in enumerate((first, second, third, first, second, third)):
        write(writer, start, rows=1)
    for writer in (first, second, third):
        writer.close()
    own = f"{TABLE}-{os.getpid()}"
    read = [ids(read_arrow(tmp_path / f"zerobus/arrow/{base}.arrow")) for base in (TABLE, own, f"{own}-2")]
    assert read == [[0, 3], [1, 4], [2, 5]]
    again = open_writer(tmp_path)
    write(again, 6)
    again.close()
    assert ids(read_arrow(tmp_path / f"zerobus/arrow/{TABLE}.arrow")) == [0, 3, 6, 7, 8]


def test_many_threads(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, max_file_bytes=20_000, max_files_retained=None)
    numbers: dict[int, int] = {}

    def run(thread: int) -> None:
        for k in range(50):
            start = 10 * (50 * thread + k)
            numbers[write(writer, start, rows=10)] = start

    threads = [threading.Thread(target=run, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    expected = [numbers[number] + row for number in range(800) for row in range(10)]
    assert ids(read_arrow(tmp_path)) == ids(read_proto(tmp_path)) == expected


def test_no_thread_without_need_and_none_is_left(tmp_path: Path) -> None:
    before = {*threading.enumerate()}  # one of an earlier test may still be ending

    def running() -> list[str]:
        names = [thread.name for thread in threading.enumerate() if thread not in before]
        return [name for name in names if name == "zerobus-debug-files"]

    writer = open_writer(tmp_path, max_files_retained=None)
    assert running() == []
    writer.close()
    for options in ({"max_files_retained": 0}, {"max_files_retained": None, "fsync": True}):
        writer = open_writer(tmp_path, **options)
        assert running() == ["zerobus-debug-files"]
        writer.close()
        assert running() == []


def test_fsync_is_done_at_the_interval_and_at_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    seen = threading.Event()

    def watch(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        seen.set()
        real(descriptor)

    if sys.platform == "win32" or not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to see which file is synced")
    real = os.fsync
    monkeypatch.setattr(os, "fsync", watch)
    writer = open_writer(tmp_path, fsync=True, flush_interval=0.05, max_file_bytes=1)
    write(writer, 0)
    assert seen.wait(60)  # with no further batch
    write(writer, 3)
    writer.close()
    files = {path for path in (tmp_path / "zerobus").rglob("*") if path.is_file()}
    assert files <= set(synced)


def test_a_directory_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"DebugFiles.output_dir=.*file.*name a directory"):
        open_writer(tmp_path / "file")
    (tmp_path / "zerobus").mkdir()
    (tmp_path / "zerobus" / "proto").write_text("")
    with pytest.raises(ConfigurationError, match="output_dir"):
        open_writer(tmp_path)
    (tmp_path / "zerobus" / "proto").unlink()
    open_writer(tmp_path).close()  # the name was given back


def test_use_after_close_does_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = open_writer(tmp_path)
    number = write(writer, 0)
    writer.close()
    with caplog.at_level(logging.WARNING):
        assert write(writer, 3) == 1
        writer.reject(number, [RowError(0, "null", "why")])
        writer.flush()
    assert caplog.messages == []
    assert ids(read_arrow(tmp_path)) == [0, 1, 2]
