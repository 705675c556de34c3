"""One stream to Zerobus: the only module that knows the SDK.

It opens, sends, waits and closes, and translates every error of the SDK into a `StreamFailure` that says what may be
done about it. The SDK's own recovery is off: the one retry loop is in `delivery.py`, where it can be seen.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import cache
from typing import Any, Self

# The SDK logs through Rust's tracing, which reads this once, at import.
os.environ.setdefault("RUST_LOG", "off")

import pyarrow as pa
from google.protobuf import descriptor_pb2
from zerobus.sdk.shared.arrow import ArrowStreamConfigurationOptions, IPCCompression
from zerobus.sdk.sync import (
    HeadersProvider,
    RecordType,
    StreamConfigurationOptions,
    TableProperties,
    ZerobusException,
    ZerobusSdk,
)

from beam_zerobus.delivery import limits
from beam_zerobus.delivery.failures import FailureKind, StreamFailure, _mentions
from beam_zerobus.delivery.stream_spec import StreamSpec
from beam_zerobus.encoding import Records
from beam_zerobus.errors import ZerobusError
from beam_zerobus.version import __version__
from beam_zerobus.workspace.tokens import TokenSource

__all__ = ["FailureKind", "Stream", "StreamFailure", "StreamSpec", "open_stream"]

# Our ledger bounds the bytes in flight, so these are set out of its way; the SDK reserves 32 bytes of address space for
# each record (measured), hence not endless.
_MAX_RECORDS = 4_000_000
_MAX_BATCHES = 1 << 16
# Bounds `wait_for_offset` too (measured, SDK 1.10.0), whose own timeout has no effect.
_WAIT_SLICE_MS = 1_000
_SHOWN_DIFFERENCES = 20
_STILL_WAITING = "Waiting for acknowledgement timed out"

# How the SDK spells a gRPC status (tonic's descriptions of its codes).
_STATUS = {
    "The operation completed successfully": "OK",
    "The operation was cancelled": "CANCELLED",
    "Unknown error": "UNKNOWN",
    "Client specified an invalid argument": "INVALID_ARGUMENT",
    "Deadline expired before operation could complete": "DEADLINE_EXCEEDED",
    "Some requested entity was not found": "NOT_FOUND",
    "Some entity that we attempted to create already exists": "ALREADY_EXISTS",
    "The caller does not have permission to execute the specified operation": "PERMISSION_DENIED",
    "Some resource has been exhausted": "RESOURCE_EXHAUSTED",
    "The system is not in a state required for the operation's execution": "FAILED_PRECONDITION",
    "The operation was aborted": "ABORTED",
    "Operation was attempted past the valid range": "OUT_OF_RANGE",
    "Operation is not implemented or not supported": "UNIMPLEMENTED",
    "Internal error": "INTERNAL",
    "The service is currently unavailable": "UNAVAILABLE",
    "Unrecoverable data loss or corruption": "DATA_LOSS",
    "The request does not have valid authentication credentials": "UNAUTHENTICATED",
}
_CODED = re.compile(r"code: '(?P<words>.+?)', message: \"(?P<message>.*?)\"(, source:|\.?$)", re.DOTALL)
_INVALID = re.compile(r"^Invalid argument: (?P<message>.*?)\.?$", re.DOTALL)


_KINDS = {
    "OK": FailureKind.ROTATION,
    "INVALID_ARGUMENT": FailureKind.REJECTED,
    "OUT_OF_RANGE": FailureKind.REJECTED,
    "NOT_FOUND": FailureKind.NOT_FOUND,
    "PERMISSION_DENIED": FailureKind.FORBIDDEN,
    "UNIMPLEMENTED": FailureKind.FORBIDDEN,
    "UNAUTHENTICATED": FailureKind.UNAUTHENTICATED,
}


class Stream:
    """An open stream. `send` and `wait` may be called from different threads; see `delivery.py` for who does."""

    def __init__(self, sdk: ZerobusSdk, inner: Any) -> None:
        self._sdk = sdk  # the SDK's runtime lives as long as this object
        self._inner = inner

    def send(self, records: Records) -> int:
        """Hand one call over; return its offset. It is not durable until `wait` has returned for it.

        Raises:
            StreamFailure: The stream has ended; its true cause is with `wait` of an earlier offset, or `find_cause`.
        """
        try:
            if isinstance(records, pa.RecordBatch):
                return int(self._inner.ingest_batch(records))
            return int(self._inner.ingest_records_offset(records))
        except ZerobusException as error:
            raise _translate(error) from None

    def wait(self, offset: int) -> bool:
        """Wait a second at most; return whether the call with this offset, and so all before it, are durable.

        Raises:
            StreamFailure: The stream ended first, or the service acknowledged nothing for a minute.
        """
        try:
            self._inner.wait_for_offset(offset)
        except ZerobusException as error:
            if _STILL_WAITING in str(error):
                return False
            raise _translate(error) from None
        return True

    def find_cause(self, said: StreamFailure) -> StreamFailure:
        """Return why this stream took no more, where the SDK still knows it; `said` is how it rejected the call."""
        try:
            self._inner.flush()
        except ZerobusException as error:
            return _translate(error)
        if said.kind is FailureKind.REJECTED:
            return said  # the SDK itself did not take what the call holds; the stream would live on
        return StreamFailure(
            FailureKind.ROTATION, "CLOSED_WHILE_IDLE", f"The stream was closed while nothing was sent ({said})"
        )

    def close(self) -> None:
        """Close a stream that has acknowledged everything; waits a second at most."""
        with suppress(ZerobusException):  # it had ended already, and its cause was reported where it mattered
            self._inner.close()

    def abandon(self) -> None:
        """Let go of a stream at once; what it has not acknowledged may or may not get into the table."""
        self._inner = None


def open_stream(spec: StreamSpec, *, endpoint: str, workspace_url: str | None, tokens: TokenSource) -> Stream:
    """Open a stream to the table of `spec`.

    Raises:
        StreamFailure: The service rejected it or could not be reached.
        AuthenticationError: Credentials are missing or rejected by the token endpoint.
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
            )
    except ZerobusException as error:
        if headers.error is not None:
            raise headers.error from None
        failure = _translate(error)
        failure.while_opening = True
        raise failure from None
    return Stream(sdk, inner)


