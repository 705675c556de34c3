"""Callers that give up, break what they hold, or get unexpected errors: no other caller is affected."""

import asyncio
import contextlib
import threading
import time

import pyarrow as pa
import pytest

from beam_zerobus import (
    ClosedError,
    ConversionError,
    OAuthClientCredentials,
    Retry,
    StaticHeaders,
    ZerobusError,
    ZerobusWriter,
)
from beam_zerobus.delivery import delivery
from beam_zerobus.emulator import Faults
from beam_zerobus.encoding.proto import ProtoEncoder
from beam_zerobus.writer.config import make_config
from beam_zerobus.writer.shared import SharedWriters
from tests.emulator.sdk import eventually

DDL = "id BIGINT NOT NULL"
QUICK = Retry(max_retries=2, initial_backoff=0.01, max_backoff=0.02)
PATIENCE = 30


def batch(start, count=3):
    return pa.record_batch({"id": pa.array(range(start, start + count), pa.int64())})


def ids(table):
    return sorted(table.to_arrow()["id"].to_pylist())


@pytest.fixture(autouse=True)
def table(emulator):
    return emulator.create_table("main.iot.air", DDL)


class TestCancelled:
    """An await, a task or a future that is cancelled."""

    @staticmethod
    async def started(emulator, writer, start):
        """Send, and wait until the service has the batch: what is cancelled before a thread takes it is not sent."""
        task = asyncio.ensure_future(writer.asend_batch(batch(start)))
        await asyncio.to_thread(eventually, lambda: emulator.stats.tables["main.iot.air"].rows_received >= 15)
        return task

    def give_up_by_timeout(self, emulator, writer, start):
        async def impatient():
            await asyncio.wait_for(await self.started(emulator, writer, start), 0.01)

        with contextlib.suppress(TimeoutError):
            asyncio.run(impatient())

    def give_up_by_cancelled_task(self, emulator, writer, start):
        async def impatient():
            task = await self.started(emulator, writer, start)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        asyncio.run(impatient())

    def give_up_by_cancelled_future(self, emulator, writer, start):
        writer.submit(batch(start)).future.cancel()

    def give_up_by_setting_the_future(self, emulator, writer, start):
        writer.submit(batch(start)).future.set_result(None)

    def give_up_by_running_the_future(self, emulator, writer, start):
        writer.submit(batch(start)).future.set_running_or_notify_cancel()

    def give_up_by_a_failing_callback(self, emulator, writer, start):
        def fail(_):
            raise RuntimeError("of a caller")

        writer.submit(batch(start)).future.add_done_callback(fail)

    @pytest.mark.parametrize("how", ["timeout", "cancelled_task", "cancelled_future", "setting_the_future",
                                     "running_the_future", "a_failing_callback"])  # fmt: skip
    def test_other_callers_do_not_notice(self, emulator, table, connect, how):
        emulator.faults = Faults(ack_delay=0.3)
        writer = connect(schema=DDL)
        before = [writer.submit(batch(n * 3)) for n in range(4)]
        getattr(self, f"give_up_by_{how}")(emulator, writer, 100)
        after = [writer.submit(batch(12 + n * 3)) for n in range(4)]
        assert all(submission.result(PATIENCE).success for submission in before + after)
        writer.flush(PATIENCE)
        assert writer.send_batch(batch(24)).success
        assert ids(table) == [*range(27), 100, 101, 102]  # what was cancelled is written all the same


class TestUnforeseen:
    """Errors that are not ours, wherever they are raised."""

    def test_a_system_without_threads_fails_the_batch_and_the_next_goes_on(self, table, connect, monkeypatch):
        writer = connect(schema=DDL)

        class NoThread(threading.Thread):
            def start(self):
                raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(delivery.threading, "Thread", NoThread)
            with pytest.raises(ZerobusError, match=r"main\.iot\.air did not start"):
                writer.submit(batch(0))
        assert writer.in_flight_rows == 0
        assert writer.send_batch(batch(3)).success
        assert ids(table) == [3, 4, 5]

    @pytest.mark.parametrize("answer", [lambda: None, lambda: {"authorization": None}, lambda: 7, lambda: 1 / 0])
    def test_headers_that_a_callable_does_not_give_are_an_error_of_ours(self, connect, answer):
        writer = connect(schema=DDL, credentials=StaticHeaders(headers=answer), retry=QUICK)
        with pytest.raises(ZerobusError):
            writer.submit(batch(0)).result(PATIENCE)
        with pytest.raises(ZerobusError):  # the same again, and neither hangs nor says closed
            writer.submit(batch(0)).result(PATIENCE)
        assert not writer.closed


