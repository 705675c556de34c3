"""`PersistentStream` and `RetireStream`, as the published wire definition has them: in development at the service."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import DecodeError

from beam_zerobus.emulator.host import Host
from beam_zerobus.emulator.rejection import Rejection
from beam_zerobus.emulator.status import end_failed, end_stream
from beam_zerobus.emulator.streams.calls import Call, EphemeralProtocol
from beam_zerobus.emulator.streams.persistent import PersistentStream, PersistentStreams
from beam_zerobus.emulator.tables.table import Table
from beam_zerobus.emulator.wire import (
    TABLE_HEADER,
    ZEROBUS_RETIRE_STREAM,
    ZEROBUS_SERVICE,
    PersistentRequest,
    PersistentResponse,
    Request,
    RetireStream,
    RetireStreamResponse,
)

__all__ = ["PersistentProtocol", "retire_handler"]


class PersistentProtocol(EphemeralProtocol):
    """A stream that is created, or resumed by its id; its calls are those of `EphemeralStream`.

    Args:
        streams: All persistent streams.
    """

    response = PersistentResponse

    def __init__(self, streams: PersistentStreams) -> None:
        super().__init__()
        self._streams = streams
        self._resumed_id: str | None = None
        self._stream: PersistentStream | None = None

    def table_of(self, first: bytes) -> str | None:
        """Read the stream's creation, or what it is resumed by."""
        request = _parse(PersistentRequest, first)
        create = Request()
        kind = request.WhichOneof("payload")
        if kind == "create_stream":
            create.create_stream.CopyFrom(request.create_stream.create_stream)
        elif kind == "resume_stream":
            self._resumed_id = request.resume_stream.stream_id
            create.create_stream.descriptor_proto = request.resume_stream.descriptor_proto
            if request.resume_stream.HasField("record_type"):
                create.create_stream.record_type = request.resume_stream.record_type
        else:
            raise Rejection.invalid("the first message of a persistent stream must be create_stream or resume_stream")
        table = super().table_of(create.SerializeToString())
        if self.wire_format == "avro":
            raise Rejection.invalid("a persistent stream cannot carry Avro; use PROTO or JSON")
        return table if self._resumed_id is None else None

    def open(self, table: Table, stream_id: str) -> tuple[str, int]:  # noqa: ARG002 - these streams have their own ids
        """Create or resume the stream; return its id and the offset of its first call."""
        if self._resumed_id is None:
            self._stream = self._streams.create(table)
        else:
            self._stream = self._streams.resume(self._resumed_id, table)
        return self._stream.stream_id, self._stream.committed + 1

    def call(self, message: bytes) -> Call:
        """Read a single record or a batch."""
        request, same = _parse(PersistentRequest, message), Request()
        kind = request.WhichOneof("payload")
        if kind in ("ingest_record", "ingest_record_batch"):
            getattr(same, kind).CopyFrom(getattr(request, kind))
        return super().call(same.SerializeToString())

    def storing(self) -> None:
        """Note that a call is being stored."""
        if self._stream is not None:
            self._streams.storing(self._stream)

    def stored(self, offset: int | None) -> None:
        """Note that a call is durable, or with None that it is not stored."""
        if self._stream is not None:
            self._streams.stored(self._stream, offset)

    def close(self) -> None:
        """Note that the client has left."""
        if self._stream is not None:
            self._streams.leave(self._stream)

    def ready(self, stream_id: str) -> bytes:
        """Return the answer to create_stream or resume_stream."""
        if self._resumed_id is None or self._stream is None:
            return super().ready(stream_id)
        response = self.response()
        response.resume_stream_response.SetInParent()
        if self._stream.committed >= 0:
            response.resume_stream_response.last_committed_offset = self._stream.committed
        return _bytes(response)


def retire_handler(host: Host, streams: PersistentStreams) -> grpc.GenericRpcHandler:
    """Return the handler of `RetireStream`."""

    def retire(body: bytes, context: grpc.ServicerContext) -> bytes:
        headers = dict(context.invocation_metadata())
        try:
            token = host.authenticate(headers.get("authorization"))
            request = _parse(RetireStream, body)
            name = headers.get(TABLE_HEADER) or request.table_name
            if name.lower() != request.table_name.lower():
                raise Rejection.invalid(f"the request names another table than the header {TABLE_HEADER}")
            streams.retire(request.stream_id, host.writable_table(token, name))
        except Rejection as rejection:
            end_stream(context, rejection)
        except Exception as error:  # noqa: BLE001 - the client always gets a status
            end_failed(context, error)
        return _bytes(RetireStreamResponse())

    return grpc.method_handlers_generic_handler(
        ZEROBUS_SERVICE, {ZEROBUS_RETIRE_STREAM: grpc.unary_unary_rpc_method_handler(retire)}
    )


def _parse(kind: Any, message: bytes) -> Any:
    try:
        return kind.FromString(message)
    except DecodeError:
        raise Rejection.invalid("the request cannot be parsed") from None


def _bytes(response: Any) -> bytes:
    data: bytes = response.SerializeToString()
    return data