class _Headers(HeadersProvider):
    """Gives the SDK the headers of a `TokenSource`, and keeps the error that the SDK would turn into words."""

    error: ZerobusError | None = None

    def __new__(cls, *_: object) -> Self:
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
        recovery_timeout_ms=int(limits.OPEN_TIMEOUT * 1000),
        max_inflight_records=_MAX_RECORDS,
        server_lack_of_ack_timeout_ms=int(limits.ACK_TIMEOUT * 1000),
        flush_timeout_ms=_WAIT_SLICE_MS,
        record_type=RecordType.JSON if spec.wire_format == "json" else RecordType.PROTO,
    )


def _arrow_options(spec: StreamSpec) -> ArrowStreamConfigurationOptions:
    codecs = {"none": IPCCompression.NONE, "lz4": IPCCompression.LZ4_FRAME, "zstd": IPCCompression.ZSTD}
    return ArrowStreamConfigurationOptions(
        recovery=False,
        recovery_timeout_ms=int(limits.OPEN_TIMEOUT * 1000),
        connection_timeout_ms=int(limits.OPEN_TIMEOUT * 1000),
        max_inflight_batches=_MAX_BATCHES,
        server_lack_of_ack_timeout_ms=int(limits.ACK_TIMEOUT * 1000),
        flush_timeout_ms=_WAIT_SLICE_MS,
        ipc_compression=codecs[spec.compression],
    )


def _table_properties(spec: StreamSpec) -> TableProperties:
    if spec.descriptor is None:
        return TableProperties(spec.table)
    file = descriptor_pb2.FileDescriptorProto(name="row.proto", syntax="proto2", message_type=[spec.descriptor])
    return TableProperties(spec.table, file.SerializeToString())


def _translate(error: ZerobusException) -> StreamFailure:
    """Say what an error of the SDK means; its class alone does not (a lost connection and a bad URL share one)."""
    text = str(error)
    if invalid := _INVALID.search(text):
        return StreamFailure(FailureKind.REJECTED, "INVALID_ARGUMENT", invalid["message"])
    coded = _CODED.search(text)
    if coded is None:
        return StreamFailure(FailureKind.TRANSIENT, "UNKNOWN", text)
    status = _STATUS.get(coded["words"], "UNKNOWN")
    kind = FailureKind.ROTATION if _mentions(text, 6002) else _KINDS.get(status, FailureKind.TRANSIENT)
    return StreamFailure(kind, status, coded["message"])
