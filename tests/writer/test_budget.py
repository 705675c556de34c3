"""One budget of bytes in flight for all writers of a process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa
import pytest

from beam_zerobus import ZerobusWriter
from beam_zerobus.delivery.budget import Budget, budget_of_process
from beam_zerobus.emulator import Emulator, Faults
from beam_zerobus.writer.submission import Submission
from tests.emulator.sdk import eventually
from tests.runners.support import wait_until

DDL = "id BIGINT NOT NULL, name STRING"
PATIENCE = 30
TABLES = ["main.many.t0", "main.many.t1", "main.many.t2"]

pytestmark = pytest.mark.timeout(60)


def rows(count: int = 20) -> pa.RecordBatch:
    return pa.record_batch({"id": pa.array(range(count), pa.int64()), "name": ["n"] * count})


@pytest.fixture(autouse=True)
def slow_acknowledgements(emulator: Emulator) -> None:
    for table in TABLES:
        emulator.create_table(table, DDL)
    emulator.faults = Faults(ack_delay=0.2)


def test_writers_of_different_options_share_the_budget_and_the_smallest_number_counts(
    connect: Callable[..., ZerobusWriter],
) -> None:
    eventually(lambda: budget_of_process.used == 0)  # whatever earlier tests left behind
    writers = [
        connect(table, schema=DDL, max_in_flight_bytes=limit)
        for table, limit in zip(TABLES, (1_000, 2_000, 3_000), strict=True)
    ]
    for writer in writers:
        assert writer.send(rows(1)).success  # it is open
    most = 0
    for number in range(9):
        writers[number % 3].submit(rows())  # 20 rows take more than the smallest budget by themselves
        most = max(most, sum(writer.in_flight_rows for writer in writers))
    assert most == 20
    for writer in writers:
        writer.flush()
        writer.close()
    assert budget_of_process.used == 0


def test_a_writer_with_a_small_budget_that_is_closed_does_not_hold_up_others(
    emulator: Emulator, connect: Callable[..., ZerobusWriter]
) -> None:
    small, large = (
        connect(table, schema=DDL, max_in_flight_bytes=limit)
        for table, limit in zip(TABLES, (1, 1 << 20), strict=False)
    )
    for writer in (small, large):
        assert writer.send(rows(1)).success
    small.close()
    emulator.faults = Faults(ack_delay=2.0)  # all three are submitted meanwhile
    submitted = [large.submit(rows()) for _ in range(3)]
    assert large.in_flight_rows == 60
    assert all(one.result(PATIENCE).success for one in submitted)


def test_a_callback_may_submit_to_another_writer_while_the_budget_is_used_up(
    connect: Callable[..., ZerobusWriter],
) -> None:
    """A callback runs in the thread that makes room."""
    one, another = (connect(table, schema=DDL, max_in_flight_bytes=1_000) for table in TABLES[:2])
    for writer in (one, another):
        assert writer.send(rows(1)).success
    seen: list[Submission] = []
    done = threading.Event()

    def callback(_: object) -> None:
        wait_until(lambda: budget_of_process.used > 1_000, "the second batch, which waited, takes the whole budget")
        seen.append(another.submit(rows()))
        done.set()

    one.submit(rows()).future.add_done_callback(callback)
    second = one.submit(rows())
    assert done.wait(PATIENCE)
    assert second.result(PATIENCE).success
    assert seen[0].result(PATIENCE).success


def test_a_callback_may_submit_to_another_writer_where_a_thread_waits_for_the_budget(
    connect: Callable[..., ZerobusWriter],
) -> None:
    one, another = (connect(table, schema=DDL, max_in_flight_bytes=1_000) for table in TABLES[:2])
    for writer in (one, another):
        assert writer.send(rows(1)).success
    threads = ThreadPoolExecutor(1)
    seen: list[Submission | Future[Submission]] = []
    done = threading.Event()

    def callback(_: object) -> None:
        wait_until(lambda: budget_of_process.used > 1_000, "the second batch, which waited, takes the whole budget")
        seen.append(threads.submit(another.submit, rows()))
        time.sleep(0.2)  # the thread waits for the budget
        seen.append(another.submit(rows()))
        done.set()

    one.submit(rows()).future.add_done_callback(callback)
    second = one.submit(rows())
    assert done.wait(PATIENCE)
    assert second.result(PATIENCE).success
    waited, submitted = seen
    assert isinstance(waited, Future)
    assert isinstance(submitted, Submission)
    assert submitted.result(PATIENCE).success
    assert waited.result(PATIENCE).result(PATIENCE).success


def test_what_is_cancelled_or_never_acknowledged_leaves_the_budget(
    emulator: Emulator, connect: Callable[..., ZerobusWriter]
) -> None:
    writer = connect(TABLES[0], schema=DDL)
    assert writer.send(rows(1)).success
    emulator.faults = Faults(ack_delay=PATIENCE)
    writer.cancel(writer.submit(rows()))
    writer.submit(rows())
    assert budget_of_process.used > 0
    with pytest.raises(Exception, match="was closed before"):
        writer.close(0.1)
    assert budget_of_process.used == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on Windows")
def test_a_forked_child_begins_with_an_empty_budget() -> None:
    budget_of_process.join(10)
    budget_of_process.add(100)
    try:
        child = os.fork()
        if child == 0:
            os._exit(0 if budget_of_process.used == 0 and budget_of_process.wait_for_room(0) else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        budget_of_process.add(-100)
        budget_of_process.leave(10)


def test_a_budget_without_writers_has_room() -> None:
    budget = Budget()
    budget.add(1 << 40)
    assert budget.wait_for_room(0)
    budget.join(10)
    assert not budget.wait_for_room(0)
