"""The writer without faults: results, threads, sizes, ends."""

import asyncio
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading

import pyarrow as pa
import pytest

from beam_zerobus import (
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    ConversionError,
    OAuthClientCredentials,
    RejectedError,
    StaticHeaders,
    ZerobusWriter,
)
from beam_zerobus.emulator import Faults, RejectRows
from tests.emulator.sdk import eventually

DDL = "id BIGINT NOT NULL, name STRING"
FORMATS = pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])


def rows(start, count):
    names = pa.array([f"n{i}" for i in range(count)], pa.string())
    return pa.record_batch({"id": pa.array(range(start, start + count), pa.int64()), "name": names})


def ids(emulator, table="main.iot.air"):
    return sorted(emulator.table(table).to_arrow()["id"].to_pylist())


def supervisors():
    return {thread for thread in threading.enumerate() if thread.name.startswith("zerobus-main")}


@pytest.fixture
def table(emulator):
    return emulator.create_table("main.iot.air", DDL)


@FORMATS
def test_a_batch_is_in_the_table_when_send_batch_returns(emulator, table, connect, wire_format):
    result = connect(schema=DDL, wire_format=wire_format).send_batch(rows(0, 1000))
    assert (result.success, result.error, result.total_rows, result.successful_count) == (True, None, 1000, 1000)
    assert (result.failed_rows, result.attempts, result.is_partial_success) == ((), 1, False)
    assert result.latency_ms > 0
    assert result.batch_size_bytes > 1000
    assert ids(emulator) == list(range(1000))


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_arrow_can_be_compressed(emulator, table, connect, compression):
    plain, packed = (
        connect(schema=DDL, wire_format="arrow"),
        connect(schema=DDL, wire_format="arrow", arrow_compression=compression),
    )
    plain.send_batch(rows(0, 10_000))
    before = emulator.stats.tables["main.iot.air"].bytes_received
    packed.send_batch(rows(10_000, 10_000))
    assert emulator.stats.tables["main.iot.air"].bytes_received - before < before
    assert ids(emulator) == list(range(20_000))


