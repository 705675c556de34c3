"""The messages on the wire, built from descriptors in code: no generated files, no compiler at run time.

Facts about the wire are here and nowhere else: field numbers, method names, the JSON that Arrow Flight carries.
"""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory

__all__ = [
    "FLIGHT_DO_PUT",
    "FLIGHT_SERVICE",
    "TABLE_HEADER",
    "ZEROBUS_EPHEMERAL_STREAM",
    "ZEROBUS_PERSISTENT_STREAM",
    "ZEROBUS_RETIRE_STREAM",
    "ZEROBUS_SERVICE",
    "CreateStream",
    "FlightData",
    "PersistentRequest",
    "PersistentResponse",
    "PutResult",
    "RecordType",
    "Request",
    "Response",
    "RetireStream",
    "RetireStreamResponse",
    "add_field",
    "flight_acknowledgement",
]

ZEROBUS_SERVICE = "databricks.zerobus.Zerobus"
ZEROBUS_EPHEMERAL_STREAM = "EphemeralStream"
ZEROBUS_PERSISTENT_STREAM = "PersistentStream"
ZEROBUS_RETIRE_STREAM = "RetireStream"
FLIGHT_SERVICE = "arrow.flight.protocol.FlightService"
FLIGHT_DO_PUT = "DoPut"
TABLE_HEADER = "x-databricks-zerobus-table-name"

_PROTO = descriptor_pb2.FieldDescriptorProto
_INT64, _INT32, _STRING, _BYTES = _PROTO.TYPE_INT64, _PROTO.TYPE_INT32, _PROTO.TYPE_STRING, _PROTO.TYPE_BYTES


class RecordType:
    """Values of the enum `RecordType` that this server supports."""

    PROTO = 1
    JSON = 2
    AVRO = 4


def add_field(
    message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: int | str, *, repeated: bool = False
) -> None:
    """Add a field to a message's descriptor.

    Args:
        message: The message that gets the field.
        name: The field's name.
        number: The field's number.
        kind: A scalar type of `FieldDescriptorProto`, or the full name of a message, such as ``".package.Message"``.
        repeated: Whether the field is repeated; otherwise it is optional.
    """
    label = _PROTO.LABEL_REPEATED if repeated else _PROTO.LABEL_OPTIONAL
    if isinstance(kind, str):
        message.field.add(name=name, number=number, label=label, type=_PROTO.TYPE_MESSAGE, type_name=kind)
    else:
        message.field.add(name=name, number=number, label=label, type=kind)


def _zerobus_file() -> descriptor_pb2.FileDescriptorProto:
    package = "databricks.zerobus"
    file = descriptor_pb2.FileDescriptorProto(
        name="zerobus_service.proto",
        package=package,
        syntax="proto2",
        dependency=["google/protobuf/duration.proto"],
    )
    # Messages, and for each its fields; "*" marks a repeated field, "|" a member of the message's one oneof.
    layout: dict[str, tuple[tuple[str, int, int | str, str], ...]] = {
        "JsonRecordBatch": (("records", 1, _STRING, "*"),),
        "ProtoEncodedRecordBatch": (("records", 1, _BYTES, "*"),),
        "AvroRecordBatch": (("records", 1, _BYTES, "*"),),
        "CreateIngestStreamRequest": (
            ("table_name", 1, _STRING, ""),
            ("descriptor_proto", 3, _BYTES, ""),
            ("record_type", 4, _INT32, ""),
            ("avro_schema_json", 5, _STRING, ""),
        ),
        "CreateIngestStreamResponse": (("stream_id", 1, _STRING, ""),),
        "IngestRecordRequest": (
            ("offset_id", 1, _INT64, ""),
            ("proto_encoded_record", 2, _BYTES, "|"),
            ("json_record", 3, _STRING, "|"),
            ("avro_encoded_record", 4, _BYTES, "|"),
        ),
        "IngestRecordBatchRequest": (
            ("offset_id", 1, _INT64, ""),
            ("proto_encoded_batch", 2, f".{package}.ProtoEncodedRecordBatch", "|"),
            ("json_batch", 3, f".{package}.JsonRecordBatch", "|"),
            ("avro_batch", 4, f".{package}.AvroRecordBatch", "|"),
        ),
        "EphemeralStreamRequest": (
            ("create_stream", 1, f".{package}.CreateIngestStreamRequest", "|"),
            ("ingest_record", 2, f".{package}.IngestRecordRequest", "|"),
            ("ingest_record_batch", 3, f".{package}.IngestRecordBatchRequest", "|"),
        ),
        # In development at the service; the names of a oneof do not matter on the wire.
        "CreatePersistentStreamRequest": (("create_stream", 1, f".{package}.CreateIngestStreamRequest", ""),),
        "ResumeIngestStreamRequest": (
            ("stream_id", 1, _STRING, ""),
            ("descriptor_proto", 2, _BYTES, ""),
            ("record_type", 3, _INT32, ""),
        ),
        "PersistentStreamRequest": (
            ("create_stream", 1, f".{package}.CreatePersistentStreamRequest", "|"),
            ("resume_stream", 2, f".{package}.ResumeIngestStreamRequest", "|"),
            ("ingest_record", 3, f".{package}.IngestRecordRequest", "|"),
            ("ingest_record_batch", 4, f".{package}.IngestRecordBatchRequest", "|"),
        ),
        "RetireStreamRequest": (("table_name", 1, _STRING, ""), ("stream_id", 2, _STRING, "")),
        "RetireStreamResponse": (),
        "ResumeIngestStreamResponse": (("last_committed_offset", 1, _INT64, ""),),
        "IngestRecordResponse": (("durability_ack_up_to_offset", 1, _INT64, ""),),
        "CloseStreamSignal": (("duration", 1, ".google.protobuf.Duration", ""),),
        "EphemeralStreamResponse": (
            ("create_stream_response", 1, f".{package}.CreateIngestStreamResponse", "|"),
            ("ingest_record_response", 2, f".{package}.IngestRecordResponse", "|"),
            ("close_stream_signal", 3, f".{package}.CloseStreamSignal", "|"),
        ),
        "PersistentStreamResponse": (
            ("create_stream_response", 1, f".{package}.CreateIngestStreamResponse", "|"),
            ("resume_stream_response", 2, f".{package}.ResumeIngestStreamResponse", "|"),
            ("ingest_record_response", 3, f".{package}.IngestRecordResponse", "|"),
            ("close_stream_signal", 4, f".{package}.CloseStreamSignal", "|"),
        ),
    }
    _add_messages(file, layout)
    return file


