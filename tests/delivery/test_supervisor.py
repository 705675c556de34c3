"""The supervisor and the connection after unexpected errors."""

import gc
import threading
from concurrent.futures import Future

import pyarrow as pa
import pytest

from beam_zerobus import Retry, ZerobusError
from beam_zerobus.delivery.connection import Connection
from beam_zerobus.delivery.delivery import Delivery
from beam_zerobus.delivery.entry import Entry
from beam_zerobus.delivery.failures import FailureKind, StreamFailure
from beam_zerobus.delivery.stream import Stream
from beam_zerobus.delivery.supervisor import Supervisor
from beam_zerobus.emulator import Faults
from beam_zerobus.writer.submission import Submission
from tests.emulator.sdk import eventually

DDL = "id BIGINT NOT NULL"
PATIENCE = 30


def batch(start, count=3):
    return pa.record_batch({"id": pa.array(range(start, start + count), pa.int64())})


@pytest.fixture(autouse=True)
def table(emulator):
    return emulator.create_table("main.iot.air", DDL)


@pytest.mark.parametrize("error", [RuntimeError("unforeseen"), BaseException("a panic of Rust code")])
def test_a_supervisor_that_dies_fails_its_batches_and_is_replaced(table, connect, monkeypatch, error):
    writer = connect(schema=DDL)
    assert writer.send_batch(batch(0)).success
    real = Supervisor._work

    def die(supervisor):
        monkeypatch.setattr(Supervisor, "_work", real)
        raise error

    monkeypatch.setattr(Supervisor, "_work", die)
    with pytest.raises(ZerobusError, match="unexpectedly"):
        writer.submit(batch(3)).result(PATIENCE)
    assert writer.send_batch(batch(6)).success
    assert set(table.to_arrow()["id"].to_pylist()) >= {0, 1, 2, 6, 7, 8}


def make_unsendable(first_id, monkeypatch):
    """Take the rows from a batch's payload just before it is sent, so that no call can be made of it."""
    real = Connection._send

    def send(connection, entry, stream):
        if entry.owner.batch["id"][0].as_py() == first_id:
            monkeypatch.setattr(entry.owner, "batch", None)
            entry.payload = entry.payload.without_records()
        real(connection, entry, stream)

    monkeypatch.setattr(Connection, "_send", send)


def test_a_payload_that_cannot_be_sent_fails_its_own_batch_only(emulator, table, connect, monkeypatch):
    emulator.faults = Faults(ack_delay=0.2)
    writer = connect(schema=DDL)
    assert writer.send_batch(batch(0)).success
    make_unsendable(3, monkeypatch)
    submissions = [writer.submit(batch(n * 3)) for n in range(1, 5)]
    with pytest.raises(ZerobusError, match="could not be sent"):
        submissions[0].result(PATIENCE)
    assert all(submission.result(PATIENCE).success for submission in submissions[1:])


def test_a_callback_of_a_payload_that_cannot_be_sent_may_submit(table, connect, monkeypatch):
    added = threading.Event()
    real_open = Supervisor._open_stream

    def open_later(supervisor):
        assert added.wait(PATIENCE)
        real_open(supervisor)

    monkeypatch.setattr(Supervisor, "_open_stream", open_later)
    make_unsendable(0, monkeypatch)
    writer = connect(schema=DDL)
    again: Future[Submission] = Future()
    writer.submit(batch(0)).future.add_done_callback(lambda _: again.set_result(writer.submit(batch(3))))
    added.set()
    assert again.result(PATIENCE).result(PATIENCE).success
    assert table.to_arrow()["id"].to_pylist() == [3, 4, 5]


def test_an_entry_whose_call_failed_is_not_kept_once_it_is_acknowledged(table, connect, monkeypatch):
    writer = connect(schema=DDL, retry=Retry(initial_backoff=0.01))
    real = Stream.send

    def fail_once(stream, records):
        monkeypatch.setattr(Stream, "send", real)
        raise StreamFailure(FailureKind.TRANSIENT, "UNAVAILABLE", "connection lost")

    assert writer.send_batch(batch(0)).success
    monkeypatch.setattr(Stream, "send", fail_once)
    monkeypatch.setattr(Stream, "find_cause", lambda _, said: said)
    sent = batch(3)
    assert writer.submit(sent).result(PATIENCE).success
    eventually(lambda: not entries_of(sent))  # the supervisor's thread still has it when the result is there


def entries_of(sent):
    """Return a batch's entries that are in memory; other tests' entries may be there too, with other owners."""
    gc.collect()
    entries = [entry for entry in gc.get_objects() if isinstance(entry, Entry)]
    return [entry for entry in entries if getattr(entry.owner, "batch", None) is sent]


def test_all_streams_are_stopped_before_the_end_of_one_is_awaited(table, connect, monkeypatch):
    order = []

    def noting(name, real):
        def note(delivery, *arguments):
            order.append(name)
            return real(delivery, *arguments)

        return note

    for name in ("stop", "join"):
        monkeypatch.setattr(Delivery, name, noting(name, getattr(Delivery, name)))
    writer = connect(schema=DDL, streams_per_worker=3)
    assert writer.send_batch(batch(0)).success
    writer.close(PATIENCE)
    assert order == ["stop"] * 3 + ["join"] * 3
