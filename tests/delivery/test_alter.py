"""ALTER TABLE while a writer sends: what is acknowledged is kept, nothing hangs, and the same writer goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import pyarrow as pa
import pytest

from beam_zerobus import ConfigurationError, OAuthClientCredentials, Retry, ZerobusError, ZerobusWriter
from beam_zerobus.emulator import Emulator, Faults
from beam_zerobus.emulator.tables.table import Table
from tests.emulator.sdk import eventually

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, name STRING, size INT"
ROWS = 20
THREADS = 3
FORMATS = pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
QUICK = Retry(max_retries=20, initial_backoff=0.01, max_backoff=0.1)
LARGE = 2**40  # more than an INT holds


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Rows are readable late, and acknowledged late, so that an ALTER meets both kinds."""
    with Emulator(readable_after=0.3, faults=Faults(ack_delay=0.05)) as running:
        yield running


class Sender:
    """Sends batches from a thread until it is stopped; `columns` may change while it runs."""

    def __init__(self, writer: ZerobusWriter) -> None:
        self._writer = writer
        self._stop = threading.Event()
        self._numbers = count()
        self.columns: dict[str, pa.Array] = {
            "name": pa.array([f"n{row}" for row in range(ROWS)]),
            "size": pa.array(range(ROWS), pa.int32()),
        }
        self.acknowledged: set[int] = set()
        self.failures: list[tuple[set[str], ZerobusError | str]] = []
        self.failed_in: set[int] = set()  # the threads with a failure
        self.successes: list[set[str]] = []

    def run(self) -> None:
        while not self._stop.is_set():
            names, columns = set(self.columns), dict(self.columns)
            first = next(self._numbers) * ROWS
            ids = range(first, first + ROWS)
            batch = pa.RecordBatch.from_pydict({"id": pa.array(ids, pa.int64()), **columns})
            try:
                result = self._writer.submit(batch).result(30)
            except ZerobusError as error:
                self.failures.append((names, error))
                self.failed_in.add(threading.get_ident())
                continue
            failed = {error.index for error in result.failed_rows}
            self.acknowledged.update(number for row, number in enumerate(ids) if row not in failed)
            self.failures += [(names, error.message) for error in result.failed_rows[:1]]
            if not failed:
                self.successes.append(names)

    def stop(self) -> None:
        self._stop.set()

    def wait_for_successes(self, number: int = 5) -> None:
        """Wait until so many more batches are written."""
        before = len(self.successes)
        eventually(lambda: len(self.successes) >= before + number)