def test_a_shared_writer_that_somebody_closed_is_not_given_out_again(emulator, table):
    config = make_config(
        "main.iot.air",
        endpoint=emulator.endpoint,
        workspace_url=emulator.workspace_url,
        credentials=OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
        schema=DDL,
        wire_format="proto",
        retry=QUICK,
        streams_per_worker=1,
        debug_files=None,
        telemetry=None,
        dry_run=False,
    )
    shared = SharedWriters()
    with shared.acquire(config) as lease:
        lease.writer.close()
    with shared.acquire(config) as lease:
        assert lease.writer.send_batch(batch(0)).success
    shared.close()


def test_a_submission_that_is_closed_under_its_caller_is_an_error(emulator, connect):
    emulator.faults = Faults(ack_delay=5)
    writer = connect(schema=DDL)
    submission = writer.submit(batch(0))
    with pytest.raises(ClosedError):
        writer.close(0.1)
    with pytest.raises(ClosedError):
        submission.result(0)


def test_threads_that_wait_for_room_hold_no_encoded_rows(emulator, connect, monkeypatch):
    monkeypatch.setattr("beam_zerobus.delivery.limits.MAX_IN_FLIGHT_BYTES", 1)
    emulator.faults = Faults(ack_delay=1.0)
    writer = connect(schema=DDL)
    encoding = []
    real = ProtoEncoder.encode

    def counted(encoder, rows, **options):
        for payload in real(encoder, rows, **options):
            encoding.append(len(payload.rows))
            yield payload

    monkeypatch.setattr(ProtoEncoder, "encode", counted)
    threads = [threading.Thread(target=writer.submit, args=(batch(n * 3),)) for n in range(16)]
    for thread in threads:
        thread.start()
    looks = time.monotonic() + 0.5
    while time.monotonic() < looks:
        encoded = len(encoding)  # first: on a busy machine acknowledgements may arrive meanwhile
        assert encoded <= emulator.stats.tables["main.iot.air"].rows_acknowledged // 3 + 2
        time.sleep(0.01)
    emulator.faults = None
    for thread in threads:
        thread.join(PATIENCE)
    writer.flush(PATIENCE)
    assert len(encoding) == 16


class TestAddedColumn:
    """ALTER TABLE ADD COLUMN, which the service has no reason to mention."""

    @pytest.mark.parametrize("ignore", [False, True])
    @pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
    def test_rows_with_the_new_column_are_written(self, table, connect, monkeypatch, wire_format, ignore):
        writer = connect(
            schema="unity_catalog", wire_format=wire_format, on_unknown_fields="ignore" if ignore else "reject"
        )
        assert writer.send_batch(batch(0)).success
        table.add_column("size INT")
        wider = batch(3).append_column("size", pa.array([7, 8, 9], pa.int32()))
        assert writer.send_batch(wider).success
        assert writer.send_batch(batch(6)).success
        rows = {row["id"]: row["size"] for row in table.to_arrow().to_pylist()}
        assert rows == {**dict.fromkeys([0, 1, 2, 6, 7, 8]), 3: 7, 4: 8, 5: 9}

    def test_a_column_that_the_table_lacks_is_asked_for_once_in_a_while(self, emulator, table, connect):
        writer = connect(schema="unity_catalog")
        wider = batch(0).append_column("size", pa.array([7, 8, 9], pa.int32()))
        before = emulator.stats.tokens_issued
        for _ in range(20):
            with pytest.raises(ConversionError, match="column 'size' is not in the table"):
                writer.send_batch(wider)
        assert emulator.stats.tokens_issued - before <= 2  # each fetch takes a token


def test_writers_are_not_kept_by_their_submissions(emulator, table):
    writer = ZerobusWriter("main.iot.air", schema=DDL, dry_run=True)
    submission = writer.submit(batch(0))
    del writer
    assert submission.result(PATIENCE).success
