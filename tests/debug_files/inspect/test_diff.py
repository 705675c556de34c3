"""What `inspect` finds: summaries, conditions, differences."""

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from beam_zerobus import ConfigurationError, DebugFiles, RowError
from beam_zerobus.debug_files import DebugFileWriter
from beam_zerobus.debug_files.framing import frame
from beam_zerobus.debug_files.inspect.conditions import Condition
from beam_zerobus.debug_files.inspect.diff import PairDiff, compare, pairs
from beam_zerobus.debug_files.inspect.files import find_files
from beam_zerobus.debug_files.inspect.summary import summarize
from beam_zerobus.encoding import ProtoEncoder
from beam_zerobus.schema import Conformer, TableSchema
from tests.debug_files.samples import AIR_ENCODER, EVERY_TYPE, TABLE, air, encode, every_type
from tests.debug_files.test_writer import open_writer, write


def diff(directory: Path, limit: int = 100) -> list[PairDiff]:
    return [compare(arrow, proto, limit=limit) for arrow, proto in pairs(find_files(directory, ".proto"))]


def test_both_sides_are_the_same_for_every_type_and_form(tmp_path: Path) -> None:
    encoder, conformer = ProtoEncoder(EVERY_TYPE), Conformer(EVERY_TYPE)
    plain = every_type()
    forms = {
        "name": plain["name"].cast(pa.string()).dictionary_encode(),
        "ts": plain["ts"].cast(pa.timestamp("ns", "Europe/Berlin")),
        "raw": plain["raw"].cast(pa.binary()),
    }
    columns = {name: forms.get(name, plain[name]) for name in plain.schema.names if name != "doc"}
    other = pa.record_batch(columns)
    writer = DebugFileWriter(
        DebugFiles(output_dir=tmp_path), table=TABLE, descriptor=encoder.descriptor, schema=EVERY_TYPE
    )
    for batch in (plain, other, plain.slice(1)):
        writer.write(batch, frame(encode(conformer.conform(batch).batch, encoder)))
    writer.close()
    for one in diff(tmp_path):
        assert (one.is_same, one.differences) == (True, ())


def test_a_value_a_row_and_a_file_that_differ_are_found(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, max_file_bytes=4_000)
    write(writer, 0, rows=50)
    batch = air(50, 50)
    changed = batch.set_column(
        2, "temperature", pa.array([77.5 if i == 7 else t for i, t in enumerate(batch[2].to_pylist())])
    )
    writer.write(batch, frame(encode(changed)))
    writer.write(air(100, 50), frame(encode(air(100, 49))))
    writer.close()
    first, second, third = diff(tmp_path)
    assert first.is_same
    assert not second.is_same
    (found,) = second.differences
    assert (found.batch, found.row, found.column, found.arrow, found.proto) == (0, 7, "temperature", 28.5, 77.5)
    assert (third.arrow_rows, third.proto_rows, third.is_same, third.different_values) == (50, 49, False, 0)
    (tmp_path / "zerobus" / "arrow" / f"{first.stem}.arrow").unlink()
    missing = diff(tmp_path)[0]
    assert (missing.arrow_rows, missing.is_same) == (None, False)


def test_rows_rejected_before_they_were_encoded_are_left_out_those_rejected_by_the_service_are_not(
    tmp_path: Path,
) -> None:
    writer = open_writer(tmp_path)
    batch = air(0, 10)
    records = encode(batch)
    number = writer.write(batch, frame([record for i, record in enumerate(records) if i not in (3, 4)]))
    writer.reject(number, [RowError(3, "t", "why", "schema"), RowError(4, "t", "why", "encoding")])
    writer.reject(number, [RowError(9, "t", "why", "service")])
    writer.close()
    (one,) = diff(tmp_path)
    assert one.is_same
    assert (one.arrow_rows, one.rejected_rows, one.proto_rows) == (10, 2, 8)


