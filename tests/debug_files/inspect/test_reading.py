import datetime as dt
import os
from pathlib import Path

import pyarrow as pa
import pytest

from beam_zerobus import DebugFiles
from beam_zerobus.debug_files import DebugFileWriter, read_arrow, read_proto
from beam_zerobus.debug_files.framing import frame
from beam_zerobus.encoding import ProtoEncoder
from tests.debug_files.samples import AIR_ENCODER, EVERY_TYPE, TABLE, air, encode, every_type
from tests.debug_files.test_writer import ids, open_writer, write


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Two shards and another table, with rotated files."""
    for shard, start in (("a", 0), ("b", 100)):
        writer = open_writer(tmp_path, shard=shard, max_file_bytes=1)
        for k in range(3):
            write(writer, start + 3 * k)
        writer.close()
    writer = open_writer(tmp_path, table="main.iot.other")
    write(writer, 1000)
    writer.close()
    return tmp_path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", [*range(9), *range(100, 109), *range(1000, 1003)]),
        ("zerobus", [*range(9), *range(100, 109), *range(1000, 1003)]),
        ("zerobus/{kind}", [*range(9), *range(100, 109), *range(1000, 1003)]),
        ("zerobus/{kind}/*-a.*", list(range(9))),
        ("zerobus/{kind}/main.iot.air_quality-a.{kind}", list(range(9))),
        ("zerobus/{kind}/main.iot.air_quality-*.{kind}", [*range(9), *range(100, 109)]),
        ("**/*other.*", list(range(1000, 1003))),
    ],
)
def test_files_patterns_directories_and_rotated_sets(written: Path, path: str, expected: list[int]) -> None:
    assert ids(read_arrow(written / path.format(kind="arrow"))) == expected
    assert ids(read_proto(os.fspath(written / path.format(kind="proto")))) == expected
    assert ids(read_arrow((written / path.format(kind="arrow")).as_uri().replace("%2A", "*"))) == expected


def test_one_file_alone(written: Path) -> None:
    current = written / "zerobus" / "arrow" / f"{TABLE}-a.arrow"
    assert ids(read_arrow(current, rotated=False)) == [6, 7, 8]
    first = min((written / "zerobus" / "proto").glob("*-a.*.proto"))
    assert ids(read_proto(first)) == [0, 1, 2]
    current.unlink()
    assert ids(read_arrow(current)) == list(range(6))


@pytest.mark.parametrize("path", ["nothing", "zerobus/arrow/none.arrow", "zerobus/arrow/*.nothing"])
def test_no_file_is_an_error_at_once(written: Path, path: str) -> None:
    with pytest.raises(FileNotFoundError, match="name a file, a pattern"):
        read_arrow(written / path)


def test_the_tables_types_are_restored(tmp_path: Path) -> None:
    encoder = ProtoEncoder(EVERY_TYPE)
    batch = every_type()
    writer = DebugFileWriter(
        DebugFiles(output_dir=tmp_path), table=TABLE, descriptor=encoder.descriptor, schema=EVERY_TYPE
    )
    writer.write(batch, frame(encode(batch, encoder)))
    writer.close()
    (read,) = read_proto(tmp_path)
    assert read.schema.types == batch.schema.types
    assert [field.nullable for field in read.schema] == [field.nullable for field in batch.schema]
    assert read.to_pylist() == batch.to_pylist()


def test_without_a_schema_columns_have_protobufs_own_types(tmp_path: Path) -> None:
    writer = DebugFileWriter(DebugFiles(output_dir=tmp_path), table=TABLE, descriptor=AIR_ENCODER.descriptor)
    write(writer, 0)
    writer.close()
    (read,) = read_proto(tmp_path)
    assert read.schema.field("ts").type == pa.int64()
    assert read["ts"].to_pylist() == [int(t.timestamp() * 1e6) for t in air(0)["ts"].to_pylist()]
    assert read["ts"][0].as_py() == int(dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC).timestamp() * 1e6)


def test_a_row_message_of_any_name(tmp_path: Path) -> None:
    for name in ("", "Rows", "AirQuality"):
        descriptor = type(AIR_ENCODER.descriptor).FromString(AIR_ENCODER.descriptor.SerializeToString())
        descriptor.name = name
        writer = DebugFileWriter(DebugFiles(output_dir=tmp_path / name), table=TABLE, descriptor=descriptor)
        write(writer, 0)
        writer.close()
        assert ids(read_proto(tmp_path / name / "zerobus" / "proto")) == [0, 1, 2]


def test_an_arrow_file_cut_anywhere_reads_up_to_its_last_whole_batch(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    file = tmp_path / "zerobus" / "arrow" / f"{TABLE}.arrow"
    ends = []
    for start in range(0, 30, 3):
        write(writer, start)
        ends.append(file.stat().st_size)
    writer.close()
    whole = file.read_bytes()
    for size in range(0, len(whole), 41):
        file.write_bytes(whole[:size])
        assert ids(read_arrow(file)) == list(range(3 * sum(end <= size for end in ends)))


def test_a_missing_descriptor_set_is_named(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    write(writer, 0)
    writer.close()
    (tmp_path / "zerobus" / "proto" / f"{TABLE}.proto.desc").unlink()
    with pytest.raises(FileNotFoundError, match=r"air_quality.proto.desc is missing"):
        list(read_proto(tmp_path))


def test_another_file_is_named(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    write(writer, 0)
    writer.close()
    (tmp_path / "zerobus" / "proto" / f"{TABLE}.proto").write_bytes(b"syntax = 'proto2';")
    with pytest.raises(ValueError, match=r"air_quality.proto is damaged or not a protobuf debug file"):
        list(read_proto(tmp_path))
