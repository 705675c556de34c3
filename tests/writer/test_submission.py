"""One batch between submit and its outcome; the delivery's side is played by the test."""

import gc
import sys
import threading
import weakref

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_zerobus import ConversionError, RowError, TransientError, ZerobusError
from beam_zerobus.encoding import Payload
from beam_zerobus.telemetry import open_recorder
from beam_zerobus.writer.submission import Submission
from beam_zerobus.writer.submissions import Submissions
from tests.emulator.sdk import eventually

TABLE = "main.iot.air"


def submission(rows=10, on_done=lambda *_: None, on_outcome=lambda _: None):
    recorder = open_recorder(None, table=TABLE, wire_format="proto")
    batch = pa.record_batch({"id": range(rows)})
    return Submission(
        batch,
        arrow_bytes=batch.nbytes,
        table=TABLE,
        span=recorder.batch(rows, 1),
        on_done=on_done,
        on_outcome=on_outcome,
    )


def payload(rows, rejected=()):
    return Payload(
        records=[b"x"] * len(rows),
        rows=np.asarray(rows, dtype=np.int64),
        size_bytes=len(rows),
        rejected=tuple(RowError(row, "null", "null") for row in rejected),
    )


@given(st.data())
def test_every_row_is_acknowledged_or_failed_however_the_batch_is_cut(data):
    made = submission(12)
    outcome = data.draw(
        st.lists(st.sampled_from(["good", "rejected early", "rejected late"]), min_size=12, max_size=12)
    )
    cuts = sorted(data.draw(st.sets(st.integers(1, 11), max_size=4)))
    payloads = []
    for start, end in zip([0, *cuts], [*cuts, 12], strict=True):
        early = [row for row in range(start, end) if outcome[row] == "rejected early"]
        payloads.append(payload([row for row in range(start, end) if row not in early], early))
    for one in payloads:
        made.opened(one)
    assert made.is_encoded
    settled = data.draw(st.permutations(payloads))
    seal_at = data.draw(st.integers(0, len(settled)))
    for position, one in enumerate(settled):
        if position == seal_at:
            made.seal()
        late = [int(row) for row in one.rows if outcome[row] == "rejected late"]
        if len(one.rows):
            kept = np.asarray([row for row in one.rows if row not in late], dtype=np.int64)
            made.settle([kept], [RowError(row, "rejected_by_service", "no", "service") for row in late], 1)
    if seal_at == len(settled):
        made.seal()
    result = made.result(0)
    assert [error.index for error in result.failed_rows] == [row for row in range(12) if outcome[row] != "good"]
    assert result.successful_count + result.failed_count == 12


def test_rows_that_were_forgotten_are_an_error_and_never_a_success():
    made = submission(10)
    made.opened(payload(range(9)))
    made.settle([range(9)], (), 1)
    made.seal()
    with pytest.raises(ZerobusError, match="1 row of a batch for main.iot.air could not be encoded"):
        made.result(0)


def test_an_error_holds_what_is_not_written():
    made = submission(10)
    made.opened(payload(range(10)))
    made.settle([range(4)], [RowError(4, "null", "null")], 1)
    made.fail(TransientError("gone", cause="UNAVAILABLE"))
    with pytest.raises(TransientError, match=r"of the batch's 10 rows, acknowledged: 4, not acknowledged: 6") as raised:
        made.result(0)
    assert [batch["id"].to_pylist() for batch in raised.value.unacknowledged] == [[4, 5, 6, 7, 8, 9]]
    assert made.unacknowledged_rows == 6


def test_pieces_that_a_search_had_written_are_acknowledged_in_the_error():
    made = submission(4)
    made.opened(payload(range(4)))
    made.acknowledge([range(2)])
    made.fail(TransientError("gone", cause="UNAVAILABLE"))
    with pytest.raises(TransientError) as raised:
        made.result(0)
    assert (raised.value.acknowledged_rows, raised.value.unacknowledged_rows) == (2, 2)


def test_a_callback_that_ends_its_thread_takes_nobody_along():
    made = submission(1)
    made.future.add_done_callback(lambda _: sys.exit(1))
    made.opened(payload([0]))
    made.settle([range(1)], (), 1)
    made.seal()
    assert made.result(0).success


def test_what_is_called_at_the_end_may_fail():
    def fail(*_):
        raise RuntimeError("of somebody else")

    made = submission(1, on_done=fail)
    made.opened(payload([0]))
    made.settle([range(1)], (), 1)
    made.seal()
    assert made.result(0).success


def test_it_says_how_it_is():
    made = submission(1)
    assert repr(made) == "<Submission of 1 row to main.iot.air: in flight>"
    made.opened(payload([0]))
    made.settle([range(1)], (), 1)
    made.seal()
    assert repr(made) == "<Submission of 1 row to main.iot.air: acknowledged>"


