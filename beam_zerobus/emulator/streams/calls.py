"""The two protocols of the service: reading their requests and writing their responses.

A protocol turns requests into calls and acknowledgements into responses; `session.py` does what is common to both.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
from google.protobuf.message import DecodeError

from beam_zerobus.emulator.limits import MAX_RECORD_BYTES, MAX_ROWS
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.rows import ArrowReader, AvroReader, JsonReader, ProtoReader
from beam_zerobus.emulator.tables.table import Table
from beam_zerobus.emulator.wire import FlightData, RecordType, Request, Response, flight_acknowledgement
from beam_zerobus.schema import TableSchema

__all__ = ["Call", "EphemeralProtocol", "FlightProtocol", "StreamProtocol"]

_FORMATS = {RecordType.PROTO: "proto", RecordType.JSON: "json", RecordType.AVRO: "avro"}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the client.

    Attributes:
        offset: Its number within the stream.
        rows: Number of rows, known without reading them.
        size: Bytes on the wire.
        read: Decodes and checks the rows; raises `Rejection`.
        records: Returns the records as received.
    """

    offset: int
    rows: int
    size: int
    read: Callable[[], pa.RecordBatch]
    records: Callable[[], Any]


class StreamProtocol(Protocol):
    """One stream's side of a protocol."""

    wire_format: str

    def open(self, table: Table, stream_id: str) -> tuple[str, int]:  # noqa: ARG002 - for persistent streams
        """Open the stream, given a new id; return its id and the offset of its first call.

        Raises:
            Rejection: It cannot be opened.
        """
        return stream_id, 0

    def storing(self) -> None:
        """Note that a call is being stored."""

    def stored(self, offset: int | None) -> None:
        """Note that a call is durable, or with None that it is not stored."""

    def close(self) -> None:
        """Note that the client has left."""

    def table_of(self, first: bytes) -> str | None:
        """Read the stream's first message; return the table it names, or None.

        Raises:
            Rejection: It is not a stream's first message.
        """
        ...

    def bind(self, schema: TableSchema, rescue_column: str | None = None) -> None:
        """Check the stream's schema against the table's columns, at first and whenever they change.

        Args:
            schema: The columns.
            rescue_column: The one that receives what does not fit of JSON records; or None.

        Raises:
            Rejection: It does not fit; names the column.
        """
        ...

    def call(self, message: bytes) -> Call:
        """Read a call.

        Raises:
            Rejection: The message is not a call of this stream.
        """
        ...

    def ready(self, stream_id: str) -> bytes:
        """Return the response that says that the stream was created."""
        ...

    def acknowledgement(self, offset: int, rows: int) -> bytes:
        """Return the acknowledgement of calls up to an offset, with the durable rows of the stream so far."""
        ...

    def close_signal(self, offset: int, rows: int, seconds: float) -> bytes:
        """Return the announcement that the server will close the stream; offset and rows as acknowledged before."""
        ...