@FORMATS
def test_many_threads_share_one_stream(emulator, table, connect, wire_format):
    writer = connect(schema=DDL, wire_format=wire_format)
    threads = [
        threading.Thread(target=lambda n=n: [writer.send_batch(rows(n * 100 + k * 10, 10)) for k in range(10)])
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ids(emulator) == list(range(1600))
    assert emulator.stats.streams_opened == 1


def test_several_streams_are_used_when_asked_for(emulator, table, connect):
    emulator.faults = Faults(ack_delay=1.0)  # the first batch is in flight when the next ones are submitted
    writer = connect(schema=DDL, streams_per_worker=3)
    for submission in [writer.submit(rows(n * 10_000, 10_000)) for n in range(12)]:
        assert submission.result(30).success
    assert 1 < emulator.stats.streams_opened <= 3
    assert len(ids(emulator)) == 120_000


@FORMATS
def test_a_batch_above_the_call_limit_is_split(emulator, connect, wire_format):
    emulator.create_table("main.iot.big", "id BIGINT, text STRING")
    text = "x" * 1000
    batch = pa.record_batch({"id": range(30_000), "text": [text] * 30_000})
    result = connect("main.iot.big", schema="id BIGINT, text STRING", wire_format=wire_format).send_batch(batch)
    assert result.successful_count == 30_000
    assert result.batch_size_bytes > 30_000_000
    assert emulator.stats.tables["main.iot.big"].calls >= 3
    assert emulator.table("main.iot.big").count_rows() == 30_000


def test_a_table_of_many_chunks_is_one_batch(emulator, table, connect):
    chunks = pa.Table.from_batches([rows(0, 10), rows(10, 0), rows(10, 5), rows(15, 1)])
    result = connect(schema=DDL).send_batch(chunks)
    assert (result.total_rows, result.successful_count) == (16, 16)
    assert ids(emulator) == list(range(16))


def test_rejected_rows_of_a_table_are_counted_over_its_chunks(emulator, table, connect):
    bad = pa.record_batch({"id": pa.array([1, None], pa.int64()), "name": ["a", "b"]})
    batch = pa.Table.from_batches([rows(10, 3), bad])
    result = connect(schema=DDL).send_batch(batch)
    assert [error.index for error in result.failed_rows] == [4]
    assert result.failed_batch(batch)["name"].to_pylist() == ["b"]
    assert result.successful_batch(batch)["id"].to_pylist() == [10, 11, 12, 1]
    assert ids(emulator) == [1, 10, 11, 12]


@pytest.mark.parametrize("as_table", [False, True])
def test_a_result_splits_the_batch_and_counts_by_type(emulator, table, connect, as_table):
    emulator.faults = Faults(reject_rows=(RejectRows(column="id", value=3),))
    batch = pa.record_batch({"id": pa.array([0, None, 2, 3, None], pa.int64()), "name": list("abcde")})
    sent = pa.Table.from_batches([batch.slice(0, 2), batch.slice(2)]) if as_table else batch
    result = connect(schema=DDL).send_batch(sent)
    assert (result.success, result.is_partial_success) == (False, True)
    assert (result.total_rows, result.successful_count, result.failed_count) == (5, 2, 3)
    assert result.errors_by_type() == {"null_in_not_null_column": 2, "rejected_by_service": 1}
    assert result.failed_batch(sent).column("name").to_pylist() == ["b", "d", "e"]
    assert result.successful_batch(sent).column("name").to_pylist() == ["a", "c"]
    assert type(result.failed_batch(sent)) is type(result.successful_batch(sent)) is type(sent)
    assert result.error.startswith(
        "3 of 5 rows rejected for table main.iot.air (2 null_in_not_null_column, 1 rejected_by_service): "
        "row 1: column 'id'"
    )
    assert ids(emulator) == [0, 2]


@pytest.mark.parametrize("empty", [rows(0, 0), pa.table({"id": pa.array([], pa.int64())})])
def test_an_empty_batch_succeeds_without_a_stream(emulator, table, connect, empty):
    assert connect(schema=DDL).send_batch(empty).success
    assert emulator.stats.streams_opened == 0


def test_without_a_schema_the_table_gives_it(emulator, table, connect):
    writer = connect()
    assert writer.schema is None
    assert writer.send_batch(pa.record_batch({"id": [1]})).success
    assert writer.schema.to_ddl() == DDL
    assert writer.send_batch(rows(2, 1)).success


def test_the_first_batch_can_give_the_schema(emulator, table, connect):
    writer = connect(schema="elements")
    assert writer.schema is None
    writer.send_batch(pa.record_batch({"id": [1]}))
    assert writer.schema.to_ddl() == "id BIGINT"
    with pytest.raises(ConversionError, match="name"):
        writer.send_batch(rows(2, 1))


def test_the_schema_can_come_from_unity_catalog(emulator, table, connect):
    writer = connect(schema="unity_catalog")
    assert writer.send_batch(pa.record_batch({"NAME": ["a"], "id": pa.array([7], pa.int8())})).success
    assert writer.schema.to_ddl() == DDL
    assert ids(emulator) == [7]


def test_submissions_are_finished_by_flush(emulator, table, connect):
    writer = connect(schema=DDL)
    submissions = [writer.submit(rows(n * 10, 10)) for n in range(50)]
    writer.flush(30)
    assert all(submission.done for submission in submissions)
    assert len(ids(emulator)) == 500


def test_asyncio(emulator, table, connect):
    writer = connect(schema=DDL)

    async def send_all():
        return await asyncio.gather(*(writer.asend_batch(rows(n * 10, 10)) for n in range(20)))

    assert all(result.success for result in asyncio.run(send_all()))
    assert ids(emulator) == list(range(200))


def test_close_sends_what_is_left_and_ends_the_stream(emulator, table, connect):
    before = supervisors()
    writer = connect(schema=DDL)
    submissions = [writer.submit(rows(n * 10, 10)) for n in range(20)]
    writer.close()
    assert all(submission.result(0).success for submission in submissions)
    eventually(lambda: not emulator.stats.streams_open)
    assert supervisors() <= before
    writer.close()
    with pytest.raises(ClosedError, match="main.iot.air"):
        writer.send_batch(rows(0, 1))


def test_a_pickled_writer_is_a_new_one_with_the_same_settings(emulator, table, connect):
    writer = connect(schema=DDL)
    writer.send_batch(rows(0, 1))
    with pickle.loads(pickle.dumps(writer)) as copy:
        copy.send_batch(rows(1, 1))
    assert writer.send_batch(rows(2, 1)).success
    assert emulator.stats.streams_opened == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_fork_opens_its_own_stream_and_leaves_the_parents_alone(tmp_path):
    code = f"""
import os, sys
import pyarrow as pa
from beam_zerobus import ZerobusWriter, StaticHeaders
from beam_zerobus.writer.config import make_config
endpoint, workspace, client, secret = sys.argv[1:]
from beam_zerobus import OAuthClientCredentials
writer = ZerobusWriter("main.iot.air", endpoint=endpoint, workspace_url=workspace, schema={DDL!r},
                       credentials=OAuthClientCredentials(client_id=client, client_secret=secret))
writer.send_batch(pa.record_batch({{"id": [1]}}))
child = os.fork()
if not child:
    writer.send_batch(pa.record_batch({{"id": [2]}}))
    writer.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
writer.send_batch(pa.record_batch({{"id": [3]}}))
"""
    from beam_zerobus.emulator import Emulator

    with Emulator() as emulator:
        emulator.create_table("main.iot.air", DDL)
        address = [emulator.endpoint, emulator.workspace_url, emulator.client_id, emulator.client_secret]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, *address],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.stderr, done.returncode) == ("", 0)
        assert ids(emulator) == [1, 2, 3]
        assert emulator.stats.streams_opened == 2
        eventually(lambda: not emulator.stats.streams_open)
        assert {stream.end for stream in emulator.stats.streams} == {"closed"}


