"""Rows that only the service rejects: each fails alone, at the cost of few streams."""

import time

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_zerobus import ClosedError, ConversionError, OAuthClientCredentials, Retry
from beam_zerobus.delivery import limits
from beam_zerobus.emulator import Emulator, Faults, RejectRows, ScriptedFault
from tests.delivery.readings import DDL, FORMATS, QUICK, ids, rows
from tests.emulator.sdk import eventually


@pytest.fixture(autouse=True)
def table(emulator):
    return emulator.create_table("main.iot.air", DDL)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """Let a search open streams without a pause; `TestRateLimit` has the pause."""
    monkeypatch.setattr(limits, "MAX_STREAMS", 1_000_000)


@FORMATS
def test_the_bad_row_stands_alone(emulator, connect, wire_format):
    emulator.faults = Faults(reject_rows=(RejectRows(column="id", value=37),))
    writer = connect(schema=DDL, wire_format=wire_format)
    result = writer.send_batch(rows(0, 100))
    assert [(error.index, error.error_type, error.stage) for error in result.failed_rows] == [
        (37, "rejected_by_service", "service")
    ]
    assert "column 'id'" in result.failed_rows[0].message
    assert result.is_partial_success
    assert ids(emulator) == [n for n in range(100) if n != 37]


@FORMATS
def test_other_calls_in_flight_are_written_once(emulator, connect, wire_format):
    emulator.faults = Faults(reject_rows=(RejectRows(predicate=lambda row: row["id"] % 100 == 42),))
    writer = connect(schema=DDL, wire_format=wire_format)
    submissions = [writer.submit(rows(n * 50, 50)) for n in range(10)]
    rejected = [error.index + n * 50 for n, s in enumerate(submissions) for error in s.result(30).failed_rows]
    assert rejected == [42, 142, 242, 342, 442]
    assert sorted(set(ids(emulator))) == [n for n in range(500) if n % 100 != 42]


def test_ten_of_a_hundred_thousand(connect):
    bad = {(n * 9973) % 100_000 for n in range(10)}
    with Emulator(memory=True, check_rows=True) as emulator:
        emulator.create_table("main.iot.air", DDL)
        settings = {"endpoint": emulator.endpoint, "workspace_url": emulator.workspace_url, "schema": DDL}
        writer = connect(
            **settings,
            credentials=OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
        )
        writer.send_batch(rows(200_000, 100_000))
        without = emulator.stats.tables["main.iot.air"].calls
        emulator.faults = Faults(reject_rows=tuple(RejectRows(column="id", value=value) for value in bad))
        result = writer.send_batch(rows(0, 100_000))
        assert {error.index for error in result.failed_rows} == bad
        assert emulator.stats.tables["main.iot.air"].calls - 2 * without <= 300
        assert emulator.table("main.iot.air").count_rows() == 199_990


@pytest.mark.parametrize("wire_format", ["proto", "arrow"])
def test_a_hundred_thousand_rows_of_a_wrong_schema_end_before_the_first_call(emulator, connect, wire_format):
    batch = pa.record_batch({"id": range(100_000), "weight": [1.5] * 100_000, "height": [0.5] * 100_000})
    writer = connect(schema=DDL + ", weight DOUBLE, height DOUBLE", wire_format=wire_format)
    with pytest.raises(ConversionError, match=r"main\.iot\.air: ") as raised:
        writer.send_batch(batch)
    for name in ("weight", "height"):
        assert f"column '{name}' is not in the table" in str(raised.value)
    assert emulator.stats.tables["main.iot.air"].calls == 0


def test_a_hundred_thousand_rows_of_a_wrong_schema_cost_a_few_calls_in_json_which_names_none(emulator, connect):
    batch = pa.record_batch({"id": range(100_000), "weight": [1.5] * 100_000})
    result = connect(schema=DDL + ", weight DOUBLE", wire_format="json").send_batch(batch)
    assert (result.failed_count, result.successful_count) == (100_000, 0)
    assert emulator.stats.tables["main.iot.air"].calls <= 20
    assert all("column 'weight' is not in the table" in error.message for error in result.failed_rows)
    assert result.errors_by_type()["rejected_by_service"] <= 20


@pytest.mark.hostile
def test_a_hundred_thousand_rows_that_are_all_rejected_cost_a_hundred_calls(emulator, connect):
    emulator.faults = Faults(reject_rows=(RejectRows(column="name", value=None),))
    result = connect(schema=DDL).send_batch(pa.record_batch({"id": range(100_000)}))
    assert result.errors_by_type() == {"rejected_by_service": 100, "rejected_untried": 99_900}
    assert [error.index for error in result.failed_rows] == list(range(100_000))
    assert all("column 'name'" in error.message for error in result.failed_rows)
    assert emulator.stats.tables["main.iot.air"].calls == 101


