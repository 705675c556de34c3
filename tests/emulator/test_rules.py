"""Rules of the service that concern more than one call: partitions, streams a minute, when rows become readable."""

import logging
import re
import time
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from zerobus.sdk.sync import ZerobusException

from beam_zerobus.emulator import Emulator
from beam_zerobus.emulator.counts.stream_rate import StreamRate
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.tables.landing import Landed
from beam_zerobus.emulator.tables.partitions import WINDOW_SECONDS, PartitionWindow
from beam_zerobus.errors import ConfigurationError

from .sdk import FORMATS, Stream, eventually

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, name STRING"


def ids(table) -> list[int]:
    return sorted(table.to_arrow().column("id").to_pylist())


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


# ---- partitions


@pytest.mark.parametrize("wire_format", FORMATS)
def test_too_many_partitions_within_seconds_are_rejected(wire_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_zerobus.emulator.tables.partitions.WINDOW_SECONDS", 600.0)  # the machine may be busy
    with Emulator(max_partitions=3) as emulator:
        table = emulator.create_table(TABLE, DDL, partitioned_by=("name",))
        stream = Stream(emulator, TABLE, DDL, wire_format)
        stream.wait(stream.send([{"id": number, "name": name} for number, name in enumerate(["a", "b", None, "a"])]))
        stream.wait(stream.send([{"id": 4, "name": "b"}]))
        offset = stream.send([{"id": 5, "name": "c"}])
        with pytest.raises(ZerobusException, match="more than 3 partitions of the table would be written") as error:
            stream.wait(offset)
        assert "Some resource has been exhausted" in str(error.value)
        assert ids(table) == [0, 1, 2, 3, 4]
        on_disk = DeltaTable(table.path)
        assert on_disk.metadata().partition_columns == ["name"]
        assert len({Path(uri).parent for uri in on_disk.file_uris()}) == 3


def test_partitions_are_free_again_after_five_seconds() -> None:
    clock = Clock()
    window = PartitionWindow(["day"], 2, clock)

    def days(*values: int) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict({"day": values, "id": values})

    window.check(days(1, 1, 2))
    with pytest.raises(Rejection) as rejected:
        window.check(days(3))
    assert rejected.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    clock.now += WINDOW_SECONDS / 2
    window.check(days(2))
    clock.now += WINDOW_SECONDS / 2
    window.check(days(3))  # 1 is free, 2 was written since
    with pytest.raises(Rejection):
        window.check(days(1))
    with pytest.raises(Rejection):
        PartitionWindow(["day"], 2, clock).check(days(1, 2, 3))
    PartitionWindow(["day"], None, clock).check(days(1, 2, 3))


def test_a_thousand_partitions_is_the_default(emulator: Emulator) -> None:
    table = emulator.create_table(TABLE, "id BIGINT, day INT", partitioned_by=("day",))
    rows = pa.RecordBatch.from_pydict({"id": range(1000), "day": range(1000)})
    table.check_partitions(rows)
    with pytest.raises(Rejection, match="more than 1000 partitions"):
        table.check_partitions(pa.RecordBatch.from_pydict({"id": [1], "day": [1000]}))


# ---- streams a minute


def test_streams_a_minute_are_counted(emulator: Emulator) -> None:
    emulator.create_table(TABLE, DDL)
    for _ in range(3):
        Stream(emulator, TABLE, DDL).close()
    counts = emulator.stats.tables[TABLE]
    assert (counts.streams_last_minute, counts.most_streams_a_minute) == (3, 3)


def test_more_than_a_hundred_streams_a_minute_are_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    rate = StreamRate(TABLE, clock)

    def warnings() -> list[str]:  # streams of an emulator before may still log their end
        return [record.getMessage() for record in caplog.records if TABLE in record.getMessage()]

    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            rate.opened()
        assert warnings() == []
        for _ in range(20):
            rate.opened()
        assert warnings() == [
            f"101 streams to {TABLE} were created within a minute; the service expects 100 at most: keep streams open"
        ]
        clock.now += 60
        assert (rate.last_minute, rate.most) == (0, 120)
        for _ in range(101):
            rate.opened()
    assert len(warnings()) == 2


# ---- readable later: the clock of these tests moves only where they say so, since the machine may be busy

LATER: dict[str, Any] = {"readable_after": 3600, "token_life": 7200}


@pytest.mark.parametrize("wire_format", FORMATS)
def test_rows_are_readable_some_time_after_their_acknowledgement(wire_format: str, tmp_path) -> None:
    with Emulator(tmp_path, **LATER) as emulator:
        table = emulator.create_table(TABLE, DDL)
        with Stream(emulator, TABLE, DDL, wire_format) as stream:
            stream.wait(stream.send([{"id": 1}, {"id": 2, "name": "x"}]))
            assert table.count_rows() == 0
            stream.wait(stream.send([{"id": 3}]))
        emulator.advance_clock(3600)
        assert ids(table) == [1, 2, 3]
        with Stream(emulator, TABLE, DDL, wire_format) as stream:
            stream.wait(stream.send([{"id": 4}]))
        assert 4 not in ids(table)
    on_disk = DeltaTable(table.path).to_pyarrow_table()
    assert sorted(on_disk.column("id").to_pylist()) == [1, 2, 3, 4], "an orderly stop makes them readable"


def test_rows_that_are_not_readable_outlive_kills_and_are_written_once(tmp_path) -> None:
    with Emulator(tmp_path, readable_after=0.2) as emulator:
        table = emulator.create_table(TABLE, DDL)
        stream = Stream(emulator, TABLE, DDL)
        for number in range(60):
            if number % 20 == 19:
                emulator.restart()
                stream = Stream(emulator, TABLE, DDL)
            stream.wait(stream.send([{"id": number}]))
            time.sleep(0.01)
        eventually(lambda: table.count_rows() == 60)
        emulator.kill()
    # A kill between the commit and the removal of a file leaves the file.
    landed = table.path / "_zerobus" / "landed"
    assert list(landed.iterdir()) == []
    version = DeltaTable(table.path).transaction_version("zerobus.landed")
    (landed / f"{version:012}.parquet").write_bytes(b"left behind")
    (landed / f"{version + 1:012}.unfinished").write_bytes(b"cut off")
    with Emulator(tmp_path) as emulator:
        assert ids(emulator.table(TABLE)) == list(range(60))
        assert list(landed.iterdir()) == []
        with Stream(emulator, TABLE, DDL) as stream:
            stream.wait(stream.send([{"id": 60}]))
        assert ids(emulator.table(TABLE)) == list(range(61))


def test_a_damaged_file_of_acknowledged_rows_is_named_with_the_remedy(tmp_path: Path) -> None:
    with Emulator(tmp_path, readable_after=60) as emulator:
        path = emulator.create_table(TABLE, DDL).path
    file = path / "_zerobus" / "landed" / "000000000009.parquet"
    file.parent.mkdir(parents=True)
    for content in (b"", b"damaged", b"PAR1" + bytes(100) + b"PAR1"):
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match=f"{file} is damaged: remove it"), Emulator(tmp_path):
            pass
    file.unlink()
    with Emulator(tmp_path) as emulator:
        assert emulator.table(TABLE).count_rows() == 0


