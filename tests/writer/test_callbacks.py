"""What the future of a submission promises about its callbacks."""

import threading

import pyarrow as pa
import pytest

from beam_zerobus import ZerobusError
from beam_zerobus.delivery import limits
from beam_zerobus.emulator import Faults

DDL = "id BIGINT NOT NULL"
PATIENCE = 30

pytestmark = pytest.mark.timeout(60)


def batch(start, count=3):
    return pa.record_batch({"id": pa.array(range(start, start + count), pa.int64())})


@pytest.fixture(autouse=True)
def table(emulator):
    return emulator.create_table("main.iot.air", DDL)


@pytest.fixture
def called(emulator, connect):
    """Run a function in the callback of a batch; return the writer, and what the function returned or raised."""

    def run(function, writer=None):
        emulator.faults = Faults(ack_delay=1.0)  # the callback is added before the outcome is there
        writer = writer or connect(schema=DDL)
        outcomes, done = [], threading.Event()

        def callback(future):
            try:
                outcomes.append(function(writer, future))
            except ZerobusError as error:
                outcomes.append(error)
            done.set()

        writer.submit(batch(0)).future.add_done_callback(callback)
        assert done.wait(PATIENCE)
        return outcomes

    return run


def test_it_is_called_once_in_the_thread_that_delivers_when_the_counters_have_the_outcome(called):
    (outcome,) = called(lambda writer, future: (threading.current_thread().name, writer.counters.rows_written))
    assert outcome == ("zerobus-main.iot.air", 3)


def test_with_an_outcome_it_is_called_in_the_thread_that_adds_it(connect):
    submission, threads = connect(schema=DDL).submit(batch(0)), []
    assert submission.result(PATIENCE).success
    submission.future.add_done_callback(lambda _: threads.append(threading.current_thread()))
    assert threads == [threading.current_thread()]


def test_it_has_the_outcome_of_its_own_submission(called):
    (outcome,) = called(lambda _, future: future.result(0))
    assert outcome.successful_count == 3


@pytest.mark.parametrize("error", [RuntimeError("of a callback"), SystemExit(3)])
def test_what_it_raises_harms_nobody(emulator, table, connect, error):
    emulator.faults = Faults(ack_delay=0.3)
    writer, later = connect(schema=DDL), []

    def fail(_):
        raise error

    future = writer.submit(batch(0)).future
    future.add_done_callback(fail)
    others = [writer.submit(batch(n * 3)) for n in range(1, 5)]
    others[0].future.add_done_callback(later.append)
    assert all(other.result(PATIENCE).success for other in others)
    assert future.result(0).success
    assert len(later) == 1
    assert writer.send_batch(batch(15)).success
    assert table.count_rows() == 18


def test_one_that_blocks_delays_other_outcomes_and_loses_none(emulator, table, connect):
    emulator.faults = Faults(ack_delay=0.2)
    writer, blocking, go_on = connect(schema=DDL), threading.Event(), threading.Event()

    def block(_):
        blocking.set()
        go_on.wait(PATIENCE)

    writer.submit(batch(0)).future.add_done_callback(block)
    others = [writer.submit(batch(n * 3)) for n in range(1, 5)]
    assert blocking.wait(PATIENCE)
    assert not others[-1].wait(0.5)
    go_on.set()
    assert all(other.result(PATIENCE).success for other in others)
    assert table.count_rows() == 15


@pytest.mark.parametrize("how", ["result", "flush", "send_batch"])
def test_to_wait_for_its_own_writer_is_an_error(emulator, table, called, connect, how):
    writer = connect(schema=DDL)
    ways = {
        "result": lambda writer, _: writer.submit(batch(3)).result(),
        "flush": lambda writer, _: (writer.submit(batch(3)), writer.flush()),
        "send_batch": lambda writer, _: writer.send_batch(batch(3)),
    }
    (outcome,) = called(ways[how], writer)
    assert isinstance(outcome, ZerobusError)
    assert "waits for its own writer of main.iot.air" in str(outcome)
    writer.flush(PATIENCE)
    assert table.count_rows() == 6


def test_it_may_submit_where_there_is_room(table, called, connect):
    writer = connect(schema=DDL)
    (submission,) = called(lambda writer, _: writer.submit(batch(3)), writer)
    assert submission.result(PATIENCE).success
    assert table.count_rows() == 6


@pytest.mark.parametrize("others", ["have sent", "wait for room"])
def test_to_submit_where_there_is_no_room_is_an_error(emulator, table, connect, monkeypatch, others):
    monkeypatch.setattr(limits, "MAX_IN_FLIGHT_BYTES", 1)
    emulator.faults = Faults(ack_delay=1.0)
    writer, errors, done = connect(schema=DDL), [], threading.Event()

    def submit(_):
        try:
            for start in range(100, 112, 3):  # the first may find room
                writer.submit(batch(start))
        except ZerobusError as error:
            errors.append(str(error))
        done.set()

    writer.submit(batch(0)).future.add_done_callback(submit)
    threads = []
    if others == "wait for room":
        threads = [threading.Thread(target=writer.submit, args=(batch(n * 3),)) for n in range(1, 4)]
        for thread in threads:
            thread.start()
    assert done.wait(PATIENCE)
    for thread in threads:
        thread.join(PATIENCE)
    writer.flush(PATIENCE)
    assert ["submitted to its own writer of main.iot.air" in error for error in errors] == [True]
    assert table.count_rows() >= 3 + 3 * len(threads)


def test_it_may_wait_for_another_writer(emulator, called, connect):
    emulator.create_table("main.iot.other", DDL)
    other = connect("main.iot.other", schema=DDL)
    (outcome,) = called(lambda *_: other.send_batch(batch(0)))
    assert outcome.success
