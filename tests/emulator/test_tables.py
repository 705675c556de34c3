"""Tables of the emulator: their names, their columns, and streams that follow them."""

import grpc
import pyarrow as pa
import pytest
from zerobus.sdk.sync import ZerobusException

from beam_zerobus.emulator import Emulator, Faults, RejectRows

from .sdk import FORMATS, RawStream, Stream

TABLE = "main.iot.air"


@pytest.mark.parametrize("wire_format", FORMATS)
def test_open_streams_follow_the_table(emulator: Emulator, wire_format: str) -> None:
    table = emulator.create_table(TABLE, "id INT, gone STRING")
    stream = Stream(emulator, TABLE, "id INT, gone STRING", wire_format)
    stream.wait(stream.send([{"id": 1, "gone": "x"}]))
    table.add_column("late STRING")
    stream.wait(stream.send([{"id": 2, "gone": "x"}]))
    table.drop_column("gone")
    stream.send([{"id": 3, "gone": "x"}])
    with pytest.raises(ZerobusException, match="Error 8001: column 'gone'"):
        stream.flush()
    with pytest.raises(ZerobusException, match="8001"):
        Stream(emulator, TABLE, "id INT, gone STRING", "arrow")
    with Stream(emulator, TABLE, table.schema, wire_format) as renewed:
        renewed.send([{"id": 4, "late": "y"}])
        renewed.flush()
    rows = sorted(table.to_arrow().to_pylist(), key=lambda row: row["id"])
    assert rows == [{"id": 1, "late": None}, {"id": 2, "late": None}, {"id": 4, "late": "y"}]


def test_columns_change_within_the_rules(emulator: Emulator) -> None:
    table = emulator.create_table(TABLE, "id INT NOT NULL")
    with pytest.raises(ValueError, match="'x' cannot be added as NOT NULL"):
        table.add_column("x INT NOT NULL")
    with pytest.raises(ValueError, match="id"):
        table.add_column("ID INT")
    with pytest.raises(ValueError, match="no column 'x'"):
        table.drop_column("x")
    with pytest.raises(ValueError, match="column"):
        table.drop_column("id")
    assert table.schema.to_ddl() == "id INT NOT NULL"


def test_names_and_columns_of_tables_are_checked(emulator: Emulator) -> None:
    for name in ("a.b", "a.b.c.d", "a.b.c-d", "a.b.", "../x.b.c", "a.b.é"):
        with pytest.raises(ValueError, match=r"catalog\.schema\.table"):
            emulator.create_table(name, "id INT")
    first = emulator.create_table(TABLE, "id INT")
    assert emulator.create_table(TABLE, pa.schema([("id", pa.int32())])) is first
    with pytest.raises(ValueError, match="exists with other columns: id INT"):
        emulator.create_table(TABLE, "id BIGINT")
    with pytest.raises(KeyError, match="there are: main.iot.air"):
        emulator.table("a.b.c")


def test_a_dropped_table_is_gone(emulator: Emulator) -> None:
    table = emulator.create_table(TABLE, "id INT")
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
        stream.create(TABLE)
        stream.receive()
        emulator.drop_table(TABLE)
        stream.send_json(0, '{"id": 1}')
        assert stream.end()[0] is grpc.StatusCode.NOT_FOUND
    assert not table.path.exists()
    with pytest.raises(ZerobusException, match="cannot be found"):
        Stream(emulator, TABLE, "id INT")


@pytest.mark.parametrize("wire_format", FORMATS)
def test_table_names_match_without_regard_to_case(emulator: Emulator, wire_format: str) -> None:
    table = emulator.create_table(TABLE, "id INT")
    assert emulator.create_table(TABLE.upper(), "id INT") is table
    emulator.faults = Faults(reject_rows=(RejectRows(column="id", value=7, table="Main.IOT.air"),))
    stream = Stream(emulator, "MAIN.Iot.Air", "id INT", wire_format)
    stream.wait(stream.send([{"id": 1}]))
    offset = stream.send([{"id": 7}])
    with pytest.raises(ZerobusException, match="rejects"):
        stream.wait(offset)
    assert emulator.table("main.IOT.air").count_rows() == 1
    assert list(emulator.stats.tables) == [TABLE]
    emulator.drop_table("MAIN.IOT.AIR")
    assert emulator.tables == ()
