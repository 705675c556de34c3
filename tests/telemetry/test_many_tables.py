"""Telemetry and debug files of many tables: each table's own, and metrics with a bounded number of names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from beam_zerobus import DebugFiles, OAuthClientCredentials, Telemetry, ZerobusWriters
from beam_zerobus.debug_files import read_arrow, read_proto
from beam_zerobus.emulator import Emulator
from beam_zerobus.telemetry import table_names
from tests.telemetry.receiver import Receiver

DDL = "id BIGINT NOT NULL"
TABLES = [f"main.many.t{number}" for number in range(4)]


def rows(*ids: int) -> pa.RecordBatch:
    return pa.record_batch({"id": pa.array(ids, pa.int64())})


def writers_to(emulator: Emulator, **options: object) -> ZerobusWriters:
    for table in TABLES:
        emulator.create_table(table, DDL)
    credentials = OAuthClientCredentials(client_id=emulator.client_id, client_secret=emulator.client_secret)
    return ZerobusWriters(
        endpoint=emulator.endpoint, workspace_url=emulator.workspace_url, credentials=credentials, **options
    )


def test_metrics_name_a_few_tables_and_spans_all(
    emulator: Emulator, receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_names, "_named", set())
    receiver = receive()
    telemetry = Telemetry(endpoint=receiver.endpoint, flush_timeout=30.0)
    with writers_to(emulator, max_open_tables=2, max_tables_in_metrics=2, telemetry=telemetry) as writers:
        for number in range(12):
            assert writers.send(TABLES[number % 4], rows(number)).success
    seen = receiver.seen
    by_table: Counter[str] = Counter()
    for point in seen.points["beam_zerobus.rows"].values():
        by_table[point.attributes["messaging.destination.name"]] += int(point.value)
    assert by_table == {TABLES[0]: 3, TABLES[1]: 3, "other": 6}
    for name, points in seen.points.items():
        named = {point.attributes.get("messaging.destination.name") for point in points.values()}
        assert named <= {TABLES[0], TABLES[1], "other"}, name
    assert seen.total("beam_zerobus.streams_open") == 0
    for table in TABLES:
        spans = seen.named(f"send {table}")
        assert [span.attributes["messaging.destination.name"] for span in spans] == [table] * 3


def test_each_table_has_debug_files_of_its_own_which_go_on_when_it_is_opened_again(
    emulator: Emulator, tmp_path: Path
) -> None:
    debug_files = DebugFiles(output_dir=tmp_path)
    with writers_to(emulator, max_open_tables=1, debug_files=debug_files) as writers:
        for number in range(12):
            assert writers.send(TABLES[number % 4], rows(number)).success
    for number, table in enumerate(TABLES):
        sent = [number, number + 4, number + 8]
        for kind, read in {"arrow": read_arrow, "proto": read_proto}.items():
            batches = read(tmp_path / "zerobus" / kind / f"{table}.{kind}")
            assert [row for batch in batches for row in batch["id"].to_pylist()] == sent
