"""Odd answers of a server: each batch has an outcome in time, no acknowledged row is reported lost, the next works."""

import threading
import time
from contextlib import suppress

import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

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
from tests.emulator.sdk import eventually
from tests.hostile.odd_server import FINAL, HONEST, ODDITIES, OddServer
from tests.hostile.slow_line import SlowLine

PATIENCE = 100  # retries and short limits bound an outcome far below that, also on a busy machine
# Of so many tries one is in time, though the limits are short and the machine may be busy.
QUICK = Retry(max_retries=8, initial_backoff=0.001, max_backoff=0.01)
FORMATS = pytest.mark.parametrize(
    "wire_format", ["proto", *(pytest.param(other, marks=pytest.mark.hostile) for other in ("json", "arrow"))]
)


def batch(start, count=3):
    return pa.record_batch({"id": pa.array(range(start, start + count), pa.int64())})


def writer_to(server, wire_format="proto"):
    return ZerobusWriter(
        "main.iot.air",
        endpoint=server.endpoint,
        schema="id BIGINT NOT NULL",
        wire_format=wire_format,
        credentials=StaticHeaders(headers={"authorization": "Bearer token"}),
        retry=QUICK,
    )


@pytest.fixture(autouse=True)
def short_patience(monkeypatch):
    monkeypatch.setattr(limits, "ACK_TIMEOUT", 0.5)


@FORMATS
@pytest.mark.parametrize("oddity", ODDITIES)
def test_an_odd_answer_once_leaves_every_row_written(oddity, wire_format):
    with OddServer() as server, writer_to(server, wire_format) as writer:
        server.script.append(oddity)
        result = writer.submit(batch(0)).result(PATIENCE)
        assert (result.successful_count, result.failed_rows) == (3, ())
        assert writer.submit(batch(3)).result(PATIENCE).success


@FORMATS
@pytest.mark.parametrize("status", FINAL)
def test_after_a_final_status_the_next_batch_works(status, wire_format):
    with OddServer() as server, writer_to(server, wire_format) as writer:
        server.script.append(status)
        submission = writer.submit(batch(0))
        assert submission.wait(PATIENCE)
        assert writer.submit(batch(3)).result(PATIENCE).success
        with suppress(ZerobusError):
            submission.result(0)  # so that the end of the block does not raise it


@FORMATS
def test_an_acknowledgement_before_there_is_a_call_loses_no_row(wire_format):
    with OddServer() as server, writer_to(server, wire_format) as writer:
        server.before_data = True
        submission = writer.submit(batch(0))
        assert submission.wait(PATIENCE)
        server.before_data = False
        with suppress(TransientError):
            assert submission.result(0).success
            eventually(lambda: server.acknowledged >= {0, 1, 2})  # it did get the rows
        assert writer.submit(batch(3)).result(PATIENCE).success


@FORMATS
@pytest.mark.parametrize("opened", [False, True])
def test_answers_of_a_few_bytes_a_second_end_at_the_limit(opened, wire_format, monkeypatch):
    monkeypatch.setattr(limits, "OPEN_TIMEOUT", 0.5)
    with OddServer() as server, SlowLine(server.port) as line, writer_to(line, wire_format) as writer:
        if opened:
            assert writer.submit(batch(0)).result(PATIENCE).success
        line.slow = True
        slow = writer.submit(batch(3))
        assert slow.wait(PATIENCE)
        line.slow = False
        assert writer.submit(batch(6)).result(PATIENCE).success
        assert slow.failure is None or isinstance(slow.failure, TransientError)
        with suppress(TransientError):
            slow.result(0)


# The SDK takes the offset after the only call for an acknowledgement of it (it allows for an offset a row); over Arrow
# it takes any later offset for that of the last call sent, which acknowledges all before.
ACKNOWLEDGE = {"proto": {"before data"}, "json": {"before data"}, "arrow": {"before data", "out of range", "largest"}}


@FORMATS
@pytest.mark.parametrize("oddity", sorted(set(ODDITIES) - {*HONEST, "before data"}))
def test_odd_answers_without_end_are_an_error_that_names_the_rows(oddity, wire_format):
    if oddity in ACKNOWLEDGE[wire_format]:
        pytest.skip("the SDK takes it for an acknowledgement")
    with OddServer() as server, writer_to(server, wire_format) as writer:
        server.script.extend([oddity] * 99)
        with pytest.raises((TransientError, ZerobusError)) as raised:
            writer.submit(batch(0)).result(PATIENCE)
        assert getattr(raised.value, "unacknowledged_rows", 3) == 3
        server.script.clear()
        assert writer.submit(batch(0)).result(PATIENCE).success


