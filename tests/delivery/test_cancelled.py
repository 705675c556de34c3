"""Batches that are cancelled while the service has them: the others do not notice."""

import threading
import time

import pyarrow as pa
import pytest

from beam_zerobus import ClosedError, Retry, ZerobusError
from beam_zerobus.emulator import Faults, RejectRows, ScriptedFault
from beam_zerobus.writer import current_conversion

DDL = "id BIGINT NOT NULL, name STRING"
PATIENCE = 30
BAD = RejectRows(column="name", value="bad")


def batch(start, count=4, name="good"):
    ids = pa.array(range(start, start + count), pa.int64())
    return pa.record_batch({"id": ids, "name": pa.array([name] * count)})


def ids(table):
    return sorted(table.to_arrow()["id"].to_pylist())


@pytest.fixture(autouse=True)
def table(emulator):
    return emulator.create_table("main.iot.air", DDL)


@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
@pytest.mark.parametrize("count", [1, 4])
def test_rows_in_flight_beside_a_cancelled_call_are_not_blamed_for_it(emulator, table, connect, wire_format, count):
    emulator.faults = Faults(reject_rows=(BAD,), ack_delay=0.3)
    writer = connect(schema=DDL, wire_format=wire_format)
    bad, good = writer.submit(batch(0, name="bad")), writer.submit(batch(10, count))
    writer.cancel(bad)
    assert good.result(PATIENCE).success
    assert ids(table) == list(range(10, 10 + count))


def test_rows_queued_behind_a_cancelled_call_are_not_blamed_for_it(emulator, table, connect):
    emulator.faults = Faults(reject_rows=(BAD,), ack_delay=0.3)
    writer = connect(schema=DDL)
    bad = writer.submit(batch(0, name="bad"))
    writer.cancel(bad)
    time.sleep(0.2)
    assert writer.submit(batch(20)).result(PATIENCE).success
    assert ids(table) == [20, 21, 22, 23]


def test_pieces_of_a_search_that_are_sent_again_count_as_replayed(emulator, table, connect):
    emulator.faults = Faults(
        reject_rows=(BAD,), script=(ScriptedFault("status", at_call=3, code="UNAVAILABLE", after_storing=True),)
    )
    writer = connect(schema=DDL, retry=Retry(initial_backoff=0.01))
    rows = pa.record_batch({"id": pa.array(range(8), pa.int64()), "name": ["bad", *["good"] * 7]})
    assert writer.submit(rows).result(PATIENCE).failed_count == 1
    written = ids(table)
    assert set(written) == set(range(1, 8))
    assert len(written) - 7 <= writer.counters.rows_replayed


def test_close_ends_a_submission_whose_schema_is_still_being_fetched(emulator, table, connect, monkeypatch):
    real = current_conversion.fetch_table_schema
    fetching, closed = threading.Event(), threading.Event()

    def slow(*arguments, **options):
        fetching.set()
        assert closed.wait(PATIENCE)
        return real(*arguments, **options)

    monkeypatch.setattr(current_conversion, "fetch_table_schema", slow)
    writer, raised = connect(schema="unity_catalog"), []

    def submit():
        try:
            writer.submit(batch(0)).result(PATIENCE)
        except ZerobusError as error:
            raised.append(error)

    thread = threading.Thread(target=submit)
    thread.start()
    assert fetching.wait(PATIENCE)
    with pytest.raises(ClosedError):
        writer.close(0.1)
    closed.set()
    thread.join(PATIENCE)
    assert [type(error) for error in raised] == [ClosedError]
    assert table.count_rows() == 0
    assert emulator.stats.streams_opened == 0
