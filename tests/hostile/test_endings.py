"""How a program ends: its rows are in the table, or a line in the log at ERROR says how many are not."""

import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pytest

from beam_zerobus import ConversionError, OAuthClientCredentials, RejectedError, ZerobusWriter
from beam_zerobus.emulator import Faults, ScriptedFault
from tests.emulator.sdk import eventually

pytestmark = pytest.mark.hostile  # seconds each

DDL = "id BIGINT NOT NULL"
ROWS = 7
PATIENCE = 60

START = """
import asyncio, logging, multiprocessing, os, signal, sys, threading, time
import pyarrow as pa
from beam_zerobus import OAuthClientCredentials, ZerobusWriter
from beam_zerobus.writer import endings

endings.EXIT_SECONDS = 3.0
logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s")
endpoint, workspace, client, secret = sys.argv[1:5]
def new_writer():
    return ZerobusWriter("main.iot.air", endpoint=endpoint, workspace_url=workspace, schema="id BIGINT NOT NULL",
                         credentials=OAuthClientCredentials(client_id=client, client_secret=secret))
batch = pa.record_batch({"id": pa.array(range(7), pa.int64())})
def ready():
    print("ready", flush=True)
"""

FORKED = """
def work(end):
    global writer
    writer = new_writer()
    writer.submit(batch)
    end()
def child(end):
    process = multiprocessing.get_context("fork").Process(target=work, args=(end,))
    process.start()
    process.join()
"""
ENDINGS = {
    "return": "writer = new_writer(); writer.submit(batch)",
    "exception": "writer = new_writer(); writer.submit(batch); raise RuntimeError('of the program')",
    "sys.exit": "writer = new_writer(); writer.submit(batch); sys.exit(3)",
    "with": "with new_writer() as writer: writer.submit(batch)",
    "exception in with": "with new_writer() as writer:\n    writer.submit(batch)\n    raise RuntimeError('ours')",
    "dropped": "new_writer().submit(batch)",
    "function": "def send():\n    writer = new_writer()\n    writer.submit(batch)\nsend()",
    "daemon thread": (
        "writer = new_writer()\n"
        "thread = threading.Thread(target=lambda: writer.submit(batch), daemon=True)\n"
        "thread.start(); thread.join()"
    ),
    "asyncio": (
        "writer = new_writer()\n"
        "async def main():\n"
        "    task = asyncio.ensure_future(writer.asend_batch(batch))\n"
        "    while not writer.in_flight_rows and not task.done():\n        await asyncio.sleep(0.01)\n"
        "asyncio.run(main())"
    ),
    "closed loop": (
        "for name in ('asyncio', 'concurrent.futures'):\n    logging.getLogger(name).setLevel(logging.CRITICAL)\n"
        "writer, loop = new_writer(), asyncio.new_event_loop()\n"
        "task = loop.create_task(writer.asend_batch(batch))\n"
        "while not writer.in_flight_rows and not task.done():\n    loop.run_until_complete(asyncio.sleep(0.01))\n"
        "loop.close()"
    ),
    "exit in with": "with new_writer() as writer:\n    writer.submit(batch)\n    sys.exit(3)",
    "forked child": FORKED + "child(end=lambda: None)",
    "exception in a forked child": FORKED + "child(end=lambda: 1 / 0)",
    "thread": "writer = new_writer(); threading.Thread(target=lambda: writer.submit(batch)).start()",
}
SIGNALS = {
    "SIGINT": ([signal.SIGINT], "writer = new_writer(); writer.submit(batch); ready(); time.sleep(60)"),
    "SIGINT in with": (
        [signal.SIGINT],
        "with new_writer() as writer:\n    writer.submit(batch); ready(); time.sleep(60)",
    ),
    "SIGINT while closing": ([signal.SIGINT], "writer = new_writer(); writer.submit(batch); ready(); writer.close()"),
    "SIGINT twice": (
        [signal.SIGINT, signal.SIGINT],
        "writer = new_writer(); writer.submit(batch); ready(); time.sleep(60)",
    ),
    "SIGTERM with the documented handler": (
        [signal.SIGTERM],
        (
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
            "writer = new_writer(); writer.submit(batch); ready(); time.sleep(60)"
        ),
    ),
}


@pytest.fixture(autouse=True)
def table(emulator):
    return emulator.create_table("main.iot.air", DDL)