@pytest.mark.hostile
def test_where_nineteen_rows_in_twenty_are_rejected_the_good_ones_are_written(emulator, connect):
    emulator.faults = Faults(reject_rows=(RejectRows(column="name", value="bad"),))
    good = {(n * 277) % 240 for n in range(12)}
    names = ["good" if n in good else "bad" for n in range(240)]
    result = connect(schema=DDL).send_batch(pa.record_batch({"id": range(240), "name": names}))
    assert result.errors_by_type() == {"rejected_by_service": 228}
    assert {error.index for error in result.failed_rows} == set(range(240)) - good
    assert ids(emulator) == sorted(good)


def test_a_failure_during_the_search_is_survived(emulator, connect):
    emulator.faults = Faults(
        reject_rows=(RejectRows(column="id", value=5),), seed=3, rate=0.3, kinds=("status", "drop", "reject")
    )
    result = connect(schema=DDL, retry=Retry(max_retries=50, initial_backoff=0.001)).send_batch(rows(0, 64))
    assert [error.index for error in result.failed_rows] == [5]
    assert sorted(set(ids(emulator))) == [n for n in range(64) if n != 5]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bad=st.sets(st.integers(0, 149)), sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_exactly_the_bad_rows_come_back(emulator, connect, bad, sizes):
    target = f"main.iot.t{time.time_ns()}"
    emulator.create_table(target, DDL)
    emulator.faults = Faults(reject_rows=tuple(RejectRows(column="id", value=value) for value in bad))
    writer = connect(target, schema=DDL)
    start, submissions = 0, []
    for size in sizes:
        submissions.append((start, writer.submit(rows(start, size))))
        start += size
    found = {begin + error.index for begin, s in submissions for error in s.result(60).failed_rows}
    assert found == {row for row in bad if row < start}
    written = emulator.table(target).to_arrow()["id"].to_pylist()
    assert set(written) == set(range(start)) - found


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("count", "bad", "most"),
    [
        (10_000, {4_321}, 11),  # whichever row it is
        (600, {n for n in range(600) if n % 20}, 600),
        (240, {n for n in range(240) if n % 2}, 160),
        (150, set(range(150)), 160),
    ],
)
def test_a_search_opens_few_streams_more_than_there_are_bad_rows(emulator, connect, count, bad, most):
    emulator.faults = Faults(reject_rows=(RejectRows(predicate=lambda row: row["id"] in bad),))
    result = connect(schema=DDL).send_batch(rows(0, count))
    assert {error.index for error in result.failed_rows} == bad
    assert ids(emulator) == sorted(set(range(count)) - bad)
    assert emulator.stats.streams_opened <= most


@pytest.mark.hostile
def test_a_search_opens_fewer_streams_a_minute_than_the_service_likes(emulator, connect, monkeypatch):
    """The limits are the real ones: the search has to wait for a minute."""
    monkeypatch.undo()
    emulator.faults = Faults(reject_rows=(RejectRows(predicate=lambda row: row["id"] % 10 != 0),))
    result = connect(schema=DDL).send_batch(rows(0, 120))
    assert {error.index for error in result.failed_rows} == {n for n in range(120) if n % 10}
    assert ids(emulator) == list(range(0, 120, 10))
    assert emulator.stats.streams_opened >= 108
    assert emulator.stats.tables["main.iot.air"].most_streams_a_minute < 100


