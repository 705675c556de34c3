"""A writer takes rows of every kind, and says which of them failed, by their numbers."""

import asyncio
import dataclasses
import datetime as dt
import json
import pickle
import threading
import uuid
from typing import NamedTuple

import apache_beam as beam
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from beam_zerobus import ClosedError, ConfigurationError, ConversionError, DebugFiles, Retry, TransientError
from beam_zerobus.emulator import Faults, RejectRows, ScriptedFault

TABLE = "main.iot.air_quality"
READINGS = [{"device": "attic", "co2": 417}, {"device": "cellar", "co2": 655}]
FORMATS = pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])


class Reading(NamedTuple):
    device: str
    co2: int


@dataclasses.dataclass
class ReadingClass:
    device: str
    co2: int


class Streamed:
    """Data of a library that only has Arrow's interface."""

    def __arrow_c_stream__(self, requested_schema=None):
        return pa.Table.from_pylist(READINGS).__arrow_c_stream__(requested_schema)


class OfOneArray:
    def __arrow_c_array__(self, requested_schema=None):
        return pa.RecordBatch.from_pylist(READINGS).__arrow_c_array__(requested_schema)


KINDS = {
    "dicts": lambda: READINGS,
    "tuple of dicts": lambda: tuple(READINGS),
    "generator": lambda: (reading for reading in READINGS),
    "beam.Row": lambda: [beam.Row(**reading) for reading in READINGS],
    "NamedTuples": lambda: [Reading(**reading) for reading in READINGS],
    "dataclasses": lambda: [ReadingClass(**reading) for reading in READINGS],
    "mixed": lambda: [READINGS[0], Reading(**READINGS[1])],
    "JSON": lambda: [json.dumps(reading) for reading in READINGS],
    "JSON bytes": lambda: [json.dumps(reading).encode() for reading in READINGS],
    "RecordBatch": lambda: pa.RecordBatch.from_pylist(READINGS),
    "Table": lambda: pa.Table.from_pylist(READINGS),
    "reader": lambda: pa.Table.from_pylist(READINGS).to_reader(),
    "pandas": lambda: pd.DataFrame(READINGS),
    "pandas, filtered": lambda: pd.DataFrame([{"device": "x", "co2": -1}, *READINGS]).query("co2 > 0"),
    "pandas, index": lambda: pd.DataFrame(READINGS).set_index("device"),
    "polars": lambda: pl.DataFrame(READINGS),
    "C stream": Streamed,
    "C array": OfOneArray,
}


@pytest.fixture
def table(emulator):
    return emulator.create_table(TABLE, "device STRING, co2 INT")


def rows_of(table):
    return sorted(table.to_arrow().to_pylist(), key=lambda row: row["device"])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_kind(table, connect, kind):
    result = connect(TABLE).send(KINDS[kind]())
    assert (result.success, result.total_rows) == (True, 2)
    assert rows_of(table) == READINGS


@FORMATS
@pytest.mark.parametrize("as_json", [False, True])
def test_errors_have_the_number_of_the_row(table, connect, wire_format, as_json):
    rows = [{"device": "a", "co2": 1}, {"device": "b", "co2": "high"}, {"device": "c", "co2": 2**40}, {"device": "d"}]
    rows += [{"device": "e", "co3": 1}, {"device": "f", "co2": 6.0}]
    sent = [json.dumps(row) for row in rows] if as_json else rows
    writer = connect(TABLE, wire_format=wire_format)
    result = writer.send(sent)
    assert [(error.index, error.error_type) for error in result.failed_rows] == [
        (1, "wrong_type"),
        (2, "out_of_range"),
        (4, "unknown_field"),
    ]
    assert (result.total_rows, result.successful_count, result.failed_count) == (6, 3, 3)
    assert "3 of 6 rows" in result.error
    assert [row["device"] for row in rows_of(table)] == ["a", "d", "f"]
    assert (writer.counters.rows_written, writer.counters.rows_failed) == (3, 3)


@FORMATS
def test_rows_that_only_the_service_rejects_keep_their_numbers(emulator, table, connect, wire_format):
    emulator.faults = Faults(reject_rows=(RejectRows(column="co2", value=13),))
    result = connect(TABLE, wire_format=wire_format).send(
        [{"device": "a", "co2": "x"}, {"device": "b", "co2": 13}, {"device": "c", "co2": 1}, {"device": "d", "co2": 13}]
    )
    assert [(error.index, error.stage) for error in result.failed_rows] == [
        (0, "batching"),
        (1, "service"),
        (3, "service"),
    ]
    assert [row["device"] for row in rows_of(table)] == ["c"]


def test_only_bad_rows(table, connect):
    result = connect(TABLE).send([{"co2": "x"}, {"co2": "y"}])
    assert (result.successful_count, result.failed_count) == (0, 2)
    assert table.count_rows() == 0


def test_no_rows(table, connect):
    assert connect(TABLE).send([]).success


def test_what_cannot_be_read_is_not_among_the_rows_to_send_again(emulator, table, connect):
    emulator.faults = Faults(script=(ScriptedFault("status", at_call=1, times=99),))
    writer = connect(TABLE, retry=Retry(max_retries=0))
    with pytest.raises(TransientError, match="acknowledged: 0, not acknowledged: 2, not read: 1") as raised:
        writer.send([{"device": "a", "co2": 1}, {"device": "b", "co2": "x"}, {"device": "c", "co2": 3}])
    (batch,) = raised.value.unacknowledged
    assert batch["device"].to_pylist() == ["a", "c"]