def _flight_file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="zerobus_flight.proto", package="zerobus.flight", syntax="proto3")
    _add_messages(
        file,
        {
            "FlightData": (
                ("data_header", 2, _BYTES, ""),
                ("app_metadata", 3, _BYTES, ""),
                ("data_body", 1000, _BYTES, ""),
            ),
            "PutResult": (("app_metadata", 1, _BYTES, ""),),
        },
    )
    return file


def _add_messages(
    file: descriptor_pb2.FileDescriptorProto, layout: dict[str, tuple[tuple[str, int, int | str, str], ...]]
) -> None:
    for name, fields in layout.items():
        message = file.message_type.add(name=name)
        for field, number, kind, mark in fields:
            add_field(message, field, number, kind, repeated=mark == "*")
            if mark == "|":
                if not message.oneof_decl:
                    message.oneof_decl.add(name="payload")
                message.field[-1].oneof_index = 0


def _message_classes() -> dict[str, Any]:
    # A separate pool: the Zerobus SDK or pyarrow may define messages of the same names.
    pool = descriptor_pool.DescriptorPool()
    duration = descriptor_pb2.FileDescriptorProto()
    duration_pb2.DESCRIPTOR.CopyToProto(duration)
    pool.Add(duration)
    classes = {}
    for file in (_zerobus_file(), _flight_file()):
        pool.Add(file)
        for message in file.message_type:
            descriptor = pool.FindMessageTypeByName(f"{file.package}.{message.name}")
            classes[message.name] = message_factory.GetMessageClass(descriptor)
    return classes


_CLASSES = _message_classes()
Request: Any = _CLASSES["EphemeralStreamRequest"]
Response: Any = _CLASSES["EphemeralStreamResponse"]
PersistentRequest: Any = _CLASSES["PersistentStreamRequest"]
PersistentResponse: Any = _CLASSES["PersistentStreamResponse"]
RetireStream: Any = _CLASSES["RetireStreamRequest"]
RetireStreamResponse: Any = _CLASSES["RetireStreamResponse"]
CreateStream: Any = _CLASSES["CreateIngestStreamRequest"]
FlightData: Any = _CLASSES["FlightData"]
PutResult: Any = _CLASSES["PutResult"]


def flight_acknowledgement(offset: int, rows: int, close_after: float | None = None) -> bytes:
    """Return the `PutResult` that acknowledges an Arrow stream up to an offset.

    Args:
        offset: The last durable offset; -1 says that the stream is ready.
        rows: The durable rows of the stream so far.
        close_after: Seconds until the server closes the stream, where this is a close signal.

    Example:
        >>> flight_acknowledgement(-1, 0)[2:]
        b'{"ack_up_to_offset": -1, "ack_up_to_records": 0}'
    """
    body: dict[str, int] = {"ack_up_to_offset": offset, "ack_up_to_records": rows}
    if close_after is not None:
        body["close_stream_duration_ms"] = round(close_after * 1000)
    answer: bytes = PutResult(app_metadata=json.dumps(body).encode()).SerializeToString()
    return answer