class TestRateLimit:
    """A search that needs more streams than the service likes in a minute."""

    @pytest.fixture(autouse=True)
    def few(self, monkeypatch):
        monkeypatch.setattr(limits, "MAX_STREAMS", 8)
        monkeypatch.setattr(limits, "STREAM_WINDOW", 2.0)

    def test_the_search_waits_and_says_so_and_finds_every_row(self, emulator, connect, caplog):
        emulator.faults = Faults(reject_rows=(RejectRows(predicate=lambda row: row["id"] % 2 == 1),))
        writer = connect(schema=DDL)
        result = writer.send_batch(rows(0, 20))
        assert [error.index for error in result.failed_rows] == list(range(1, 20, 2))
        limiter = "beam_zerobus.delivery.rate_limiter"
        said = [record.message for record in caplog.records if (record.name, record.levelname) == (limiter, "WARNING")]
        assert len(said) == 1
        assert "Zerobus rejects rows of table main.iot.air, and each rejected call costs a stream: 8 streams" in said[0]
        assert "20 rows have no outcome yet" in said[0]

    def test_a_batch_that_waits_may_be_cancelled_and_a_writer_closed(self, emulator, connect, monkeypatch, caplog):
        monkeypatch.setattr(limits, "STREAM_WINDOW", 3600.0)
        emulator.faults = Faults(reject_rows=(RejectRows(predicate=lambda row: row["id"] < 100),))
        writer = connect(schema=DDL)
        waiting = [writer.submit(rows(0, 20)), writer.submit(rows(20, 20))]
        eventually(lambda: "goes on in" in caplog.text)
        writer.cancel(waiting[0])
        with pytest.raises(ClosedError):
            writer.close(0.5)
        assert waiting[1].done

    def test_other_batches_are_written_while_the_search_waits(self, emulator, table, connect, monkeypatch, caplog):
        monkeypatch.setattr(limits, "STREAM_WINDOW", 3600.0)
        emulator.faults = Faults(reject_rows=(RejectRows(predicate=lambda row: row["id"] < 100),))
        writer = connect(schema=DDL)
        waiting = [writer.submit(rows(0, 20))]
        eventually(lambda: "goes on in" in caplog.text)
        assert all(writer.submit(rows(n)).result(20).success for n in range(100, 300, 10))
        waiting.append(writer.submit(rows(95)))  # its search waits too
        assert all(writer.submit(rows(n)).result(20).success for n in range(300, 500, 10))
        assert not any(submission.done for submission in waiting)
        assert 8 + 2 <= emulator.stats.streams_opened <= 8 + limits.SPARE_STREAMS
        assert set(range(100, 500)) <= set(ids(emulator))

    def test_other_batches_with_rejected_rows_open_few_streams(self, emulator, connect, monkeypatch, caplog):
        monkeypatch.setattr(limits, "STREAM_WINDOW", 3600.0)
        emulator.faults = Faults(reject_rows=(RejectRows(predicate=lambda row: row["id"] % 2 == 1),))
        writer = connect(schema=DDL)
        writer.submit(rows(0, 20))
        eventually(lambda: "goes on in" in caplog.text)
        bad = [writer.submit(rows(n, 2)) for n in range(101, 151, 2)]
        eventually(lambda: emulator.stats.streams_opened == 8 + limits.SPARE_STREAMS)
        late = writer.submit(rows(300))
        with pytest.raises(ClosedError):
            writer.close(0.5)
        assert emulator.stats.streams_opened == 8 + limits.SPARE_STREAMS
        assert all(submission.done for submission in (*bad, late))

    def test_searches_and_other_batches_all_end(self, emulator, connect, monkeypatch):
        monkeypatch.setattr(limits, "STREAM_WINDOW", 0.2)
        emulator.faults = Faults(reject_rows=(RejectRows(predicate=lambda row: row["id"] % 3 == 1),))
        writer = connect(schema=DDL)
        submissions = [writer.submit(rows(n, 4)) for n in range(0, 60, 4)]
        rejected = [n * 4 + error.index for n, s in enumerate(submissions) for error in s.result(60).failed_rows]
        assert rejected == list(range(1, 60, 3))
        assert sorted(set(ids(emulator))) == [n for n in range(60) if n % 3 != 1]

    def test_streams_that_other_failures_cost_open_at_once(self, emulator, connect, monkeypatch):
        monkeypatch.setattr(limits, "STREAM_WINDOW", 3600.0)
        emulator.faults = Faults(script=tuple(ScriptedFault("status", at_call=n) for n in range(2, 42, 2)))
        writer = connect(schema=DDL, retry=QUICK)
        assert all(writer.send_batch(rows(n * 10)).success for n in range(20))
        assert emulator.stats.streams_opened > 8


@FORMATS
def test_after_so_many_streams_the_rows_that_are_left_are_given_up(emulator, connect, monkeypatch, wire_format):
    monkeypatch.setattr(limits, "MAX_SEARCH_STREAMS", 30)
    emulator.faults = Faults(reject_rows=(RejectRows(predicate=lambda row: row["id"] % 2 == 0),))
    writer = connect(schema=DDL, wire_format=wire_format)
    result = writer.send_batch(rows(0, 150))
    found = {error.index: error for error in result.failed_rows}
    tried = {index for index, error in found.items() if error.error_type == "rejected_by_service"}
    untried = {index for index, error in found.items() if error.error_type == "rejected_untried"}
    assert ids(emulator) == sorted(set(range(150)) - tried - untried)
    assert tried
    assert all(index % 2 == 0 for index in tried)
    assert untried == set(range(min(untried), 150))
    assert "the search ended after 30 rejected calls" in found[149].message
    assert "send it again" in found[149].message
    assert emulator.stats.streams_opened == 31
    assert writer.send_batch(pa.record_batch({"id": [1001]})).success