def test_debug_files_mark_what_could_not_be_read(table, connect, tmp_path):
    writer = connect(TABLE, debug_files=DebugFiles(output_dir=str(tmp_path)))
    writer.send([{"device": "a", "co2": 1}, {"device": "b", "co2": "x"}])
    writer.close()
    (rejects,) = tmp_path.rglob("*.rejects.jsonl")
    assert "wrong_type" in rejects.read_text()


def test_a_new_column_is_found(emulator, table, connect):
    writer = connect(TABLE)
    assert writer.send(READINGS).success
    table.add_column("humidity DOUBLE")
    assert writer.send([{"device": "roof", "humidity": 0.5}]).success


def test_dataframes_with_blanks_and_zones(emulator, connect):
    table = emulator.create_table("main.iot.frames", "device STRING, co2 INT, at TIMESTAMP")
    at = pd.to_datetime(["2026-01-01T00:00:00", None])
    frame = pd.DataFrame({"device": ["a", None], "co2": [417, None], "at": at})
    assert frame["co2"].dtype == "float64"
    assert connect("main.iot.frames", assume_timezone="UTC").send(frame).success
    assert table.to_arrow().to_pylist() == [
        {"device": "a", "co2": 417, "at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)},
        {"device": None, "co2": None, "at": None},
    ]


def test_a_dataframe_that_is_no_arrow_data_says_what_to_do(table, connect):
    frame = pd.DataFrame({"device": ["a", uuid.UUID(int=1)], "co2": [1, 2]})
    writer = connect(TABLE)
    with pytest.raises(ConversionError, match=r"A DataFrame for table .* cannot become Arrow data .*df\.to_dict"):
        writer.send(frame)
    assert writer.send(frame.to_dict("records")).success


@pytest.mark.parametrize(
    "wrong",
    [{"device": "a"}, '{"device": "a"}', b"{}", Reading("a", 1), beam.Row(device="a"), ReadingClass("a", 1), 5, None],
)
def test_what_is_not_a_list_of_rows_is_rejected(table, connect, wrong):
    with pytest.raises(ConversionError, match="is not a list of rows: give a list of rows") as raised:
        connect(TABLE).send(wrong)
    assert TABLE in str(raised.value)


@pytest.mark.parametrize("row", [5, None, ("a", 1), pa.RecordBatch.from_pylist(READINGS)])
def test_what_is_not_one_row_fails_alone(table, connect, row):
    result = connect(TABLE).send([READINGS[0], row])
    assert [(error.index, error.error_type) for error in result.failed_rows] == [(1, "wrong_type")]


def test_json_beside_other_rows_is_rejected(table, connect):
    with pytest.raises(ConversionError, match="send each kind by itself"):
        connect(TABLE).send([READINGS[0], json.dumps(READINGS[1])])


def test_rows_need_a_schema(connect):
    with pytest.raises(ConfigurationError, match="give schema="):
        connect(TABLE, schema="elements").send(READINGS)


def test_submitted_rows_are_sent_in_order_from_many_threads(table, connect):
    writer = connect(TABLE)

    def send(number):
        for k in range(20):
            writer.submit([{"device": f"{number:02}{k:02}{i}", "co2": i} for i in range(5)])

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    writer.flush(60)
    assert table.count_rows() == 800


def test_a_closed_writer_fetches_nothing(emulator, table, connect):
    writer = connect(TABLE)
    writer.close()
    with pytest.raises(ClosedError, match="is closed: send before .* or make a new writer"):
        writer.send(READINGS)
    assert emulator.stats.tokens_issued == 0


def test_a_pickled_writer_takes_rows(table, connect):
    with pickle.loads(pickle.dumps(connect(TABLE))) as writer:
        assert writer.send(READINGS).success


def test_dataframes_of_every_library_and_type(emulator, connect):
    table = emulator.create_table("main.iot.types", "name STRING, kind STRING, n BIGINT, day DATE, tags ARRAY<STRING>")
    rows = [{"name": "a", "kind": "x", "n": 1, "day": dt.date(2026, 1, 1), "tags": ["p", "q"]}]
    writer = connect("main.iot.types", wire_format="arrow")
    assert writer.send(pd.DataFrame(rows).astype({"kind": "category", "n": "Int64", "name": "string"})).success
    assert writer.send(pl.DataFrame(rows).with_columns(pl.col("kind").cast(pl.Categorical))).success
    assert writer.send(duckdb.sql("SELECT 'a' AS name, 'x' AS kind, 1 AS n")).success
    expected = rows[0]
    found = sorted(table.to_arrow().to_pylist(), key=lambda row: row["day"] is None)
    assert found == [expected, expected, {**expected, "day": None, "tags": None}]


def test_asyncio(table, connect):
    async def main():
        async with connect(TABLE) as writer:
            results = await asyncio.gather(*(writer.asend([{"device": f"d{n}", "co2": n}]) for n in range(50)))
            one = await writer.asend_batch(pa.RecordBatch.from_pylist(READINGS))
        assert writer.closed
        return [*results, one]

    assert all(result.success for result in asyncio.run(main()))
    assert table.count_rows() == 52


def test_an_error_in_an_async_block_is_raised_and_the_writer_closed(table, connect):
    async def main():
        async with connect(TABLE) as writer:
            writer.submit(READINGS)
            raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(main())
    assert rows_of(table) == READINGS


def test_a_dataframe_with_a_column_twice(table, connect):
    with pytest.raises(ConversionError, match=r"DataFrame for table .* has columns with the same name: rename"):
        connect(TABLE).send(pd.DataFrame([[1, 2]], columns=["co2", "co2"]))
