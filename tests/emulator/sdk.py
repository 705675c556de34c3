"""Streams to the emulator: through the real SDK, and plain gRPC for requests that the SDK never sends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, Self

os.environ.setdefault("RUST_LOG", "off")

import grpc
import pyarrow as pa
from google.protobuf import descriptor_pb2
from zerobus.sdk.shared.arrow import ArrowStreamConfigurationOptions
from zerobus.sdk.sync import RecordType, StreamConfigurationOptions, TableProperties, ZerobusSdk

from beam_zerobus.emulator import Emulator
from beam_zerobus.emulator.wire import Request, Response
from beam_zerobus.encoding import ArrowEncoder, ProtoEncoder, make_encoder
from beam_zerobus.schema import TableSchema

PATIENCE = 60_000  # milliseconds; a test that waits for its end sets its own
FORMATS = ("proto", "json", "arrow")


class Stream:
    """One SDK stream with the SDK's recovery off; rows are given as a RecordBatch of canonical types."""

    def __init__(
        self,
        emulator: Emulator,
        table: str,
        schema: TableSchema | str,
        wire_format: str = "proto",
        *,
        client_id: str | None = None,
        client_secret: str | None = None,
        patience_ms: int = PATIENCE,
    ) -> None:
        schema = TableSchema.from_ddl(schema) if isinstance(schema, str) else schema
        self.schema = schema
        self.encoder = make_encoder(wire_format, schema)
        sdk = ZerobusSdk(emulator.endpoint, emulator.workspace_url)
        credentials = (client_id or emulator.client_id, client_secret or emulator.client_secret)
        limits: dict[str, Any] = {"recovery": False, "server_lack_of_ack_timeout_ms": patience_ms}
        if isinstance(self.encoder, ArrowEncoder):
            options = ArrowStreamConfigurationOptions(**limits)
            self.sdk_stream = sdk.create_arrow_stream(table, self.encoder.schema, *credentials, options)
            self._send = self.sdk_stream.ingest_batch
            return
        descriptor = None
        if isinstance(self.encoder, ProtoEncoder):
            descriptor = file_of(self.encoder.descriptor)
        record_type = RecordType.PROTO if descriptor is not None else RecordType.JSON
        options = StreamConfigurationOptions(record_type=record_type, **limits)
        self.sdk_stream = sdk.create_stream(*credentials, TableProperties(table, descriptor), options)
        self._send = self.sdk_stream.ingest_records_offset

    def send(self, rows: list[dict[str, Any]]) -> int:
        batch = pa.RecordBatch.from_pylist(rows, self.schema.to_canonical_arrow())
        return max(self._send(payload.records) for payload in self.encoder.encode(batch))

    def send_records(self, records: list[bytes] | list[str]) -> int:
        return self._send(records)

    def wait(self, offset: int) -> None:
        self.sdk_stream.wait_for_offset(offset)

    def flush(self) -> None:
        self.sdk_stream.flush()

    def close(self) -> None:
        self.sdk_stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def eventually(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until a condition is true; the limit is long, as it only shows in a test that fails."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.01)


def file_of(message: descriptor_pb2.DescriptorProto) -> bytes:
    file = descriptor_pb2.FileDescriptorProto(name="row.proto", syntax="proto2")
    file.message_type.add().CopyFrom(message)
    return file.SerializeToString()


class RawStream:
    """A stream without the SDK, request by request and response by response."""

    def __init__(
        self, emulator: Emulator, table: str | None, token: str | None, method_name: str = "EphemeralStream"
    ) -> None:
        self._channel = grpc.insecure_channel(emulator.endpoint.removeprefix("http://"))
        method = self._channel.stream_stream(f"/databricks.zerobus.Zerobus/{method_name}")
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        metadata = []
        if token is not None:
            metadata.append(("authorization", f"Bearer {token}"))
        if table is not None:
            metadata.append(("x-databricks-zerobus-table-name", table))
        self.call = method(self._outgoing(), metadata=metadata, timeout=100)

    def _outgoing(self) -> Iterator[bytes]:
        while (request := self._requests.get()) is not None:
            yield request

    def create(self, table: str, descriptor: bytes = b"", record_type: int = 2) -> None:
        request = Request()
        request.create_stream.table_name = table
        request.create_stream.record_type = record_type
        if descriptor:
            request.create_stream.descriptor_proto = descriptor
        self.send(request)

    def send_json(self, offset: int, *records: str) -> None:
        request = Request()
        request.ingest_record_batch.offset_id = offset
        request.ingest_record_batch.json_batch.records.extend(records)
        self.send(request)

    def send(self, request: Any) -> None:
        self._requests.put(request if isinstance(request, bytes) else request.SerializeToString())

    def send_last(self) -> None:
        """Say that nothing more follows."""
        self._requests.put(None)

    def receive(self) -> Any:
        return Response.FromString(next(self.call))

    def end(self) -> tuple[grpc.StatusCode, str]:
        """Read to the end; return the status."""
        try:
            for _ in self.call:
                pass
        except grpc.RpcError:
            pass
        return self.call.code(), self.call.details()

    def close(self) -> None:
        self._requests.put(None)
        self.call.cancel()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
