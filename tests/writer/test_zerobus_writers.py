"""Writers of many tables: how many streams and bytes at once, and that nothing is lost when a table makes room."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pytest

from beam_zerobus import (
    ClosedError,
    ConfigurationError,
    OAuthClientCredentials,
    ZerobusError,
    ZerobusWriter,
    ZerobusWriters,
)
from beam_zerobus.emulator import Emulator, Faults
from beam_zerobus.writer import unknown_tables
from beam_zerobus.writer.pool import WriterPool
from tests.emulator.sdk import eventually

DDL = "id BIGINT NOT NULL, name STRING"


def names(count: int) -> list[str]:
    return [f"main.many.t{number}" for number in range(count)]


@pytest.fixture
def many(emulator: Emulator) -> Iterator[Callable[..., ZerobusWriters]]:
    """Make writers to the emulator; they are closed at the end."""
    made: list[ZerobusWriters] = []

    def make(**options: Any) -> ZerobusWriters:
        credentials = OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret)
        given = {"endpoint": emulator.endpoint, "workspace_url": emulator.workspace_url, "credentials": credentials}
        made.append(ZerobusWriters(**{**given, **options}))
        return made[-1]

    yield make
    for writers in made:
        with suppress(ZerobusError):  # a test that leaves a failure behind has asserted it
            writers.close(5)


def rows(*ids: int) -> pa.RecordBatch:
    return pa.record_batch({"id": pa.array(ids, pa.int64()), "name": [f"n{number}" for number in ids]})


def ids_of(emulator: Emulator, table: str) -> list[int]:
    return sorted(emulator.table(table).to_arrow()["id"].to_pylist())


def test_16_threads_and_more_tables_than_streams(emulator, many):
    tables = names(9)
    for table in tables:
        emulator.create_table(table, DDL)
    writers = many(max_open_tables=3)

    def work(thread: int) -> int:
        sent = 0
        for step in range(5):
            table = tables[(thread * 5 + step * (1 + thread % 3)) % len(tables)]
            sent += writers.send(table, rows(thread * 100 + step)).successful_count
        return sent

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(work, range(16))) == 16 * 5
    writers.close()
    assert emulator.stats.most_streams_open == 3
    eventually(lambda: not emulator.stats.streams_open)
    stored = sorted(number for table in tables for number in ids_of(emulator, table))
    assert stored == sorted(thread * 100 + step for thread in range(16) for step in range(5))
    assert writers.counters.rows_written == 16 * 5
    assert writers.counters.streams_opened == emulator.stats.streams_opened


def test_the_table_used_least_recently_makes_room_and_nothing_of_it_is_lost(emulator, many):
    for table in names(3):
        emulator.create_table(table, DDL)
    writers = many(max_open_tables=2)
    first = writers.submit("main.many.t0", rows(1))
    writers.submit("main.many.t1", rows(2))
    writers.submit("main.many.t0", rows(3))
    writers.submit("main.many.t2", rows(4))
    assert writers.open_tables == ("main.many.t0", "main.many.t2")
    writers.submit("main.many.t1", rows(5))
    assert first.done
    writers.close()
    assert [ids_of(emulator, table) for table in names(3)] == [[1, 3], [2, 5], [4]]


def test_a_failure_of_a_table_that_made_room_is_raised_by_the_next_flush(emulator, many):
    for table in names(2):
        emulator.create_table(table, DDL)
    writers = many(max_open_tables=1)
    writers.submit("main.many.t0", pa.record_batch({"id": pa.array([None], pa.int64())}))
    assert writers.send("main.many.t1", rows(1)).success
    with pytest.raises(ZerobusError, match=r"main\.many\.t0"):
        writers.flush()
    writers.flush()  # once


def test_a_failure_of_a_table_that_makes_room_during_a_flush_is_raised_by_it(many, monkeypatch):
    writers = many(dry_run=True, schema=DDL, max_open_tables=1)
    writers.submit("main.many.t0", pa.record_batch({"id": pa.array([None], pa.int64())}))
    open_ones = WriterPool.writers.fget

    def after_another_thread(pool: WriterPool) -> list[ZerobusWriter]:
        writers.submit("main.many.t1", rows(1))
        return open_ones(pool)

    monkeypatch.setattr(WriterPool, "writers", property(after_another_thread))
    with pytest.raises(ZerobusError, match=r"main\.many\.t0"):
        writers.flush()


def test_a_failure_that_was_asked_for_is_not_raised_again(emulator, many):
    for table in names(2):
        emulator.create_table(table, DDL)
    writers = many(max_open_tables=1)
    bad = writers.submit("main.many.t0", pa.record_batch({"id": pa.array([None], pa.int64())}))
    assert writers.send("main.many.t1", rows(1)).success
    assert bad.result().failed_count == 1
    writers.close()


def test_bytes_in_flight_of_all_tables_share_one_budget(emulator, many):
    """Acknowledgements wait, so the second table's batch has no room until the first one's is durable."""
    for table in names(2):
        emulator.create_table(table, DDL)
    writers = many(max_in_flight_bytes=1_000)
    for table in names(2):
        assert writers.send(table, rows(1)).success  # the streams are open
    emulator.faults = Faults(seed=1, rate=1.0, kinds=("slow_ack",), max_delay=0.3)
    seen = []
    for number in range(6):
        writers.submit(
            names(2)[number % 2], rows(*range(20))
        )  # 20 * 64 bytes and more are above the limit by themselves
        seen.append(sum(writer.in_flight_rows for writer in writers._pool.writers))
    writers.flush()
    assert max(seen) == 20
    assert [len(ids_of(emulator, table)) for table in names(2)] == [61, 61]


def test_a_missing_table_is_looked_up_once(emulator, many, monkeypatch):
    asked = []
    fetch = ZerobusWriter.submit
    monkeypatch.setattr(ZerobusWriter, "submit", lambda self, rows: (asked.append(self.table), fetch(self, rows))[1])
    emulator.create_table("main.many.t0", DDL)
    for schema in ("unity_catalog", DDL):  # found by Unity Catalog, or by the service
        asked.clear()
        writers = many(schema=schema)
        for _ in range(5):
            with pytest.raises(ConfigurationError, match=r"main\.many\.missing"):
                writers.send("main.many.missing", rows(1))
        assert asked == ["main.many.missing"]
        assert writers.send("main.many.t0", rows(1)).success


def test_a_missing_table_is_looked_up_again_after_a_while(emulator, many, monkeypatch):
    monkeypatch.setattr(unknown_tables, "UNKNOWN_SECONDS", 0.0)
    writers = many(schema="unity_catalog")
    with pytest.raises(ConfigurationError):
        writers.send("main.many.t0", rows(1))
    emulator.create_table("main.many.t0", DDL)
    assert writers.send("main.many.t0", rows(1)).success


def test_tables_of_different_shapes(emulator, many):
    shapes = {"main.many.t0": DDL, "main.many.t1": pa.schema({"other": pa.int32()})}
    for table, shape in shapes.items():
        emulator.create_table(table, shape)
    for schema in ("unity_catalog", shapes, shapes.get):
        writers = many(schema=schema)
        assert writers.send("main.many.t0", [{"id": 1, "name": "a"}]).success
        assert writers.send("main.many.t1", [{"other": 2}]).success
    with pytest.raises(ConfigurationError, match=r"table main\.many\.t2: schema=\.\.\. has no entry for it: add one"):
        many(schema=shapes).send("main.many.t2", rows(1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_open_tables": 0}, "max_open_tables=0"),
        ({"max_in_flight_bytes": 0.5}, "max_in_flight_bytes=0.5"),
        ({"schema": {"main.t": DDL}}, "has 2 parts"),
        ({"schema": {"main.many.t": "id NOTHING"}}, "table main.many.t: "),
    ],
)
def test_a_wrong_option_is_found_at_once(options, words):
    with pytest.raises(ConfigurationError, match=words):
        ZerobusWriters(dry_run=True, **options)


def test_a_copy_in_another_process_and_the_end(many):
    writers = pickle.loads(pickle.dumps(many(dry_run=True, schema=DDL)))
    assert asyncio.run(writers.asend("main.many.t0", rows(1, 2))).successful_count == 2
    with pytest.raises(ConfigurationError, match="has 2 parts"):
        writers.send("many.t0", rows(1))
    writers.close()
    writers.close()
    with pytest.raises(ClosedError):
        writers.send("main.many.t0", rows(1))


def test_a_table_that_is_opened_again_fetches_neither_schema_nor_token_again(emulator, many):
    for table in names(2):
        emulator.create_table(table, DDL)
    writers = many(max_open_tables=1)
    for number in range(6):
        assert writers.send(names(2)[number % 2], rows(number)).success
    assert emulator.stats.streams_opened == 6
    assert emulator.stats.tokens_issued == 4  # for Unity Catalog and for a stream, for each table


def test_a_schema_that_changed_while_its_table_was_closed_is_noticed(emulator, many):
    tables = [emulator.create_table(table, DDL) for table in names(2)]
    writers = many(max_open_tables=1)
    for table in names(2):
        assert writers.send(table, rows(1)).success
    tables[0].add_column("size INT")
    sent = writers.send(names(2)[0], [{"id": 2, "name": "n", "size": 3}])
    assert sent.success
    assert tables[0].to_arrow().sort_by("id")["size"].to_pylist() == [None, 3]


def test_an_async_block_closes_them():
    async def write() -> ZerobusWriters:
        async with ZerobusWriters(schema="id BIGINT", dry_run=True) as writers:
            assert (await writers.asend("main.many.t0", [{"id": 1}])).success
        return writers

    assert asyncio.run(write()).closed