@contextmanager
def sending(writer: ZerobusWriter) -> Iterator[Sender]:
    """Send from three threads, so that calls are in flight at any moment."""
    sender = Sender(writer)
    threads = [threading.Thread(target=sender.run, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        sender.wait_for_successes()
        yield sender
    finally:
        sender.stop()
        for thread in threads:
            thread.join(40)
        assert not any(thread.is_alive() for thread in threads), "a batch hangs"


def kept(table: Table) -> set[int]:
    """Return the ids in the table and in the folder of rejected rows."""
    rejected = [rows.column("id").to_pylist() for rows in table.rejected_after_alter()]
    return set(table.to_arrow().column("id").to_pylist()).union(*rejected)


def assert_all_kept(sender: Sender, *tables: Table) -> None:
    eventually(lambda: sender.acknowledged <= set().union(*map(kept, tables)))


def add(table: Table) -> None:
    table.add_column("late STRING")


def drop(table: Table) -> None:
    table.drop_column("name")


def widen(table: Table) -> None:
    table.widen_column("size", "BIGINT")


@FORMATS
@pytest.mark.parametrize("change", [add, drop, widen])
def test_alter_under_a_running_writer(
    emulator: Emulator, connect: Callable[..., ZerobusWriter], wire_format: str, change: Callable[[Table], None]
) -> None:
    table = emulator.create_table(TABLE, DDL)
    writer = connect(wire_format=wire_format, schema="unity_catalog", retry=QUICK)
    with sending(writer) as sender:
        change(table)
        if change is drop:
            eventually(lambda: sender.failures, seconds=30)
            sender.columns = {"size": sender.columns["size"]}
        else:
            sender.wait_for_successes()  # rows of the former columns still fit
            new = {"late": pa.array(["x"] * ROWS)} if change is add else {"size": pa.array([LARGE] * ROWS, pa.int64())}
            sender.columns = sender.columns | new
        sender.wait_for_successes()
    assert_all_kept(sender, table)
    written = table.to_arrow()
    if change is drop:
        assert all("name" in names for names, _ in sender.failures), "only batches with the dropped column fail"
        assert all("column 'name' is not in the table" in str(failure) for _, failure in sender.failures)
        assert written.schema.names == ["id", "size"]
    else:
        if change is widen and wire_format == "json":  # only a value shows it: a batch of each thread may fail first
            assert len(sender.failures) <= THREADS
            assert all("column 'size' is INT" in str(failure) for _, failure in sender.failures)
        else:
            assert sender.failures == []
        assert table.rejected_after_alter() == []
        assert ("x" in written["late"].to_pylist()) if change is add else (LARGE in written["size"].to_pylist())
    assert writer.in_flight_rows == 0


@FORMATS
def test_values_that_only_the_widened_column_holds(
    emulator: Emulator, connect: Callable[..., ZerobusWriter], wire_format: str
) -> None:
    """Nothing but these values shows that the column is wider now."""
    table = emulator.create_table(TABLE, DDL)
    writer = connect(wire_format=wire_format, schema="unity_catalog", retry=QUICK)
    wide = pa.record_batch({"id": pa.array([1, 2], pa.int64()), "size": pa.array([1, LARGE], pa.int64())})
    assert [error.error_type for error in writer.send_batch(wide).failed_rows] == ["out_of_range"]
    widen(table)
    assert writer.send_batch(wide).success
    eventually(lambda: table.to_arrow()["size"].to_pylist().count(LARGE) == 1)


@FORMATS
def test_a_dropped_column_that_may_be_ignored_fails_no_batch(
    emulator: Emulator, connect: Callable[..., ZerobusWriter], wire_format: str
) -> None:
    table = emulator.create_table(TABLE, DDL)
    options = {"schema": "unity_catalog", "retry": QUICK, "on_unknown_fields": "ignore"}
    with sending(connect(wire_format=wire_format, **options)) as sender:
        drop(table)
        sender.wait_for_successes(10)
    assert sender.failures == []
    assert_all_kept(sender, table)


@FORMATS
@pytest.mark.parametrize("columns", [DDL, "size BIGINT, late STRING, id BIGINT NOT NULL"])
def test_a_table_that_is_dropped_and_made_again(
    connect: Callable[..., ZerobusWriter], wire_format: str, columns: str
) -> None:
    # In memory the dropped table can still be read.
    with Emulator(memory=True, check_rows=True, faults=Faults(ack_delay=0.05)) as emulator:
        first = emulator.create_table(TABLE, DDL)
        options = {"endpoint": emulator.endpoint, "workspace_url": emulator.workspace_url}
        credentials = OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret)
        writer = connect(
            wire_format=wire_format, schema="unity_catalog", retry=QUICK, credentials=credentials, **options
        )
        with sending(writer) as sender:
            emulator.drop_table(TABLE)
            second = emulator.create_table(TABLE, columns)
            if columns != DDL:
                sender.columns = {"size": pa.array([LARGE] * ROWS, pa.int64()), "late": pa.array(["x"] * ROWS)}
            sender.wait_for_successes(5 + THREADS)  # those in flight may be in the first table
        assert_all_kept(sender, first, second)
        assert second.count_rows() >= 5 * ROWS
        writer.close(30)


@FORMATS
def test_an_open_stream_to_a_table_that_was_made_again_is_replaced(
    emulator: Emulator, connect: Callable[..., ZerobusWriter], wire_format: str
) -> None:
    emulator.create_table(TABLE, DDL)
    writer = connect(wire_format=wire_format, schema="unity_catalog", retry=QUICK)
    rows = pa.record_batch({"id": pa.array([1, 2], pa.int64())})
    assert writer.send_batch(rows).success
    emulator.drop_table(TABLE)
    with pytest.raises(ConfigurationError, match="was not found"):
        writer.send_batch(rows)
    for columns in (DDL, "late STRING, id BIGINT NOT NULL"):
        table = emulator.create_table(TABLE, columns)
        assert writer.send_batch(rows).success
        eventually(lambda table=table: table.count_rows() == 2)
        emulator.drop_table(TABLE)
        emulator.create_table(TABLE, columns)
        assert writer.send_batch(rows).success
        emulator.drop_table(TABLE)


@FORMATS
def test_a_table_that_is_away_for_a_moment(
    emulator: Emulator, connect: Callable[..., ZerobusWriter], wire_format: str
) -> None:
    emulator.create_table(TABLE, DDL)
    with sending(connect(wire_format=wire_format, schema="unity_catalog", retry=QUICK)) as sender:
        emulator.drop_table(TABLE)
        # A thread that has failed has noted what the former table acknowledged.
        eventually(lambda: len(sender.failed_in) == THREADS, seconds=30)
        before = set(sender.acknowledged)
        table = emulator.create_table(TABLE, DDL)
        sender.wait_for_successes()
    assert all(f"Table {TABLE} was not found" in str(failure) for _, failure in sender.failures)
    eventually(lambda: sender.acknowledged - before <= kept(table))