def test_a_file_of_acknowledged_rows_that_cannot_be_opened_is_not_called_damaged(tmp_path: Path) -> None:
    file = tmp_path / "000000000001.parquet"
    file.symlink_to(file)
    with pytest.raises(ConfigurationError, match=f"{file} cannot be read .*: make it readable"):
        Landed(1, file).schema()


def test_what_landed_becomes_readable_after_a_new_start(tmp_path) -> None:
    with Emulator(tmp_path, readable_after=60) as emulator:
        emulator.create_table(TABLE, DDL)
        stream = Stream(emulator, TABLE, DDL)
        stream.wait(stream.send([{"id": 1}]))
        emulator.kill()
        assert ids(emulator.table(TABLE)) == []
    with Emulator(tmp_path) as emulator:
        eventually(lambda: ids(emulator.table(TABLE)) == [1])


# ---- the folder of rejected rows


@pytest.mark.parametrize("wire_format", FORMATS)
def test_rows_acknowledged_before_a_breaking_alter_are_in_the_folder(wire_format: str) -> None:
    with Emulator(**LATER) as emulator:
        table = emulator.create_table(TABLE, "id BIGINT NOT NULL, name STRING, size INT")
        with Stream(emulator, TABLE, table.schema, wire_format) as stream:
            stream.wait(stream.send([{"id": 1, "name": "x", "size": 7}, {"id": 2}]))
        table.drop_column("name")
        with Stream(emulator, TABLE, table.schema, wire_format) as stream:
            stream.wait(stream.send([{"id": 3, "size": 8}]))
        emulator.advance_clock(3600)
        assert table.to_arrow().to_pylist() == [{"id": 3, "size": 8}]
        (rejected,) = table.rejected_after_alter()
        assert rejected.to_pylist() == [{"id": 1, "name": "x", "size": 7}, {"id": 2, "name": None, "size": None}]
        (file,) = (table.path / "_zerobus" / "table_rejected_parquets").iterdir()
        assert file.suffix == ".parquet"
        on_disk = DeltaTable(table.path).to_pyarrow_table().to_pylist()
        assert on_disk == [{"id": 3, "size": 8}], "Delta does not read the folder"