@FORMATS
def test_an_old_acknowledgement_that_is_repeated_does_not_restart_the_limit(wire_format):
    with OddServer() as server, writer_to(server, wire_format) as writer:
        assert writer.submit(batch(0)).result(PATIENCE).success
        server.script.append("heartbeat")
        submission = writer.submit(batch(3))
        assert submission.result(PATIENCE).success
        assert submission.result(0).attempts >= 2


class OddAnswers(RuleBasedStateMachine):
    """Batches to a server whose answers Hypothesis chooses."""

    wire_format = "proto"

    def __init__(self):
        super().__init__()
        self.patched = pytest.MonkeyPatch()
        self.patched.setattr(limits, "ACK_TIMEOUT", 0.5)
        self.patched.setattr(limits, "OPEN_TIMEOUT", 0.5)
        self.server = OddServer().__enter__()
        self.line = SlowLine(self.server.port)
        self.writer = writer_to(self.line, self.wire_format)
        self.was_slow = False
        self.next_id = 0

    @rule(oddities=st.lists(st.sampled_from(ODDITIES), max_size=4), count=st.integers(1, 4))
    def send_batches(self, oddities, count):
        self.server.script.extend(oddities)
        submissions = [self.submit() for _ in range(count)]
        for start, submission in submissions:
            self.check(start, submission)
            assert not isinstance(submission.failure, RejectedError | ConversionError)  # no row is blamed for a server

    @rule(status=st.sampled_from(sorted(FINAL)))
    def send_a_batch_that_a_final_status_answers(self, status):
        self.server.script.append(status)
        self.check(*self.submit())

    @rule()
    def send_to_a_server_that_acknowledges_before_there_is_a_call(self):
        self.server.before_data = True
        self.check(*self.submit())
        self.server.before_data = False

    @precondition(lambda self: not self.was_slow)  # it takes seconds
    @rule()
    def send_over_a_line_of_a_few_bytes_a_second(self):
        self.was_slow = self.line.slow = True
        _, submission = self.submit()
        assert submission.wait(PATIENCE)  # an acknowledgement may be on the line when the client gives up
        self.line.slow = False

    def submit(self):
        start = self.next_id
        self.next_id += 3
        return start, self.writer.submit(batch(start))

    def check(self, start, submission):
        """Check that the batch has an outcome in time, and that nothing acknowledged is said not to be."""
        assert submission.wait(PATIENCE)
        error = submission.failure
        if isinstance(error, TransientError):
            unacknowledged = {row for rest in error.unacknowledged for row in rest["id"].to_pylist()}
            assert not self.server.acknowledged & unacknowledged
        elif error is not None and not getattr(error, "row_errors", ()):
            assert not self.server.acknowledged & set(range(start, start + 3))

    @rule()
    def send_to_a_server_that_has_recovered(self):
        self.server.script.clear()
        _, submission = self.submit()
        assert submission.result(PATIENCE).success

    @invariant()
    def nothing_is_left_in_flight(self):
        assert (self.writer.in_flight_rows, self.writer.in_flight_bytes) == (0, 0)

    def teardown(self):
        self.server.script.clear()
        with suppress(ZerobusError):  # batches of odd servers have failed
            self.writer.close(PATIENCE)
        self.line.__exit__()
        self.server.__exit__()
        self.patched.undo()


@pytest.mark.hostile
@pytest.mark.parametrize("wire_format", ["proto", "json", "arrow"])
def test_whatever_a_server_answers_each_batch_has_an_outcome_and_the_next_one_works(wire_format):
    machine = type("OddAnswersIn", (OddAnswers,), {"wire_format": wire_format})
    run_state_machine_as_test(machine, settings=settings(max_examples=12, stateful_step_count=8, deadline=None))


@pytest.mark.hostile
@pytest.mark.parametrize("wire_format", ["proto", "json", "arrow"])
@pytest.mark.parametrize("oddity", ["silence", "heartbeat", "slow"])
def test_while_nothing_is_acknowledged_no_thread_spins(oddity, wire_format, monkeypatch):
    monkeypatch.setattr(limits, "ACK_TIMEOUT", 60)
    with OddServer() as server, SlowLine(server.port) as line, writer_to(line, wire_format) as writer:
        assert writer.submit(batch(0)).result(PATIENCE).success
        line.slow = oddity == "slow"
        server.script.extend(["silence" if line.slow else oddity] * 9)
        submission = writer.submit(batch(0))
        before, started = time.process_time(), time.monotonic()
        while time.monotonic() < started + 2:
            time.sleep(0.1)
        assert time.process_time() - before < 1.0  # of two seconds
        assert not submission.done
        writer.cancel(submission)
    assert threading.active_count() < 100
