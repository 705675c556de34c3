"""Descriptors, schemas and calls in the service's own bytes."""

from beam_zerobus.encoding import ProtoEncoder
from beam_zerobus.schema import TableSchema


def descriptor(ddl: str) -> bytes:
    return ProtoEncoder(TableSchema.from_ddl(ddl)).descriptor.SerializeToString()


def schema_header(ddl: str) -> bytes:
    """The header of the IPC message that a Flight stream begins with."""
    message = TableSchema.from_ddl(ddl).to_arrow().serialize().to_pybytes()
    return message[8 : 8 + int.from_bytes(message[4:8], "little")]


def proto_call(records: list[bytes]) -> bytes:
    from beam_zerobus.emulator.wire import Request

    request = Request()
    request.ingest_record_batch.proto_encoded_batch.records.extend(records)
    return request.SerializeToString()
