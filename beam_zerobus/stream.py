"""One stream to Zerobus: the only module that knows the SDK.

It opens, sends, waits and closes, and translates every error of the SDK into a `StreamFailure` that says what may be
done about it. The SDK's own recovery is off: the one retry loop is in `delivery.py`, where it can be seen.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from typing import Any

# The SDK logs through Rust's tracing, which reads this once, at import.
os.environ.setdefault("RUST_LOG", "off")

import pyarrow as pa  # noqa: E402
from google.protobuf import descriptor_pb2  # noqa: E402
from zerobus import _zerobus_core as _core  # noqa: E402
from zerobus.sdk.shared.arrow import ArrowStreamConfigurationOptions, IPCCompression  # noqa: E402
from zerobus.sdk.sync import (  # noqa: E402
    HeadersProvider,
    NonRetriableException,
    RecordType,
    StreamConfigurationOptions,
    TableProperties,
    ZerobusException,
    ZerobusSdk,
)

from beam_zerobus.auth import TokenSource  # noqa: E402
from beam_zerobus.encoding import Records  # noqa: E402
from beam_zerobus.errors import ZerobusError  # noqa: E402
from beam_zerobus.options import WireFormat  # noqa: E402
from beam_zerobus.version import __version__  # noqa: E402

__all__ = ["FailureKind", "Stream", "StreamFailure", "StreamSpec", "open_stream"]

# Our ledger bounds what is in flight, so the SDK's own bounds never block a caller.
_UNBOUNDED_RECORDS = 1 << 30
_UNBOUNDED_BATCHES = 1 << 16
_OPEN_TIMEOUT_MS = 15_000
_ACK_TIMEOUT_MS = 60_000
# Only a stream that is given up has anything left to flush when it is closed.
_CLOSE_TIMEOUT_MS = 2_000


class FailureKind(Enum):
    """What may be done about a failed stream."""

    TRANSIENT = auto()
    """Wait, open a new stream, send again."""
    ROTATION = auto()
    """The service closed the stream as it does every quarter of an hour: open a new one at once."""
    UNAUTHENTICATED = auto()
    """The token was refused: buy a new one, once."""
    REFUSED = auto()
    """A call was refused for what it holds: find the rows."""
    FINAL = auto()
    """Nothing will help: table missing, grant missing."""


class StreamFailure(Exception):
    """A stream that could not be opened or has ended.

    Attributes:
        kind: What may be done about it.
        cause: Its status, as short as ``"UNAVAILABLE"``, for metrics.
        blocked: The service asks for patience: the table is blocked for about a minute.
        schema_changed: The service found the rows' schema out of date.
    """

    def __init__(self, kind: FailureKind, cause: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.cause = cause
        self.blocked = _mentions(message, 6006)
        self.schema_changed = _mentions(message, 8001)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """What a stream carries: the table, the wire format and the shape of its rows.

    Attributes:
        descriptor: The row message, for protobuf.
        arrow_schema: The schema of each RecordBatch, for Arrow.
        compression: Compression of the Arrow bodies: ``"none"``, ``"lz4"`` or ``"zstd"``.
    """

    table: str
    wire_format: WireFormat
    descriptor: descriptor_pb2.DescriptorProto | None = None
    arrow_schema: pa.Schema | None = None
    compression: str = "none"


class Stream:
    """An open stream. `send` and `wait` may be called from different threads; see `delivery.py` for who does."""

    def __init__(self, sdk: ZerobusSdk, inner: Any, spec: StreamSpec) -> None:
        self._sdk = sdk  # the SDK's runtime lives as long as this object
        self._inner = inner
        self._spec = spec

    def send(self, records: Records) -> int:
        """Hand one call over; return its offset. It is not durable until `wait` has returned for it.

        Raises:
            StreamFailure: The stream has ended; its true cause is with `wait` of an earlier offset, or `find_cause`.
        """
        try:
            if isinstance(records, pa.RecordBatch):
                return int(self._inner.ingest_batch(_ipc_bytes(records)))
            return int(self._inner.ingest_records_offset(records))
        except ZerobusException as error:
            raise _translate(error) from None

    def wait(self, offset: int) -> None:
        """Wait until the call with this offset, and so all before it, are durable; at most the SDK's ack timeout.

        Raises:
            StreamFailure: The stream ended first.
        """
        try:
            self._inner.wait_for_offset(offset)
        except ZerobusException as error:
            raise _translate(error) from None

    def find_cause(self) -> StreamFailure:
        """Return why this ended stream ended, where the SDK still knows it."""
        try:
            self._inner.flush()
        except ZerobusException as error:
            return _translate(error)
        return StreamFailure(FailureKind.ROTATION, "CLOSED_WHILE_IDLE", "The stream was closed while nothing was sent")

    def close(self) -> None:
        """Close the stream; what was not acknowledged may or may not be in the table."""
        try:
            self._inner.close()
        except ZerobusException:
            pass  # it had ended already, and its cause was reported where it mattered


def open_stream(spec: StreamSpec, *, endpoint: str, workspace_url: str | None, tokens: TokenSource) -> Stream:
    """Open a stream to the table of `spec`.

    Raises:
        StreamFailure: The service refused it or could not be reached.
        AuthenticationError: Credentials are missing or refused by the token endpoint.
        TransientError: The token endpoint could not be reached.
    """
    tokens.headers()  # buy the token here, where its errors keep their class
    headers = _Headers(tokens)
    sdk = _sdk(endpoint, workspace_url or endpoint, os.getpid())
    try:
        if spec.wire_format == "arrow":
            inner = sdk.create_arrow_stream_with_headers_provider(
                spec.table, spec.arrow_schema, headers, _arrow_options(spec)
            )
        else:
            inner = sdk.create_stream(
                table_properties=_table_properties(spec), headers_provider=headers, options=_record_options(spec)
            )._inner
    except ZerobusException as error:
        if headers.error is not None:
            raise headers.error from None
        raise _translate(error) from None
    return Stream(sdk, inner, spec)


class _Headers(HeadersProvider):  # type: ignore[misc]
    """Gives the SDK the headers of a `TokenSource`, and keeps the error that the SDK would turn into words."""

    error: ZerobusError | None = None

    def __new__(cls, *_: object) -> _Headers:
        return super().__new__(cls)

    def __init__(self, tokens: TokenSource) -> None:
        super().__init__()
        self._tokens = tokens

    def get_headers(self) -> list[tuple[str, str]]:
        try:
            return self._tokens.headers()
        except ZerobusError as error:
            self.error = error
            raise

    def invalidate(self) -> None:
        self._tokens.invalidate()


@cache
def _sdk(endpoint: str, workspace_url: str, pid: int) -> ZerobusSdk:  # noqa: ARG001
    """Return the process's SDK object for a service; one made before a fork hangs in the child, hence `pid`."""
    return ZerobusSdk(endpoint, workspace_url, application_name=f"beam_zerobus/{__version__}")


