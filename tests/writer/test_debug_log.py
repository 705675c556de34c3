"""What a normal send says in the log at DEBUG, and that it says nothing above it."""

import logging

import pytest

TABLE = "main.iot.air_quality"


@pytest.mark.parametrize("schema", [None, "device STRING, co2 INT"])
def test_a_send_names_schema_endpoint_stream_and_batches(emulator, connect, caplog, schema):
    emulator.create_table(TABLE, "device STRING, co2 INT")
    caplog.set_level(logging.DEBUG, "beam_zerobus")
    with connect(TABLE, wire_format="json", schema=schema) as writer:
        writer.send([{"device": "attic", "co2": 417}, {"device": "cellar", "co2": "high"}])
    said = [record.getMessage() for record in caplog.records]
    source = "as given" if schema else "from Unity Catalog"
    assert said[0] == f"Schema of {TABLE}, {source}: device STRING, co2 INT"
    assert said[1] == f"Opened a stream to {TABLE} at {emulator.endpoint} for json"
    assert said[2].startswith(f"Batch for {TABLE}: 1 row written, 1 failed, ")
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
    assert not any("attic" in line for line in said)
