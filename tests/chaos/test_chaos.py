"""Random faults of every kind against a writer that many threads share; no acknowledged row may be lost.

Run by `make chaos`; `make chaos SECONDS=600 SEED=7` runs longer and otherwise.
"""

import gc
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from beam_zerobus import OAuthClientCredentials, Retry, TransientError, TransmissionResult, ZerobusWriter
from beam_zerobus.emulator import Emulator, Faults

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(7200)]

SECONDS = float(os.environ.get("CHAOS_SECONDS", "12"))
BATCHES = int(os.environ.get("CHAOS_BATCHES", "30000"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
THREADS = 16
TABLE = "main.chaos.rows"
DDL = "id BIGINT NOT NULL, text STRING"


@dataclass
class Ledger:
    """What the writer reported, kept by the test."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    sent: set[int] = field(default_factory=set)
    acknowledged: set[int] = field(default_factory=set)
    in_errors: set[int] = field(default_factory=set)
    errors: list[TransientError] = field(default_factory=list)


def writer_to(emulator: Emulator, **settings) -> ZerobusWriter:
    credentials = OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret)
    return ZerobusWriter(
        TABLE,
        endpoint=emulator.endpoint,
        workspace_url=emulator.workspace_url,
        credentials=credentials,
        schema=DDL,
        **settings,
    )


def send_and_note(send: Callable[[], TransmissionResult], ids: Iterable[int], ledger: Ledger) -> None:
    """Send a batch, and note which of its rows are acknowledged, and which are in an error."""
    try:
        result = send()
    except TransientError as error:
        unwritten = {row for rest in error.unacknowledged for row in rest["id"].to_pylist()}
        with ledger.lock:
            ledger.sent.update(ids)
            ledger.in_errors.update(unwritten)
            ledger.acknowledged.update(set(ids) - unwritten)
            ledger.errors.append(error)
    else:
        assert result.success
        with ledger.lock:
            ledger.sent.update(ids)
            ledger.acknowledged.update(ids)


def send_batches(writer: ZerobusWriter, ledger: Ledger, number: int, end: float) -> None:
    chance = random.Random(SEED * 1000 + number)
    start = number << 32
    while time.monotonic() < end:
        count = chance.choice([1, 10, 100, 1000])
        ids = range(start, start + count)
        start += count
        batch = pa.record_batch({"id": pa.array(ids, pa.int64()), "text": ["x" * chance.randrange(50)] * count})
        send_and_note(lambda batch=batch: writer.send_batch(batch), ids, ledger)


def restart_now_and_then(emulator: Emulator, end: float) -> None:
    chance = random.Random(SEED)
    while time.monotonic() < end - 1:
        time.sleep(chance.uniform(1, 3))
        emulator.kill()
        time.sleep(chance.uniform(0, 0.3))
        emulator.start()


@pytest.mark.parametrize("rate", [0.02, 0.2])
@pytest.mark.parametrize("wire_format", ["proto", "arrow", "json"])
def test_no_acknowledged_row_is_lost(wire_format, rate, capsys):
    calls = ("status", "drop", "slow_ack", "no_ack", "wrong_ack", "close", "hang")
    kinds = ("reject", "wrong_answer", *calls, "token")
    faults = Faults(seed=SEED, rate=rate, kinds=kinds, max_delay=0.1)
    ledger = Ledger()
    with Emulator(token_life=2.0) as emulator:
        emulator.create_table(TABLE, DDL)
        emulator.faults = faults
        end = time.monotonic() + SECONDS
        with writer_to(
            emulator, wire_format=wire_format, retry=Retry(max_retries=8, initial_backoff=0.01, max_backoff=0.5)
        ) as writer:
            threads = [threading.Thread(target=send_batches, args=(writer, ledger, n, end)) for n in range(THREADS)]
            threads.append(threading.Thread(target=restart_now_and_then, args=(emulator, end)))
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(SECONDS + 120)
            assert not any(thread.is_alive() for thread in threads)
            counts = writer.counters
        emulator.faults = Faults()
        stored = emulator.table(TABLE).to_arrow()["id"].to_pylist()
        injected = dict(emulator.stats.faults)
    with capsys.disabled():
        print(
            f"\n  {wire_format}, rate {rate}, seed {SEED}: {len(ledger.sent):,} rows, faults {injected}, "
            f"{counts.retries:.0f} retries, {counts.streams_opened:.0f} streams, "
            f"{len(stored) - len(set(stored)):,} duplicates of {counts.rows_replayed:,.0f} replayed rows, "
            f"{len(ledger.errors)} errors reached callers"
        )
    assert sum(injected.values()) > 0
    assert ledger.acknowledged <= set(stored)
    assert ledger.acknowledged | ledger.in_errors == ledger.sent
    assert set(stored) <= ledger.sent
    assert len(stored) - len(set(stored)) <= counts.rows_replayed


def test_success_under_one_percent_of_faults(capsys):
    """The mission's goal is 99.999%: of `CHAOS_BATCHES` batches none may fail for the caller."""
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()
    batches = [
        pa.record_batch({"id": pa.array(range(n * 10, n * 10 + 10), pa.int64()), "text": ["x" * 20] * 10})
        for n in range(100)
    ]
    faults = Faults(
        seed=SEED, rate=0.01, kinds=("reject", "status", "drop", "slow_ack", "close", "token"), max_delay=0.05
    )
    with Emulator(memory=True, discard=True, faults=faults) as emulator:
        emulator.create_table(TABLE, DDL)
        with writer_to(emulator) as writer:

            def send(count: int) -> None:
                done = Counter()
                for window in range(0, count, 50):
                    pending = [writer.submit(batches[n % 100]) for n in range(window, min(count, window + 50))]
                    for submission in pending:
                        try:
                            done["success" if submission.result(120).success else "rejected"] += 1
                        except TransientError:
                            done["failed"] += 1
                with lock:
                    outcomes.update(done)

            started = time.monotonic()
            threads = [threading.Thread(target=send, args=(BATCHES // THREADS,)) for _ in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(7000)
            elapsed = time.monotonic() - started
            counts = writer.counters
        injected = dict(emulator.stats.faults)
    total = sum(outcomes.values())
    with capsys.disabled():
        print(
            f"\n  {outcomes['success']:,} of {total:,} batches succeeded ({100 * outcomes['success'] / total:.4f}%) in "
            f"{elapsed:.0f} s under faults {injected}, with {counts.retries:.0f} retries and "
            f"{counts.rows_replayed:,.0f} replayed rows"
        )
    assert total == BATCHES // THREADS * THREADS
    assert outcomes["success"] == total


@pytest.mark.skipif(sys.platform == "win32", reason="no resource usage on Windows")
def test_a_thousand_cycles_of_open_fail_recover_close_leave_nothing_behind():
    import resource

    def threads_and_files() -> tuple[int, int]:
        gc.collect()
        files = Path("/proc/self/fd")
        supervisors = [thread for thread in threading.enumerate() if thread.name.startswith("zerobus-main")]
        return len(supervisors), len(list(files.iterdir())) if files.is_dir() else 0

    with Emulator(memory=True, faults=Faults(seed=SEED, rate=0.3, kinds=("reject", "status", "drop"))) as emulator:
        emulator.create_table(TABLE, DDL)
        batch = pa.record_batch({"id": [1], "text": ["x"]})

        def cycle() -> None:
            with writer_to(emulator, retry=Retry(max_retries=50, initial_backoff=0.001, max_backoff=0.01)) as writer:
                for _ in range(3):
                    assert writer.send_batch(batch).success

        for _ in range(50):
            cycle()
        before, memory = threads_and_files(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(950):
            cycle()
        time.sleep(1)
        after = threads_and_files()
        assert after[0] == before[0] == 0
        assert after[1] <= before[1] + 10
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 64 << 10  # KiB on Linux
