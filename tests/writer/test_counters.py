"""A writer's counters are a snapshot that nobody can change."""

import dataclasses

import pyarrow as pa
import pytest

from beam_zerobus import ZerobusWriter
from beam_zerobus.writer.counters import Counters


def test_counters_are_a_snapshot_and_say_what_was_counted():
    with ZerobusWriter("main.iot.air", schema="id BIGINT NOT NULL", dry_run=True) as writer:
        before = writer.counters
        writer.send_batch(pa.record_batch({"id": pa.array([1, 2, None], pa.int64())}))
        assert (before.rows_written, writer.counters.rows_written, writer.counters.rows_failed) == (0, 2, 1)
        assert "rows_written=2, rows_failed=1" in str(writer.counters)
        with pytest.raises(dataclasses.FrozenInstanceError):
            writer.counters.rows_written = 7


def test_counters_can_be_subtracted():
    assert Counters(retries=3, throttled_seconds=1.5) - Counters(retries=1) == Counters(
        retries=2, throttled_seconds=1.5
    )