@pytest.mark.parametrize("change", ["add", "widen"])
@pytest.mark.parametrize("wire_format", FORMATS)
def test_rows_acknowledged_before_another_alter_are_in_the_table(wire_format: str, change: str) -> None:
    with Emulator(**LATER) as emulator:
        table = emulator.create_table(TABLE, "id INT NOT NULL, name STRING")
        with Stream(emulator, TABLE, table.schema, wire_format) as stream:
            stream.wait(stream.send([{"id": 1, "name": "x"}]))
        if change == "add":
            table.add_column("late STRING")
        else:
            table.widen_column("id", "BIGINT")
        emulator.advance_clock(3600)
        expected = {"id": 1, "name": "x"} | ({"late": None} if change == "add" else {})
        assert table.to_arrow().to_pylist() == [expected]
        assert table.rejected_after_alter() == []


def test_a_column_that_was_dropped_and_added_again_is_another_one() -> None:
    with Emulator(**LATER) as emulator:
        table = emulator.create_table(TABLE, "id INT, size INT")
        with Stream(emulator, TABLE, table.schema) as stream:
            stream.wait(stream.send([{"id": 1, "size": 7}]))
        table.drop_column("size")
        table.add_column("size BIGINT")
        emulator.advance_clock(3600)
        assert [rows.to_pylist() for rows in table.rejected_after_alter()] == [[{"id": 1, "size": 7}]]
        assert table.count_rows() == 0


def test_columns_are_widened_within_the_rules(tmp_path) -> None:
    ddl = "a TINYINT, b FLOAT, c DECIMAL(5,2), d DATE, e INT NOT NULL, s STRING"
    wider = {"a": "INT", "b": "DOUBLE", "c": "DECIMAL(10,4)", "d": "TIMESTAMP_NTZ", "e": "DECIMAL(12,2)"}
    with Emulator(tmp_path) as emulator:
        table = emulator.create_table(TABLE, ddl, partitioned_by=("s",))
        with Stream(emulator, TABLE, ddl) as stream:
            stream.wait(stream.send([{"a": 1, "b": 0.5, "e": 3, "s": "x"}]))
        narrower = {"a": "STRING", "b": "FLOAT", "c": "DECIMAL(6,4)", "d": "TIMESTAMP", "e": "SMALLINT"}
        for name, other in narrower.items():
            with pytest.raises(ConfigurationError, match=re.escape(f"cannot become {other}: name a type")):
                table.widen_column(name, other)
        with pytest.raises(ConfigurationError, match="no column 'x' to widen"):
            table.widen_column("x", "INT")
        with pytest.raises(ConfigurationError, match="'s' of table .* cannot be dropped: it is a partition column"):
            table.drop_column("s")
        for name, other in wider.items():
            table.widen_column(name, other)
        assert table.schema.to_ddl() == (
            "a INT, b DOUBLE, c DECIMAL(10,4), d TIMESTAMP_NTZ, e DECIMAL(12,2) NOT NULL, s STRING"
        )
    with Emulator(tmp_path) as emulator:
        (row,) = emulator.table(TABLE).to_arrow().to_pylist()
        assert (row["a"], row["b"], int(row["e"])) == (1, 0.5, 3)
        assert emulator.table(TABLE).layout.partitioned_by == ("s",)


# ---- options


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_partitions": 0}, "max_partitions=0"),
        ({"readable_after": -1}, "readable_after=-1"),
        ({"readable_after": float("nan")}, "readable_after=nan"),
        ({"readable_after": 1, "memory": True}, "readable_after needs Delta tables"),
    ],
)
def test_rules_out_of_range_are_rejected(options: dict, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        Emulator(**options)


@pytest.mark.parametrize(
    ("layout", "reason"),
    [
        ({"partitioned_by": ("x",)}, "names 'x'"),
        ({"partitioned_by": ("tags",)}, "names 'tags'"),
        ({"partitioned_by": ("id", "tags", "v", "n")}, "names 'tags'"),
        ({"rescue_column": "x"}, "rescue_column='x'"),
        ({"rescue_column": "id"}, "rescue_column='id'"),
        ({"rescue_column": "n"}, "rescue_column='n'"),
    ],
)
def test_layouts_are_checked(emulator: Emulator, layout: dict, reason: str) -> None:
    ddl = "id INT, tags ARRAY<INT>, v VARIANT, n VARIANT NOT NULL"
    with pytest.raises(ConfigurationError, match=reason):
        emulator.create_table(TABLE, ddl, **layout)
    with pytest.raises(ConfigurationError, match="every column"):
        emulator.create_table(TABLE, "id INT", partitioned_by=("id",))
    emulator.create_table(TABLE, ddl)
    with pytest.raises(ConfigurationError, match="exists with other partitions"):
        emulator.create_table(TABLE, ddl, partitioned_by=("id",))