def test_a_dry_run_checks_everything_and_needs_nothing(monkeypatch):
    for name in ("ZEROBUS_ENDPOINT", "DATABRICKS_HOST", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with ZerobusWriter("main.iot.air", schema=DDL, dry_run=True) as writer:
        batch = pa.record_batch({"id": pa.array([1, None], pa.int64())})
        result = writer.send_batch(batch)
    assert (result.successful_count, [error.index for error in result.failed_rows]) == (1, [1])


def test_what_is_no_batch_is_rejected(connect):
    with pytest.raises(
        ConversionError,
        match=r"A value of Python type dict for table main.iot.air is not a list of rows: give a list of rows",
    ):
        connect(schema=DDL).send_batch({"id": 1})


class TestRejections:
    """Each kind of wrong set-up has its own class, and says what to do, without a secret."""

    @pytest.fixture(autouse=True)
    def _table(self, table):
        pass

    def test_wrong_secret(self, emulator, connect):
        wrong = OAuthClientCredentials(client_id=emulator.client_id, client_secret="wr0ng-s3cret")
        with pytest.raises(AuthenticationError, match="check client id and secret") as raised:
            connect(schema=DDL, credentials=wrong).send_batch(rows(0, 1))
        assert "wr0ng" not in str(raised.value) + repr(raised.value)

    def test_no_credentials(self, connect, monkeypatch):
        monkeypatch.delenv("DATABRICKS_CLIENT_ID", raising=False)
        with pytest.raises(AuthenticationError, match="set DATABRICKS_CLIENT_ID in the worker's environment"):
            connect(schema=DDL, credentials=OAuthClientCredentials()).send_batch(rows(0, 1))

    def test_wrong_static_token(self, connect):
        headers = StaticHeaders(headers={"authorization": "Bearer wr0ng"})
        with pytest.raises(AuthenticationError, match="new token for main.iot.air"):
            connect(schema=DDL, credentials=headers).send_batch(rows(0, 1))

    def test_missing_table(self, connect):
        with pytest.raises(ConfigurationError, match="Table main.iot.water was not found by Zerobus: create it first"):
            connect("main.iot.water", schema=DDL).send_batch(rows(0, 1))

    def test_missing_grant(self, emulator, connect):
        emulator.table("main.iot.air").revoke("MODIFY")
        with pytest.raises(RejectedError, match="SELECT and MODIFY, each granted by name"):
            connect(schema=DDL).send_batch(rows(0, 1))

    @pytest.mark.parametrize("wire_format", ["proto", "arrow"])
    def test_schema_that_does_not_fit(self, connect, wire_format):
        with pytest.raises(ConversionError, match="weight") as raised:
            connect(schema=DDL + ", weight DOUBLE", wire_format=wire_format).send_batch(
                pa.record_batch({"id": [1], "weight": [1.5]})
            )
        assert "main.iot.air" in str(raised.value)

    def test_rows_of_a_schema_that_does_not_fit_are_rejected_in_json_which_has_no_schema(self, connect):
        result = connect(schema=DDL + ", weight DOUBLE", wire_format="json").send_batch(
            pa.record_batch({"id": [1, 2], "weight": [1.5, None]})
        )
        assert (result.successful_count, result.errors_by_type()) == (1, {"rejected_by_service": 1})
        assert "weight" in result.failed_rows[0].message

    def test_a_writer_works_again_once_the_cause_is_gone(self, emulator, connect):
        writer = connect("main.iot.water", schema=DDL)
        with pytest.raises(ConfigurationError):
            writer.send_batch(rows(0, 1))
        emulator.create_table("main.iot.water", DDL)
        assert writer.send_batch(rows(0, 1)).success


def test_many_writers_leave_no_thread_behind(emulator, table, connect):
    before = supervisors()
    for _ in range(50):
        with connect(schema=DDL) as writer:
            writer.send_batch(rows(0, 1))
    assert supervisors() <= before
    eventually(lambda: not emulator.stats.streams_open)


def test_credentials_of_the_environment_are_read_when_they_are_needed(emulator, table, connect, monkeypatch):
    writer = connect(schema=DDL, credentials=None)
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", emulator.client_id)
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", emulator.client_secret)
    assert writer.send_batch(rows(0, 1)).success


def test_spawned_processes_can_be_handed_a_writer(emulator, table, connect):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_send_one, (connect(schema=DDL), 5)).success
    assert ids(emulator) == [5]


def _send_one(writer, number):
    with writer:
        return writer.send_batch(pa.record_batch({"id": [number]}))
