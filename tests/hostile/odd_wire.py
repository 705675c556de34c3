"""The two protocols of the service for a server that answers oddly: what it reads, and what it may say."""

from __future__ import annotations

import json
from typing import Any, Protocol

import pyarrow as pa

from beam_zerobus.emulator.rows import ArrowReader
from beam_zerobus.emulator.wire import FlightData, PutResult, Request, Response, flight_acknowledgement
from beam_zerobus.schema import TableSchema

__all__ = ["BODIES", "EphemeralWire", "FlightWire", "Wire"]

_SCHEMA = TableSchema.from_ddl("id BIGINT NOT NULL")
BODIES = (
    "nothing",
    "not a message",
    "cut off",
    "another message",
    "deep",
    "large",
    "huge",
    "no offset",
    "text for an offset",
    "a fraction for an offset",
    "more rows than were sent",
)


class Wire(Protocol):
    """One stream's side of a protocol.

    Attributes:
        bodies: Odd messages by the names in `BODIES`, as far as the protocol has them.
    """

    bodies: dict[str, bytes]

    def read(self, message: bytes) -> tuple[int, tuple[int, ...]] | None:
        """Return a call's offset and the ids of its rows; None for the message that creates the stream."""
        ...

    def ready(self) -> bytes:
        """Say that the stream is created."""
        ...

    def acknowledge(self, offset: int) -> bytes:
        """Acknowledge calls up to an offset, which may be any number."""
        ...


class EphemeralWire:
    """Protobuf and JSON records."""

    def __init__(self) -> None:
        self.bodies = {
            "nothing": b"",
            "not a message": b"\xff" * 20,
            "cut off": b"\x12\x7f",
            "another message": self.ready(),
            "deep": b"\x7b" * 50_000 + b"\x7c" * 50_000,  # groups in groups
            "large": b"\x7a\x80\x80\xc0\x01" + bytes(3 << 20),  # an unknown field, below the SDK's limit of 4 MiB
            "huge": b"\x7a\x80\x80\x80\x03" + bytes(6 << 20),
            "no offset": Response(ingest_record_response={}).SerializeToString(),
            "text for an offset": b"\x12\x03\x0a\x01\x37",
        }

    def read(self, message: bytes) -> tuple[int, tuple[int, ...]] | None:
        request = Request.FromString(message)
        if request.HasField("create_stream"):
            return None
        call = request.ingest_record_batch
        ids = [json.loads(record)["id"] for record in call.json_batch.records]
        return call.offset_id, (*ids, *map(_id_of, call.proto_encoded_batch.records))

    def ready(self) -> bytes:
        return _bytes(Response(create_stream_response={"stream_id": "odd"}))

    def acknowledge(self, offset: int) -> bytes:
        return _bytes(Response(ingest_record_response={"durability_ack_up_to_offset": offset}))


class FlightWire:
    """Arrow Flight."""

    def __init__(self) -> None:
        self._reader: ArrowReader | None = None
        self._rows: list[int] = []
        self.bodies = {
            "nothing": b"",
            "not a message": b"\xff" * 20,
            "cut off": b"\x0a\x7f",
            "another message": self.ready(),
            "deep": _result("[" * 100_000),
            "large": _result(" " * (3 << 20)),
            "huge": _result(" " * (6 << 20)),
            "no offset": _result("{}"),
            "text for an offset": _result('{"ack_up_to_offset": "0", "ack_up_to_records": 0}'),
            "a fraction for an offset": _result('{"ack_up_to_offset": 0.5, "ack_up_to_records": 0}'),
            "more rows than were sent": _result('{"ack_up_to_offset": 0, "ack_up_to_records": 1000000}'),
        }

    def read(self, message: bytes) -> tuple[int, tuple[int, ...]] | None:
        data = FlightData.FromString(message)
        if self._reader is None:
            self._reader = ArrowReader(_SCHEMA, data.data_header)
            return None
        batch: pa.RecordBatch = self._reader.batch(data.data_header, data.data_body)
        self._rows.append((self._rows[-1] if self._rows else 0) + batch.num_rows)
        return json.loads(data.app_metadata)["offset_id"], tuple(batch["id"].to_pylist())

    def ready(self) -> bytes:
        return flight_acknowledgement(-1, 0)

    def acknowledge(self, offset: int) -> bytes:
        rows = self._rows[min(offset, len(self._rows) - 1)] if self._rows and offset >= 0 else 0
        return flight_acknowledgement(offset, rows)


def _id_of(record: bytes) -> int:
    """Return the varint that is field 1."""
    assert record[0] == 0x08
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(record[1:]))


def _result(metadata: str) -> bytes:
    return _bytes(PutResult(app_metadata=metadata.encode()))


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
