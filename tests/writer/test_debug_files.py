"""Debug files of a writer whose table changes."""

import pyarrow as pa
import pytest

from beam_zerobus import DebugFiles
from beam_zerobus.debug_files import read_arrow, read_proto

DDL = "id BIGINT NOT NULL"


def batch(start, **more):
    return pa.record_batch({"id": pa.array(range(start, start + 3), pa.int64()), **more})


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
def test_a_column_that_the_table_gets_begins_a_protobuf_file_that_describes_it(
    emulator, connect, tmp_path, wire_format
):
    table = emulator.create_table("main.iot.air", DDL)
    with connect(
        schema="unity_catalog", wire_format=wire_format, debug_files=DebugFiles(output_dir=tmp_path)
    ) as writer:
        assert writer.send_batch(batch(0)).success
        table.add_column("size INT")
        assert writer.send_batch(batch(3, size=pa.array([7, 8, 9], pa.int32()))).success
        assert writer.send_batch(batch(6, size=pa.array([1, 2, 3], pa.int32()))).success
    assert len(list((tmp_path / "zerobus" / "proto").glob("*.proto"))) == 2
    assert [rows.to_pydict() for rows in read_proto(tmp_path)] == [
        {"id": [0, 1, 2]},
        {"id": [3, 4, 5, 6, 7, 8], "size": [7, 8, 9, 1, 2, 3]},
    ]
    assert sum(rows.num_rows for rows in read_arrow(tmp_path)) == 9


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
def test_protobuf_files_hold_only_rows_that_were_sent(emulator, connect, tmp_path, wire_format):
    emulator.create_table("main.iot.air", "id BIGINT, v VARIANT")
    with connect(wire_format=wire_format, debug_files=DebugFiles(output_dir=tmp_path)) as writer:
        result = writer.send(
            [{"id": 0, "v": {}}, {"id": "one"}, {"id": 2, "v": [2]}, {"id": 3, "v": b"\xff"}, {"id": 4}]
        )
        assert [error.index for error in result.failed_rows] == [1, 3]
    assert [rows.column("id").to_pylist() for rows in read_proto(tmp_path)] == [[0, 2, 4]]
    assert sum(rows.num_rows for rows in read_arrow(tmp_path)) == 5  # rejected rows too, with their reasons beside them


def test_protobuf_files_lack_rows_that_only_arrow_cannot_carry(emulator, connect, tmp_path):
    emulator.create_table("main.iot.air", "id BIGINT, v VARIANT")
    with connect(wire_format="arrow", debug_files=DebugFiles(output_dir=tmp_path)) as writer:
        rows = pa.table({"id": [0, 1, 2], "v": ["1", "{", "[1.50]"]})
        assert [error.index for error in writer.send(rows).failed_rows] == [1]
    assert [rows.column("id").to_pylist() for rows in read_proto(tmp_path)] == [[0, 2]]
