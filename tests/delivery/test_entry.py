"""What an entry of the ledger keeps while it is in flight, and how it is encoded again."""

import gc

import pyarrow as pa
import pytest

from beam_zerobus.delivery.entry import Entry
from beam_zerobus.emulator import Faults
from beam_zerobus.encoding.conversion import Conversion
from beam_zerobus.schema import TableSchema
from tests.emulator.sdk import eventually

DDL = "id BIGINT NOT NULL, name STRING"
ROWS = 300_000


@pytest.fixture(params=["RecordBatch", "Table"])
def batch(request):
    """So many rows that they take several calls, every thousandth rejected before sending."""
    ids = pa.array([None if row % 1000 == 7 else row for row in range(ROWS)], pa.int64())
    names = pa.array([f"device {row} somewhere in a house of many rooms" * 2 for row in range(ROWS)])
    batch = pa.record_batch({"id": ids, "name": names})
    if request.param == "RecordBatch":
        return batch
    return pa.Table.from_batches([batch.slice(0, 1000), batch.slice(1000, 99_000), batch.slice(100_000)])


@pytest.mark.parametrize("wire_format", ["proto", "json"])
def test_records_are_made_again_as_they_were(batch, wire_format):
    conversion = Conversion(TableSchema.from_ddl(DDL), wire_format, table="main.iot.air")
    payloads = [payload for payload in conversion.payloads(batch) if len(payload.rows)]
    assert len(payloads) > 2
    for payload in payloads:
        stripped = payload.without_records()
        assert (stripped.records, stripped.has_records) == ([], False)
        again = conversion.encode_again(batch, stripped)
        assert again.records == payload.records
        assert again.has_records


def test_a_payload_in_flight_keeps_no_records_and_is_sent_again_all_the_same(emulator, connect, batch, monkeypatch):
    monkeypatch.setattr("beam_zerobus.delivery.limits.MAX_IN_FLIGHT_BYTES", 64 << 20)  # all of it
    table = emulator.create_table("main.iot.air", DDL)
    emulator.faults = Faults(ack_delay=600.0)  # none comes before the kill
    writer = connect(schema=DDL, wire_format="proto")
    submission = writer.submit(batch)
    eventually(lambda: len(emulator.stats.calls) > 2 and not records_in_memory(batch))
    assert writer.in_flight_rows == ROWS - ROWS // 1000
    emulator.faults = None
    emulator.kill()
    emulator.restart()
    result = submission.result(60)
    assert (result.successful_count, result.failed_count) == (ROWS - ROWS // 1000, ROWS // 1000)
    assert writer.counters.rows_replayed == ROWS - ROWS // 1000
    assert set(table.to_arrow()["id"].to_pylist()) == {row for row in range(ROWS) if row % 1000 != 7}


def records_in_memory(batch):
    """Return the entries of a batch that hold encoded rows; other tests' entries may still be in memory."""
    entries = [entry for entry in gc.get_objects() if isinstance(entry, Entry)]
    return [entry for entry in entries if getattr(entry.owner, "batch", None) is batch and entry.payload.has_records]
