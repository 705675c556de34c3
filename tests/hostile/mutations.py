"""Valid calls, damaged by a seeded chance, for each way in; what is accepted is compared with what was sent."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable

import fastavro
import orjson
import pyarrow as pa

from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.streams.calls import EphemeralProtocol, FlightProtocol
from beam_zerobus.emulator.wire import FlightData, Request
from beam_zerobus.encoding import ProtoEncoder
from beam_zerobus.schema import TableSchema
from tests.emulator.payloads import descriptor

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, name STRING, t ARRAY<INT>, v VARIANT, p STRUCT<x: DOUBLE>"
SCHEMA = TableSchema.from_ddl(DDL)
ROWS = [{"id": number, "name": "é" * number, "t": [1, 2], "v": '{"a": [1]}', "p": {"x": 0.5}} for number in range(3)]
AVRO = {
    "type": "record",
    "name": "r",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "name", "type": ["null", "string"]},
        {"name": "t", "type": {"type": "array", "items": "int"}},
        {"name": "v", "type": "string"},
        {
            "name": "p",
            "type": {"type": "record", "name": "p", "fields": [{"name": "x", "type": "double"}]},
        },
    ],
}
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x22, 0x5B, 0x7B)

Attempt = Callable[[random.Random], bool]
"""Makes one call with damage; returns whether it was accepted. Anything but an answer of the service raises."""


def damaged(chance: random.Random, data: bytes) -> bytes:
    """Return bytes with one to three changes: flipped, inserted, deleted, repeated, or cut off."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(changed) + 1)
        stop = min(len(changed), start + chance.choice((1, 1, 1, 2, 4, 30)))
        match chance.randrange(6):
            case 0 | 1:
                changed[start:stop] = bytes(chance.randrange(256) for _ in range(stop - start))
            case 2:
                changed[start:stop] = bytes(chance.choice(EDGES) for _ in range(chance.randrange(12)))
            case 3:
                del changed[start:stop]
            case 4:
                changed[start:start] = changed[start:stop] * chance.choice((1, 2, 50))
            case _:
                del changed[start:]
    return bytes(changed)


def batch(copies: int = 1) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(ROWS * copies, SCHEMA.to_canonical_arrow())


def sometimes(chance: random.Random, data: bytes, share: float) -> bytes:
    return damaged(chance, data) if chance.random() < share else data


# gRPC and Arrow Flight, as a stream reads them.


def grpc_stream(kind: str, copies: int = 1) -> Attempt:
    create = Request(create_stream={"table_name": TABLE, "record_type": {"proto": 1, "json": 2, "avro": 4}[kind]})
    call = Request(ingest_record_batch={"offset_id": 0})
    body = call.ingest_record_batch
    if kind == "proto":
        create.create_stream.descriptor_proto = descriptor(DDL)
        for payload in ProtoEncoder(SCHEMA).encode(batch(copies)):
            body.proto_encoded_batch.records.extend(payload.records)
    elif kind == "json":
        body.json_batch.records.extend(json.dumps(row) for row in ROWS)
    else:
        create.create_stream.avro_schema_json = json.dumps(AVRO)
        for row in ROWS:
            sink = io.BytesIO()
            fastavro.schemaless_writer(sink, fastavro.parse_schema(AVRO), row)
            body.avro_batch.records.append(sink.getvalue())
    first, second = create.SerializeToString(), call.SerializeToString()

    def attempt(chance: random.Random) -> bool:
        head = sometimes(chance, first, 0.2)
        protocol, sent = EphemeralProtocol(), damaged(chance, second)
        try:
            protocol.table_of(head)
            protocol.bind(SCHEMA)
            read = protocol.call(sent)
            rows = read.read()
        except Rejection:
            return False
        rows.validate(full=True)
        parsed = Request.FromString(sent)
        part = getattr(parsed, parsed.WhichOneof("payload"))
        carried = part.WhichOneof("payload")
        value = getattr(part, carried) if carried else []
        records = list(getattr(value, "records", [value] if carried else []))
        assert rows.num_rows == read.rows == len(records)
        if kind == "json":
            assert rows["id"].to_pylist() == [orjson.loads(record)["id"] for record in records]
        return True

    return attempt


def flight_stream() -> Attempt:
    sink = pa.BufferOutputStream()
    schema = SCHEMA.to_arrow()
    from beam_zerobus.encoding import ArrowEncoder

    encoder = ArrowEncoder(SCHEMA)
    schema = encoder.schema
    sent = next(iter(encoder.encode(batch()))).records
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(sent)
    first, second = list(pa.ipc.MessageReader.open_stream(sink.getvalue()))[:2]
    head = FlightData(data_header=first.metadata.to_pybytes()).SerializeToString()
    parts = (b'{"offset_id": 0}', second.metadata.to_pybytes(), second.body.to_pybytes())

    def attempt(chance: random.Random) -> bool:
        protocol = FlightProtocol()
        which = chance.randrange(4)
        metadata, header, body = (
            damaged(chance, part) if which in (number, 3) else part for number, part in enumerate(parts)
        )
        message = FlightData(app_metadata=metadata, data_header=header, data_body=body).SerializeToString()
        try:
            protocol.table_of(sometimes(chance, head, 0.1))
            protocol.bind(SCHEMA)
            call = protocol.call(sometimes(chance, message, 0.1))
            rows = call.read()
        except Rejection:
            return False
        rows.validate(full=True)
        assert rows.num_rows == call.rows <= 1 << 24
        return True

    return attempt
