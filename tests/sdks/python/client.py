"""The Python client's program of `make test-sdks`; see tests/sdks/program.py for its commands."""

from __future__ import annotations

import sys
from typing import Any

import pyarrow as pa
from google.protobuf import descriptor_pb2
from zerobus.sdk.shared.arrow import ArrowStreamConfigurationOptions
from zerobus.sdk.sync import NonRetriableException, RecordType, StreamConfigurationOptions, TableProperties, ZerobusSdk

ARROW_TYPES = {"int64": pa.int64(), "int32": pa.int32(), "text": pa.large_string()}


class Client:
    """One stream at a time."""

    def __init__(self) -> None:
        self.stream: Any = None
        self.wire_format = ""

    def open(self, endpoint: str, workspace: str, wire_format: str, table: str, *rest: str) -> None:
        client_id, secret, patience, schema = rest
        self.wire_format = wire_format
        sdk = ZerobusSdk(endpoint, workspace)
        limits: dict[str, Any] = {
            "recovery_backoff_ms": 200,
            "recovery_retries": 600,
            "flush_timeout_ms": 40_000,
            "server_lack_of_ack_timeout_ms": int(patience),
        }
        if wire_format == "arrow":
            options = ArrowStreamConfigurationOptions(**limits)
            self.stream = sdk.create_arrow_stream(table, arrow_schema(schema), client_id, secret, options)
            return
        record_type = RecordType.PROTO if wire_format == "proto" else RecordType.JSON
        descriptor = file_of(bytes.fromhex(schema)) if wire_format == "proto" else None
        options = StreamConfigurationOptions(record_type=record_type, **limits)
        self.stream = sdk.create_stream(client_id, secret, TableProperties(table, descriptor), options)

    def send(self, *records: str) -> int:
        raw = [bytes.fromhex(record) for record in records]
        if self.wire_format == "arrow":
            return self.stream.ingest_batch(pa.ipc.open_stream(raw[0]).read_next_batch())
        values = raw if self.wire_format == "proto" else [record.decode() for record in raw]
        if len(values) == 1:
            return self.stream.ingest_record_offset(values[0])
        return self.stream.ingest_records_offset(values)

    def wait(self, offset: str) -> None:
        self.stream.wait_for_offset(int(offset))

    def flush(self) -> None:
        self.stream.flush()

    def close(self) -> None:
        self.stream.close()


def arrow_schema(text: str) -> pa.Schema:
    fields = (field.split(":") for field in text.split(","))
    return pa.schema([pa.field(name, ARROW_TYPES[kind], nullable == "null") for name, kind, nullable in fields])


def file_of(message: bytes) -> bytes:
    file = descriptor_pb2.FileDescriptorProto(name="row.proto", syntax="proto2")
    file.message_type.add().ParseFromString(message)
    return file.SerializeToString()


def main() -> None:
    client = Client()
    print("ok", flush=True)
    for line in sys.stdin:
        command, *arguments = line.split()
        try:
            value = getattr(client, command)(*arguments)
        except Exception as error:  # noqa: BLE001 - the driver reads it
            kind = "final" if isinstance(error, NonRetriableException) else "retriable"
            print("error", kind, " ".join(str(error).split()), flush=True)
        else:
            print("ok" if value is None else f"ok {value}", flush=True)


if __name__ == "__main__":
    main()
