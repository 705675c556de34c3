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
from tests.hostile.ending_programs import ENDINGS, OF_MANY_TABLES, SIGNALS, START

pytestmark = pytest.mark.hostile  # seconds each

DDL = "id BIGINT NOT NULL"
ROWS = 7
PATIENCE = 100
# Seconds that the end of a program waits: long where the rows arrive, since a busy machine takes its time, else short.
LONG, SHORT = 60.0, 3.0
STARTS_NO_THREAD = pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 3),  # https://github.com/python/cpython/issues/113964
    reason="Python 3.12 before 3.12.3 starts no thread once the main one has ended, though another still runs",
)
HANGS = ScriptedFault("hang", at_call=1, times=1000)  # also on another stream, which a busy machine may need


def each(endings):
    """Run a test for each ending, with the writer of one table, and for some with writers of many."""
    endings = list(endings)
    kinds = [(ending, "one") for ending in endings]
    kinds += [(ending, "many") for ending in endings if ending in OF_MANY_TABLES]
    marks = dict.fromkeys(("thread", "dropped in a thread"), STARTS_NO_THREAD)
    cases = [pytest.param(*case, marks=marks.get(case[0], ())) for case in kinds]
    return pytest.mark.parametrize(("ending", "kind"), cases)


@pytest.fixture(autouse=True)
def table(emulator):
    return emulator.create_table("main.iot.air", DDL)


@pytest.fixture
def run(emulator):
    """Start a program that has the rows in flight; `signals` are sent once it is ready."""

    def start(code, signals=(), kind="one", limit=LONG):
        arguments = [emulator.endpoint, emulator.workspace_url, emulator.client_id, emulator.client_secret, kind]
        with subprocess.Popen(
            [sys.executable, "-c", START + code, *arguments, str(limit)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
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


@each(ENDINGS)
def test_rows_of_a_program_that_ends_are_in_the_table(emulator, run, table, ending, kind):
    emulator.faults = Faults(ack_delay=0.3)
    said = run(ENDINGS[ending], kind=kind)
    assert table.count_rows() == ROWS, said
    assert "ERROR" not in said


@each(name for name in ENDINGS if name != "with")
def test_rows_that_are_never_acknowledged_are_named(emulator, run, table, ending, kind):
    emulator.faults = Faults(script=(HANGS,))
    said = run(ENDINGS[ending], kind=kind, limit=SHORT)
    assert table.count_rows() == 0
    assert_one_line_names_the_rows(said)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@each(["SIGINT", "SIGINT in with", "SIGTERM with the documented handler"])
def test_rows_of_a_program_that_a_signal_ends_are_in_the_table(emulator, run, table, ending, kind):
    emulator.faults = Faults(ack_delay=0.3)
    signals, code = SIGNALS[ending]
    said = run(code, signals, kind)
    assert table.count_rows() == ROWS, said


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@each(SIGNALS)
def test_rows_that_a_signal_leaves_behind_are_named(emulator, run, table, ending, kind):
    emulator.faults = Faults(script=(HANGS,))
    signals, code = SIGNALS[ending]
    said = run(code, signals, kind, limit=SHORT)
    assert table.count_rows() == 0
    assert_one_line_names_the_rows(said)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("ending", ["SIGTERM", "SIGHUP", "SIGKILL", "os._exit"])
def test_where_python_runs_nothing_more_the_program_ends_at_once(emulator, run, table, ending):
    """As documented: rows in flight may be lost, and nothing is left to say so."""
    emulator.faults = Faults(script=(HANGS,))
    if ending == "os._exit":
        said = run("writer = new_writer(); writer.submit(batch); os._exit(3)")
    else:
        said = run("writer = new_writer(); writer.submit(batch); ready(); time.sleep(3600)", [signal.Signals[ending]])
    assert said == ""  # and it ended, else `run` would have raised
    assert table.count_rows() == 0


def assert_one_line_names_the_rows(said):
    lines = [line for line in said.splitlines() if line.startswith("ERROR")]
    assert len(lines) == 1, said
    assert re.fullmatch(
        rf"ERROR {ROWS} of {ROWS} rows of a batch for table main\.iot\.air are not acknowledged: .+", lines[0]
    )


@pytest.mark.parametrize("kind", ["one", "many"])
def test_a_program_that_ends_before_it_has_a_token_waits_for_it(emulator, run, table, kind):
    """At the end Python starts no thread, so the request for the token runs in the one that needs it."""
    emulator.faults = Faults(script=(ScriptedFault("token", at_token=1, http_status=503),))
    said = run("writer = new_writer(); writer.submit(batch)", kind=kind)
    assert table.count_rows() == ROWS, said
    assert "ERROR" not in said


@pytest.mark.parametrize("end", ["", "; del writer", "; writer.close()", "; os.kill(os.getpid(), signal.SIGINT)"])
def test_a_batch_that_failed_for_a_table_that_made_room_is_named(emulator, run, end):
    emulator.create_table("main.iot.b", DDL)
    code = f"writer = new_writer(); writer.submit(bad); writer.submit(batch, 'main.iot.b'){end}"
    said = run("bad = pa.record_batch({'id': pa.array([None], pa.int64())})\n" + code, kind="many")
    lines = [line for line in said.splitlines() if line.startswith("ERROR")]
    assert len(lines) == 1, said
    assert lines[0].startswith("ERROR 1 of 1 row of a batch for table main.iot.air is not acknowledged: "), said
    assert emulator.table("main.iot.b").count_rows() == ROWS


def test_a_forked_child_has_room_of_its_own(emulator, run):
    """The parent's writers of many tables have no room, and never will."""
    emulator.create_table("main.iot.b", DDL)
    emulator.faults = Faults(script=(ScriptedFault("hang", at_call=1, table="main.iot.air"),))
    code = """
options["max_in_flight_bytes"] = 10
writer = new_writer()
writer.submit(batch)
while not writer.in_flight_rows: time.sleep(0.01)
child = multiprocessing.get_context("fork").Process(target=lambda: writer.submit(batch, "main.iot.b").result(30))
child.start()
child.join()
"""
    run(code, kind="many", limit=SHORT)
    assert emulator.table("main.iot.b").count_rows() == ROWS


def test_writers_that_cannot_end_share_one_limit(emulator, run, table):
    """One after another they would take longer than the test waits."""
    count = PATIENCE // int(SHORT) + 5
    emulator.faults = Faults(script=(ScriptedFault("hang", at_call=1, times=count),))
    code = f"writers = [new_writer() for _ in range({count})]\nfor writer in writers:\n    writer.submit(batch)"
    said = run(code, limit=SHORT)
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
    eventually(lambda: not emulator.stats.streams_open)
