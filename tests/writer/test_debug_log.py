"""What a send says in the log at DEBUG, and that above it there are rejected rows only."""

import logging

import pytest

from beam_zerobus.writer.failure_log import failure_log

TABLE = "main.iot.air_quality"


@pytest.mark.parametrize("schema", [None, "device STRING, co2 INT"])
def test_a_send_names_schema_endpoint_stream_and_batches(emulator, connect, caplog, schema):
    emulator.create_table(TABLE, "device STRING, co2 INT")
    caplog.set_level(logging.DEBUG, "beam_zerobus")
    failure_log.forget()  # logs the next row at once
    with connect(TABLE, wire_format="json", schema=schema) as writer:
        writer.send([{"device": "attic", "co2": 417}, {"device": "cellar", "co2": "high"}])
    records = [record for record in caplog.records if not record.name.startswith("beam_zerobus.emulator")]
    said = [record.getMessage() for record in records]
    source = "as given" if schema else "from Unity Catalog"
    assert said[0] == f"Schema of {TABLE}, {source}: device STRING, co2 INT"
    assert said[1] == f"Opened a stream to {TABLE} at {emulator.endpoint} for json"
    assert said[2].startswith(f"Batch for {TABLE}: 1 row written, 1 failed, ")
    above = [record.getMessage() for record in records if record.levelno > logging.DEBUG]
    assert [line.partition(",")[0] for line in above] == [f"1 row rejected for table {TABLE}"]
    assert not any("attic" in line for line in said)