class EphemeralProtocol(StreamProtocol):
    """`EphemeralStream`: protobuf, JSON and Avro records, single or in batches."""

    wire_format = "proto"
    response = Response

    def __init__(self) -> None:
        self._descriptor = b""
        self._proto: ProtoReader | None = None
        self._avro_schema = ""
        self._reader: JsonReader | AvroReader | None = None

    def table_of(self, first: bytes) -> str | None:
        """Read the stream's creation."""
        request = _parse(first)
        if request.WhichOneof("payload") != "create_stream":
            raise Rejection.invalid("the first message of a stream must be create_stream")
        create = request.create_stream
        record_type = create.record_type if create.HasField("record_type") else RecordType.PROTO
        if record_type not in _FORMATS:
            raise Rejection.invalid(f"record_type {record_type} is not supported; use PROTO, JSON or AVRO")
        self.wire_format = _FORMATS[record_type]
        self._descriptor, self._avro_schema = create.descriptor_proto, create.avro_schema_json
        table: str = create.table_name
        return table

    def bind(self, schema: TableSchema, rescue_column: str | None = None) -> None:
        """Check the descriptor or Avro schema; JSON has none."""
        if self.wire_format == "proto":
            self._proto = ProtoReader(schema, self._descriptor)
        elif self.wire_format == "avro":
            self._reader = AvroReader(schema, self._avro_schema)
        else:
            self._reader = JsonReader(schema, rescue_column)

    def call(self, message: bytes) -> Call:
        """Read a single record or a batch."""
        request = _parse(message)
        kind = request.WhichOneof("payload")
        if kind == "ingest_record":
            body = request.ingest_record
            carried = body.WhichOneof("payload")
            records = [getattr(body, carried)] if carried else []
        elif kind == "ingest_record_batch":
            body = request.ingest_record_batch
            carried = body.WhichOneof("payload")
            records = getattr(body, carried).records if carried else []
        else:
            raise Rejection.invalid("after create_stream, send only ingest_record and ingest_record_batch")
        if carried is not None and not carried.startswith(self.wire_format):
            raise Rejection.invalid(f"a stream of {self.wire_format} cannot carry {carried}")
        if len(records) > MAX_ROWS:
            raise Rejection.invalid(f"the call has {len(records)} records; a call may have {MAX_ROWS} at most")
        if len(message) > MAX_RECORD_BYTES:
            _check_sizes(records)

        proto, reader = self._proto, self._reader

        def read() -> pa.RecordBatch:
            if proto is not None:
                return proto.read(message, records)
            assert reader is not None  # noqa: S101 - bind() made one of the two
            return reader.read(records)

        return Call(body.offset_id, len(records), len(message), read, lambda: tuple(records))

    def ready(self, stream_id: str) -> bytes:
        """Return the answer to create_stream."""
        response = self.response()
        response.create_stream_response.stream_id = stream_id
        return _bytes(response)

    def acknowledgement(self, offset: int, rows: int) -> bytes:  # noqa: ARG002 - only Arrow sends the rows
        """Return an ingest_record_response."""
        response = self.response()
        response.ingest_record_response.durability_ack_up_to_offset = offset
        return _bytes(response)

    def close_signal(self, offset: int, rows: int, seconds: float) -> bytes:  # noqa: ARG002 - Arrow repeats them
        """Return a close_stream_signal."""
        response = self.response()
        response.close_stream_signal.duration.FromNanoseconds(round(seconds * 1e9))
        return _bytes(response)


class FlightProtocol(StreamProtocol):
    """Arrow Flight's `DoPut`: the schema first, then one RecordBatch a call."""

    wire_format = "arrow"

    def __init__(self) -> None:
        self._header = b""
        self._reader: ArrowReader | None = None

    def table_of(self, first: bytes) -> str | None:
        """Read the schema; only the headers name the table."""
        self._header = _parse_flight(first).data_header
        return None

    def bind(self, schema: TableSchema, rescue_column: str | None = None) -> None:  # noqa: ARG002 - for JSON only
        """Check the stream's schema."""
        self._reader = ArrowReader(schema, self._header)

    def call(self, message: bytes) -> Call:
        """Read a batch."""
        data = _parse_flight(message)
        reader = self._reader
        assert reader is not None  # noqa: S101 - bind() runs before any call
        try:
            offset = json.loads(data.app_metadata)["offset_id"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Rejection.invalid('app_metadata must be JSON such as {"offset_id": 0}') from None
        header, body = data.data_header, data.data_body
        batch = reader.batch(header, body)
        return Call(
            offset=offset if type(offset) is int else -1,
            rows=batch.num_rows,
            size=len(message),
            read=lambda: reader.convert(batch),
            records=lambda: batch,
        )

    def ready(self, stream_id: str) -> bytes:  # noqa: ARG002 - Flight has no place for it
        """Return the ready signal."""
        return flight_acknowledgement(-1, 0)

    def acknowledgement(self, offset: int, rows: int) -> bytes:
        """Return a `PutResult`."""
        return flight_acknowledgement(offset, rows)

    def close_signal(self, offset: int, rows: int, seconds: float) -> bytes:
        """Return a `PutResult` that says when the server closes the stream."""
        return flight_acknowledgement(offset, rows, seconds)


def _parse(message: bytes) -> Any:
    try:
        return Request.FromString(message)
    except DecodeError:
        raise Rejection.invalid("the request cannot be parsed") from None


def _parse_flight(message: bytes) -> Any:
    try:
        return FlightData.FromString(message)
    except DecodeError:
        raise Rejection.invalid("the FlightData cannot be parsed") from None


def _check_sizes(records: Any) -> None:
    for index, record in enumerate(records):
        size = len(record if isinstance(record, bytes) else record.encode())
        if size > MAX_RECORD_BYTES:
            raise Rejection.invalid(f"record {index} has {size} bytes; a record may have {MAX_RECORD_BYTES} at most")


def _bytes(response: Any) -> bytes:
    data: bytes = response.SerializeToString()
    return data