def _record_options(spec: StreamSpec) -> StreamConfigurationOptions:
    return StreamConfigurationOptions(
        recovery=False,
        recovery_timeout_ms=_OPEN_TIMEOUT_MS,
        max_inflight_records=_UNBOUNDED_RECORDS,
        server_lack_of_ack_timeout_ms=_ACK_TIMEOUT_MS,
        flush_timeout_ms=_CLOSE_TIMEOUT_MS,
        record_type=RecordType.JSON if spec.wire_format == "json" else RecordType.PROTO,
    )


def _arrow_options(spec: StreamSpec) -> ArrowStreamConfigurationOptions:
    codecs = {"none": IPCCompression.NONE, "lz4": IPCCompression.LZ4_FRAME, "zstd": IPCCompression.ZSTD}
    return ArrowStreamConfigurationOptions(
        recovery=False,
        recovery_timeout_ms=_OPEN_TIMEOUT_MS,
        connection_timeout_ms=_OPEN_TIMEOUT_MS,
        max_inflight_batches=_UNBOUNDED_BATCHES,
        server_lack_of_ack_timeout_ms=_ACK_TIMEOUT_MS,
        flush_timeout_ms=_CLOSE_TIMEOUT_MS,
        ipc_compression=codecs[spec.compression],
    )


def _table_properties(spec: StreamSpec) -> TableProperties:
    if spec.descriptor is None:
        return TableProperties(spec.table)
    file = descriptor_pb2.FileDescriptorProto(name="row.proto", syntax="proto2", message_type=[spec.descriptor])
    return TableProperties(spec.table, file.SerializeToString())


def _ipc_bytes(batch: pa.RecordBatch) -> bytes:
    """Serialize once, into a buffer of the right size; the SDK takes bytes, which costs one copy."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def _mentions(message: str, number: int) -> bool:
    return re.search(rf"(?<!\d){number}(?!\d)", message) is not None
