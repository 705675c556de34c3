"""Random faults against the writers of more tables than streams: no acknowledged row is lost, and no thread hangs."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress

import pyarrow as pa
import pytest

from beam_zerobus import OAuthClientCredentials, Retry, ZerobusError, ZerobusWriters
from beam_zerobus.delivery.budget import budget_of_process
from beam_zerobus.emulator import Emulator, Faults
from tests.chaos.test_chaos import DDL, SECONDS, SEED, THREADS, Ledger, restart_now_and_then, send_and_note

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(7200)]

TABLES = [f"main.chaos.t{number}" for number in range(12)]
OPEN = 4
KINDS = ("reject", "status", "drop", "slow_ack", "no_ack", "close", "hang", "token")


def send_batches(writers: ZerobusWriters, ledger: Ledger, number: int, end: float) -> None:
    """Send to random tables, few of them often; each row's id says its table."""
    chance = random.Random(SEED * 1000 + number)
    weights = [1 / (table + 1) for table in range(len(TABLES))]
    start = number << 32
    while time.monotonic() < end:
        (table,) = chance.choices(range(len(TABLES)), weights)
        count = chance.choice([1, 10, 100, 1000])
        ids = [(start + row) * len(TABLES) + table for row in range(count)]
        start += count
        batch = pa.record_batch({"id": pa.array(ids, pa.int64()), "text": ["x" * chance.randrange(50)] * count})
        send_and_note(lambda table=table, batch=batch: writers.send(TABLES[table], batch), ids, ledger)


@pytest.mark.parametrize("rate", [0.01, 0.1])
@pytest.mark.parametrize("wire_format", ["proto", "arrow"])
def test_no_acknowledged_row_is_lost_while_tables_make_room_for_each_other(wire_format, rate, capsys):
    ledger, failures = Ledger(), []
    with Emulator(token_life=2.0) as emulator:
        for table in TABLES:
            emulator.create_table(table, DDL)
        emulator.faults = Faults(seed=SEED, rate=rate, kinds=KINDS, max_delay=0.1)
        end = time.monotonic() + SECONDS
        writers = ZerobusWriters(
            endpoint=emulator.endpoint,
            workspace_url=emulator.workspace_url,
            credentials=OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret),
            schema=DDL,
            wire_format=wire_format,
            retry=Retry(max_retries=8, initial_backoff=0.01, max_backoff=0.5),
            max_open_tables=OPEN,
            max_in_flight_bytes=100_000,  # so that threads wait for each other's rows, too
        )

        def send(number: int) -> None:
            try:
                send_batches(writers, ledger, number, end)
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=send, args=(number,)) for number in range(THREADS)]
        threads.append(threading.Thread(target=restart_now_and_then, args=(emulator, end)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS + 120)
        assert not any(thread.is_alive() for thread in threads), "a thread hangs"
        assert failures == []
        with suppress(ZerobusError):  # its rows are in `in_errors`
            writers.close(60)
        emulator.faults = Faults()
        counts, stats = writers.counters, emulator.stats
        stored = {table: emulator.table(table).to_arrow()["id"].to_pylist() for table in TABLES}
    every = [row for rows in stored.values() for row in rows]
    with capsys.disabled():
        print(
            f"\n  {wire_format}, rate {rate}, seed {SEED}: {len(ledger.sent):,} rows in {len(TABLES)} tables, faults "
            f"{dict(stats.faults)}, {counts.retries:.0f} retries, {counts.streams_opened:.0f} streams, at most "
            f"{stats.most_streams_open} at once, {len(every) - len(set(every)):,} duplicates of "
            f"{counts.rows_replayed:,.0f} replayed rows, {len(ledger.errors)} errors reached callers"
        )
    for number, table in enumerate(TABLES):
        assert {row % len(TABLES) for row in stored[table]} <= {number}, f"{table} has rows of another table"
    assert sum(stats.faults.values()) > 0
    assert ledger.acknowledged <= set(every)
    assert ledger.acknowledged | ledger.in_errors == ledger.sent
    assert set(every) <= ledger.sent
    assert len(every) - len(set(every)) <= counts.rows_replayed
    assert counts.streams_opened > OPEN, "tables made room for each other"
    assert budget_of_process.used == 0