def test_a_column_that_is_not_sent_is_named_and_a_missing_one_is_null(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    batch = air(0).append_column("extra", pa.array([1, 2, 3])).drop_columns(["device"])
    records = encode(air(0).set_column(1, "device", pa.nulls(3, pa.string())))
    writer.write(batch, frame(records))
    writer.close()
    (one,) = diff(tmp_path)
    assert (one.is_same, one.columns_only_in_arrow) == (True, ("extra",))


def test_nan_is_nan_and_a_null_list_is_an_empty_one(tmp_path: Path) -> None:
    schema = TableSchema.from_ddl("x DOUBLE, tags ARRAY<INT>, s STRUCT<y: DOUBLE>, m MAP<STRING, INT>")
    encoder = ProtoEncoder(schema)
    rows = {
        "x": pa.array([float("nan"), None]),
        "tags": pa.array([None, [1]], pa.list_(pa.int32())),
        "s": pa.array([{"y": float("nan")}, None], pa.struct({"y": pa.float64()})),
        "m": pa.array([[("b", 1), ("a", 2)], None], pa.map_(pa.string(), pa.int32())),
    }
    batch = pa.record_batch(rows)
    writer = DebugFileWriter(DebugFiles(output_dir=tmp_path), table=TABLE, descriptor=encoder.descriptor, schema=schema)
    writer.write(batch, frame(encode(batch, encoder)))
    writer.write(batch, frame(encode(batch.take(pa.array([1, 0])), encoder)))
    writer.close()
    (one,) = diff(tmp_path)
    assert {(found.batch, found.row, found.column) for found in one.differences} == {
        (1, row, column) for row in (0, 1) for column in rows
    }


def test_the_first_differences_are_shown_all_are_counted(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer.write(air(0, 100), frame(encode(air(1_000, 100))))
    writer.close()
    (one,) = diff(tmp_path, limit=5)
    assert len(one.differences) == 5
    assert one.different_values > 250
    assert {found.row for found in one.differences} == {0, 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id=3", [3]),
        ("id != 3", [0, 1, 2, 4, 5]),
        ("temperature>=1.5", [3, 4]),
        ("temperature=null", [0, 5]),
        ("temperature!=null", [1, 2, 3, 4]),
        ("device=sensor-1", [1]),
        ("device>sensor-3", [4, 5]),
        ("ts<2023-11-14T22:13:20.000002", [0, 1]),
        ("ts<2023-11-14T23:13:20.000002+01:00", [0, 1]),
        ("ts=null", []),
        ("place.room = b", [1, 4]),
        ("kind=y", [1, 3, 5]),
    ],
)
def test_conditions(text: str, expected: list[int]) -> None:
    batch = air(0, 6).append_column("kind", pa.array(list("xyxyxy")).dictionary_encode())
    batch = batch.append_column("place", pa.array([{"room": room} for room in "abcabc"]))
    assert np.flatnonzero(Condition.parse(text).matches(batch)).tolist() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id", "is not a condition"),
        ("nothing=1", "there is no column 'nothing'; there are id, device"),
        ("id.x=1", "there is no column 'id.x'"),
        ("id=abc", "'abc' is not a value of column 'id', which is int64"),
        ("ts>yesterday", "not a value of column 'ts'"),
    ],
)
def test_wrong_conditions_are_named(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Condition.parse(text).matches(air(0))


def test_a_summary_counts_and_spans(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, max_file_bytes=6_000)
    for start in range(0, 300, 50):
        number = write(writer, start, rows=50)
    writer.reject(number, [RowError(1, "t", "why")])
    writer.close()
    (arrow,) = summarize(find_files(tmp_path, ".arrow"), head=2, columns=["ts"], conditions=[Condition.parse("id>=90")])
    assert (arrow.base, arrow.format, arrow.rows, arrow.matching_rows, arrow.schemas) == (TABLE, "arrow", 300, 210, 1)
    assert sum(file.rows for file in arrow.files) == 300
    assert sum(file.batches for file in arrow.files) == 6
    assert [file.rejected_rows for file in arrow.files][-1] == 1
    assert all(file.size_bytes == Path(file.path).stat().st_size for file in arrow.files)
    base = dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC)
    assert arrow.time_spans == {"ts": (base + dt.timedelta(microseconds=90), base + dt.timedelta(microseconds=299))}
    assert arrow.head == [{"ts": base + dt.timedelta(microseconds=i)} for i in (90, 91)]
    (proto,) = summarize(find_files(tmp_path, ".proto"), head=0)
    assert (proto.format, proto.rows, proto.time_spans["ts"][0]) == ("proto", 300, base)
    with pytest.raises(ConfigurationError, match="there is no column 'other'"):
        summarize(find_files(tmp_path, ".arrow"), head=0, columns=["other"])


def test_nanoseconds_which_python_lacks_are_shown(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, proto=False)
    writer.write(pa.record_batch({"t": pa.array([1, 2], pa.timestamp("ns"))}))
    writer.close()
    (one,) = summarize(find_files(tmp_path, ".arrow"), head=1)
    assert "00:00:00.000000001" in str(one.head[0]["t"])


def test_the_air_encoder_is_of_the_same_schema() -> None:
    assert [field.name for field in AIR_ENCODER.descriptor.field] == air(0).schema.names
