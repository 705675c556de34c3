"""Many writers, one after another: threads, sockets and memory stay as they are.

`make test-hostile` runs a part of the cycles; `make soak` runs 10,000, which takes about five minutes.
"""

from __future__ import annotations

import gc
import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from beam_zerobus import OAuthClientCredentials, ZerobusWriter, ZerobusWriters
from beam_zerobus.emulator import Emulator
from tests.emulator.sdk import eventually

pytestmark = [
    pytest.mark.hostile,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc"),
]

CYCLES = int(os.environ.get("SOAK_CYCLES", "500"))
DROPPED = int(os.environ.get("SOAK_DROPPED", "1000"))
WARM_UP = 200  # caches fill, allocators reach their size
TABLE = "main.iot.air"
FORMATS = ("proto", "arrow", "json")


@dataclass
class Used:
    """What this process, the emulator included, holds."""

    threads: int
    files: int
    memory: int

    @classmethod
    def now(cls) -> Used:
        gc.collect()
        status = Path("/proc/self/status").read_text()
        numbers = dict(re.findall(r"(\w+):\s+(\d+)", status))
        return cls(
            threads=int(numbers["Threads"]),
            files=len(list(Path("/proc/self/fd").iterdir())),
            memory=int(numbers["VmRSS"]) << 10,
        )


def our_threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("zerobus-", "beam_zerobus-"))]


@pytest.fixture
def server() -> Iterator[Emulator]:
    with Emulator(memory=True, discard=True) as emulator:
        emulator.create_table(TABLE, "id BIGINT")
        yield emulator


def open_writer(server: Emulator, number: int) -> ZerobusWriter:
    return ZerobusWriter(
        TABLE,
        endpoint=server.endpoint,
        workspace_url=server.workspace_url,
        schema="id BIGINT",
        wire_format=FORMATS[number % len(FORMATS)],
        credentials=OAuthClientCredentials(client_id=server.client_id, client_secret=server.client_secret),
    )


BATCH = pa.record_batch({"id": pa.array([1], pa.int64())})


def assert_flat(before: Used, server: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    eventually(lambda: not our_threads() and not server.stats.streams_open)
    eventually(lambda: Used.now().files <= before.files + 4)
    after = Used.now()
    with capsys.disabled():
        print(f"\n  before: {before}\n  after:  {after}", file=sys.stderr)
    assert after.threads <= before.threads + 4
    assert after.memory <= before.memory + (24 << 20)  # the emulator keeps the counts of each stream


def test_writers_that_are_opened_and_closed_leave_nothing(server, capsys):
    def cycle(number: int) -> None:
        with open_writer(server, number) as writer:
            assert writer.send_batch(BATCH).success

    for number in range(WARM_UP):
        cycle(number)
    before = Used.now()
    for number in range(CYCLES - WARM_UP):
        cycle(number)
    assert_flat(before, server, capsys)
    assert server.stats.tables[TABLE].rows_acknowledged == CYCLES


def test_tables_that_make_room_for_others_leave_nothing(server, capsys):
    tables = [f"main.many.t{number}" for number in range(5)]
    for table in tables:
        server.create_table(table, "id BIGINT")
    credentials = OAuthClientCredentials(client_id=server.client_id, client_secret=server.client_secret)
    addresses = {"endpoint": server.endpoint, "workspace_url": server.workspace_url}
    count = max(WARM_UP, CYCLES // 5)
    with ZerobusWriters(credentials=credentials, schema="id BIGINT", max_open_tables=2, **addresses) as writers:
        for number in range(WARM_UP + count):
            if number == WARM_UP:
                before = Used.now()
            assert writers.send(tables[number % len(tables)], BATCH).success
    assert_flat(before, server, capsys)
    assert sum(server.stats.tables[table].rows_acknowledged for table in tables) == WARM_UP + count


def test_writers_that_are_dropped_leave_nothing(server, capsys):
    def drop(count: int) -> None:
        for number in range(count):
            open_writer(server, number).submit(BATCH)
        eventually(lambda: not our_threads())

    drop(20)
    before = Used.now()
    for _ in range((DROPPED - 20) // 20):
        drop(20)
    assert_flat(before, server, capsys)
    assert server.stats.tables[TABLE].rows_acknowledged == DROPPED