@pytest.fixture
def run(emulator):
    """Start a program that has the rows in flight; `signals` are sent once it is ready."""

    def start(code, signals=()):
        address = [emulator.endpoint, emulator.workspace_url, emulator.client_id, emulator.client_secret]
        with subprocess.Popen(
            [sys.executable, "-c", START + code, *address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                if signals:
                    assert process.stdout.readline() == "ready\n"
                    for number in signals:
                        process.send_signal(number)
                        time.sleep(0.5)
                return process.communicate(timeout=PATIENCE)[1]
            finally:
                process.kill()

    return start


@pytest.mark.parametrize("ending", ENDINGS)
def test_rows_of_a_program_that_ends_are_in_the_table(emulator, run, table, ending):
    emulator.faults = Faults(ack_delay=0.3)
    said = run(ENDINGS[ending])
    assert table.count_rows() == ROWS, said
    assert "ERROR" not in said


@pytest.mark.parametrize("ending", [name for name in ENDINGS if name != "with"])
def test_rows_that_are_never_acknowledged_are_named(emulator, run, table, ending):
    emulator.faults = Faults(script=(ScriptedFault("hang", at_call=1),))
    said = run(ENDINGS[ending])
    assert table.count_rows() == 0
    assert_one_line_names_the_rows(said)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("ending", ["SIGINT", "SIGINT in with", "SIGTERM with the documented handler"])
def test_rows_of_a_program_that_a_signal_ends_are_in_the_table(emulator, run, table, ending):
    emulator.faults = Faults(ack_delay=0.3)
    signals, code = SIGNALS[ending]
    said = run(code, signals)
    assert table.count_rows() == ROWS, said


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("ending", SIGNALS)
def test_rows_that_a_signal_leaves_behind_are_named(emulator, run, table, ending):
    emulator.faults = Faults(script=(ScriptedFault("hang", at_call=1),))
    signals, code = SIGNALS[ending]
    said = run(code, signals)
    assert table.count_rows() == 0
    assert_one_line_names_the_rows(said)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, "os._exit"], ids=lambda end: getattr(end, "name", end)
)
def test_where_python_runs_nothing_more_the_program_ends_at_once(emulator, run, table, number):
    """As documented: rows in flight may be lost, and nothing is left to say so."""
    emulator.faults = Faults(script=(ScriptedFault("hang", at_call=1),))
    started = time.monotonic()
    if number == "os._exit":
        said = run("writer = new_writer(); writer.submit(batch); os._exit(3)")
    else:
        said = run("writer = new_writer(); writer.submit(batch); ready(); time.sleep(60)", [number])
    assert said == ""
    assert time.monotonic() - started < PATIENCE / 2
    assert table.count_rows() == 0


def assert_one_line_names_the_rows(said):
    lines = [line for line in said.splitlines() if line.startswith("ERROR")]
    assert len(lines) == 1, said
    assert re.fullmatch(
        rf"ERROR {ROWS} of {ROWS} rows of a batch for table main\.iot\.air are not acknowledged: .+", lines[0]
    )


def test_writers_that_cannot_end_share_one_limit(emulator, run, table):
    """One after another they would take longer than the test waits."""
    count = PATIENCE // 3 + 5
    emulator.faults = Faults(script=(ScriptedFault("hang", at_call=1, times=count),))
    said = run(f"writers = [new_writer() for _ in range({count})]\nfor writer in writers:\n    writer.submit(batch)")
    assert len(re.findall(r"^ERROR 7 of 7 rows", said, re.MULTILINE)) == count


def test_a_submission_that_was_rejected_is_raised_where_the_program_asks(emulator, table, connect):
    table.revoke("MODIFY")
    writer = connect(schema=DDL)

    writer.submit(pa.record_batch({"id": pa.array([1], pa.int64())}))
    with pytest.raises(RejectedError, match="MODIFY"):
        writer.flush(30)
    writer.flush(30)  # it was raised once
    writer.submit(pa.record_batch({"id": pa.array([1], pa.int64())}))
    with pytest.raises(RejectedError, match="MODIFY"):
        writer.close()


def test_failed_rows_are_raised_unless_somebody_asked(emulator, table, connect, caplog):

    batch = pa.record_batch({"id": pa.array([1, None, 3], pa.int64())})
    with connect(schema=DDL) as writer:
        assert writer.submit(batch).result(30).failed_count == 1
    with pytest.raises(ConversionError, match="1 of 3 rows") as raised, connect(schema=DDL) as writer:
        writer.submit(batch)
    assert [error.index for error in raised.value.row_errors] == [1]
    assert ["1 of 3 rows of a batch" in record.message for record in caplog.records if record.levelname == "ERROR"] == [
        True
    ]
    assert table.count_rows() == 4


def test_writers_that_are_dropped_leave_no_thread_and_no_stream(emulator, table, connect):
    before = {thread for thread in threading.enumerate() if thread.name.startswith("zerobus-")}
    for n in range(30):
        writer = ZerobusWriter(
            "main.iot.air",
            endpoint=emulator.endpoint,
            workspace_url=emulator.workspace_url,
            schema=DDL,
            credentials=OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
        )
        writer.submit(pa.record_batch({"id": pa.array([n], pa.int64())}))
        del writer
    gc.collect()
    eventually(lambda: not {t for t in threading.enumerate() if t.name.startswith("zerobus-")} - before)
    assert table.count_rows() == 30
    assert emulator.stats.streams_open == 0
