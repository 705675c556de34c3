"""Odd answers of a server: each batch has an outcome in time, no acknowledged row is reported lost, life goes on."""

import threading
import time
from contextlib import suppress

import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from beam_zerobus import (
    ConversionError,
    RejectedError,
    Retry,
    StaticHeaders,
    TransientError,
    ZerobusError,
    ZerobusWriter,
)
from beam_zerobus.delivery import limits
from tests.hostile.odd_server import HONEST, ODDITIES, OddServer

PATIENCE = 30  # retries and short limits bound an outcome far below that, also on a busy machine
QUICK = Retry(max_retries=3, initial_backoff=0.001, max_backoff=0.01)


def batch(start, count=3):
    return pa.record_batch({"id": pa.array(range(start, start + count), pa.int64())})


def writer_to(server):
    return ZerobusWriter(
        "main.iot.air",
        endpoint=server.endpoint,
        schema="id BIGINT NOT NULL",
        credentials=StaticHeaders(headers={"authorization": "Bearer token"}),
        retry=QUICK,
    )


@pytest.fixture(autouse=True)
def short_patience(monkeypatch):
    monkeypatch.setattr(limits, "ACK_TIMEOUT", 0.5)


@pytest.mark.parametrize("oddity", ODDITIES)
def test_an_odd_answer_once_leaves_every_row_written(oddity):
    with OddServer() as server, writer_to(server) as writer:
        server.script.append(oddity)
        result = writer.submit(batch(0)).result(PATIENCE)
        assert (result.successful_count, result.failed_rows) == (3, ())
        assert writer.submit(batch(3)).result(PATIENCE).success


# The SDK takes the offset after the only call for an acknowledgement of it (it allows for an offset a row).
@pytest.mark.parametrize("oddity", sorted(set(ODDITIES) - {*HONEST, "before data"}))
def test_odd_answers_without_end_are_an_error_that_names_the_rows(oddity):
    with OddServer() as server, writer_to(server) as writer:
        server.script.extend([oddity] * 99)
        with pytest.raises((TransientError, ZerobusError)) as raised:
            writer.submit(batch(0)).result(PATIENCE)
        assert getattr(raised.value, "unacknowledged_rows", 3) == 3
        server.script.clear()
        assert writer.submit(batch(0)).result(PATIENCE).success


def test_an_old_acknowledgement_that_is_repeated_does_not_restart_the_limit(monkeypatch):
    with OddServer() as server, writer_to(server) as writer:
        assert writer.submit(batch(0)).result(PATIENCE).success
        server.script.append("heartbeat")
        submission = writer.submit(batch(3))
        assert submission.result(PATIENCE).success
        assert submission.result(0).attempts == 2


class OddAnswers(RuleBasedStateMachine):
    """Batches to a server whose answers Hypothesis chooses."""

    def __init__(self):
        super().__init__()
        self.patched = pytest.MonkeyPatch()
        self.patched.setattr(limits, "ACK_TIMEOUT", 0.5)
        self.server = OddServer().__enter__()
        self.writer = writer_to(self.server)
        self.next_id = 0

    @rule(oddities=st.lists(st.sampled_from(ODDITIES), max_size=4), count=st.integers(1, 4))
    def send_batches(self, oddities, count):
        self.server.script.extend(oddities)
        submissions = []
        for _ in range(count):
            submissions.append(self.writer.submit(batch(self.next_id)))
            self.next_id += 3
        for submission in submissions:
            assert submission.wait(PATIENCE)
            assert not isinstance(submission.failure, RejectedError | ConversionError)  # no row is blamed for a server

    @rule()
    def send_to_a_server_that_has_recovered(self):
        self.server.script.clear()
        assert self.writer.submit(batch(self.next_id)).result(PATIENCE).success
        self.next_id += 3

    @invariant()
    def nothing_is_left_in_flight(self):
        assert (self.writer.in_flight_rows, self.writer.in_flight_bytes) == (0, 0)

    def teardown(self):
        self.server.script.clear()
        with suppress(ZerobusError):  # batches of odd servers have failed
            self.writer.close(PATIENCE)
        self.server.__exit__()
        self.patched.undo()


TestOddAnswers = OddAnswers.TestCase
TestOddAnswers.settings = settings(max_examples=12, stateful_step_count=8, deadline=None)


def test_while_nothing_is_acknowledged_no_thread_spins(monkeypatch):
    monkeypatch.setattr(limits, "ACK_TIMEOUT", 60)
    with OddServer() as server, writer_to(server) as writer:
        server.script.extend(["silence"] * 9)
        submission = writer.submit(batch(0))
        before, started = time.process_time(), time.monotonic()
        while time.monotonic() < started + 2:
            time.sleep(0.1)
        assert time.process_time() - before < 1.0  # of two seconds
        assert not submission.done
        writer.cancel(submission)
    assert threading.active_count() < 100