class TestSubmissions:
    """The batches of a writer, until somebody knows their outcome."""

    def failed(self, submissions, error=None):
        made = submission(3, on_outcome=submissions.ended)
        submissions.add(made)
        made.fail(error or ConversionError("no"))
        return made

    def test_failures_that_somebody_asked_for_are_not_raised(self):
        submissions = Submissions(TABLE)
        asked, _ = self.failed(submissions), self.failed(submissions, ZerobusError("other"))
        with pytest.raises(ConversionError):
            asked.result(0)
        with pytest.raises(ZerobusError, match="other"):
            submissions.raise_failures()
        submissions.raise_failures()

    def test_a_future_that_nobody_reads_is_no_question(self):
        submissions = Submissions(TABLE)
        made = submission(3, on_outcome=submissions.ended)
        submissions.add(made)
        future = made.future
        made.fail(ConversionError("no"))
        with pytest.raises(ConversionError):
            submissions.raise_failures()
        with pytest.raises(ConversionError):
            future.result(0)

    def test_a_failure_is_noticed_between_its_outcome_and_its_report(self):
        submissions = Submissions(TABLE)
        made = submission(3, on_outcome=lambda _: noticed.append(submissions.log_failures()))
        noticed = []
        submissions.add(made)
        made.fail(ConversionError("no"))
        submissions.ended(made)
        assert [len(errors) for errors in noticed] == [1]
        assert submissions.log_failures() == []

    def test_a_failure_that_a_thread_waits_for_is_raised_there_and_nowhere_else(self):
        for _ in range(50):
            submissions, raised = Submissions(TABLE), []

            def report(ended, submissions=submissions, raised=raised):
                submissions.ended(ended)
                try:
                    submissions.raise_failures()  # before the thread that waits goes on
                except ConversionError:
                    raised.append("by flush")

            made = submission(3, on_outcome=report)
            submissions.add(made)

            def ask(made=made, raised=raised):
                with pytest.raises(ConversionError):
                    made.result(30)
                raised.append("by result")

            thread = threading.Thread(target=ask)
            thread.start()
            eventually(lambda made=made: not made.needs_report)
            made.fail(ConversionError("no"))
            thread.join(30)
            submissions.raise_failures()
            assert raised == ["by result"]

    def test_a_wait_that_ends_early_leaves_the_failure_to_be_raised(self):
        submissions = Submissions(TABLE)
        made = submission(3, on_outcome=submissions.ended)
        submissions.add(made)
        with pytest.raises(TimeoutError):
            made.result(0.01)
        made.fail(ConversionError("no"))
        with pytest.raises(ConversionError):
            submissions.raise_failures()

    def test_a_failure_that_a_thread_waits_for_is_logged_at_the_end_of_the_process(self):
        submissions = Submissions(TABLE)
        made = self.failed(submissions)
        with made.claimed_outcome():
            submissions.raise_failures()
            assert len(submissions.log_failures()) == 1

    def test_each_failure_that_nobody_asked_for_is_logged(self, caplog):
        submissions = Submissions(TABLE)
        for _ in range(3):
            self.failed(submissions)
        with pytest.raises(ConversionError):
            submissions.raise_failures()
        assert [record.getMessage() for record in caplog.records] == [
            "3 of 3 rows of a batch for table main.iot.air are not acknowledged: no"
        ] * 3

    def test_one_row_is_not_acknowledged(self, caplog):
        submissions = Submissions(TABLE)
        made = submission(1, on_outcome=submissions.ended)
        submissions.add(made)
        made.fail(ConversionError("no"))
        submissions.log_failures()
        [record] = caplog.records
        assert record.getMessage() == "1 of 1 row of a batch for table main.iot.air is not acknowledged: no"

    def test_failures_that_nobody_ever_asks_for_take_no_more_memory_than_a_thousand(self, caplog):
        submissions = Submissions(TABLE)
        for _ in range(1_010):
            self.failed(submissions)
        logged = [record for record in caplog.records if record.getMessage().startswith("3 of 3 rows")]
        assert len(logged) == 10  # and forgotten
        assert len(submissions.log_failures()) == 1_000

    def test_failures_that_somebody_will_ask_for_are_not_logged_however_many_there_are(self, caplog):
        submissions = Submissions(TABLE)
        for _ in range(1_010):
            made = submission(3, on_outcome=submissions.ended)
            submissions.add(made)
            made.claim_outcome()
            made.fail(ConversionError("no"))
        assert not caplog.records
        submissions.raise_failures()
        assert len(submissions.log_failures()) == 1_010  # the end of the process

    @pytest.mark.parametrize("ask", [lambda made: made.result(0), lambda made: made.future.result(0)])
    def test_failures_that_were_asked_for_keep_no_rows_and_are_not_logged(self, caplog, ask):
        submissions, rows = Submissions(TABLE), []
        for _ in range(1_010):
            made = self.failed(submissions)
            rows.append(weakref.ref(made))
            with pytest.raises(ConversionError):
                ask(made)
        del made
        gc.collect()
        assert not any(submission() for submission in rows)
        assert not caplog.records

    @pytest.mark.parametrize("claimed", [False, True])
    @pytest.mark.parametrize("before_the_end", [False, True])
    def test_failures_that_were_dropped_keep_no_rows_and_are_not_logged(self, caplog, claimed, before_the_end):
        submissions = Submissions(TABLE)
        made = submission(3, on_outcome=submissions.ended)
        submissions.add(made)
        if claimed:
            made.claim_outcome()
        if before_the_end:
            made.drop_outcome()
        made.fail(ConversionError("no"))
        made.drop_outcome()
        row = weakref.ref(made)
        del made
        gc.collect()
        assert row() is None
        assert submissions.log_failures() == []
        assert not caplog.records

    def test_waiting_has_an_end(self):
        submissions = Submissions(TABLE)
        made = submission(1, on_outcome=submissions.ended)
        submissions.add(made)
        assert not submissions.wait(0.0)
        threading.Timer(0.1, made.seal).start()
        made.opened(payload([0]))
        made.settle([range(1)], (), 1)
        assert submissions.wait(None)
        assert submissions.open() == []
