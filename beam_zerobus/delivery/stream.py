"""One stream to Zerobus, through the SDK: it opens, sends, waits and closes.

Every error of the SDK becomes a `StreamFailure` (see `sdk_errors`). The SDK's own recovery is off: the supervisor has
the one retry loop.
"""

from __future__ import annotations

import os
import time
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
from beam_zerobus.delivery.failures import FailureKind, StreamFailure
from beam_zerobus.delivery.sdk_errors import hides_cause, is_still_waiting, translate
from beam_zerobus.delivery.stream_spec import StreamSpec
from beam_zerobus.encoding import Records
from beam_zerobus.errors import ZerobusError
from beam_zerobus.version import __version__
from beam_zerobus.workspace.tokens import TokenSource

__all__ = ["Stream", "open_stream"]

# Our ledger bounds the bytes in flight, so these limits never apply; the SDK reserves 32 bytes of address space for
# each record (measured), hence they are finite.
_MAX_RECORDS = 4_000_000
_MAX_BATCHES = 1 << 16
# Bounds `wait_for_offset` too (measured, SDK 1.10.0), whose own timeout has no effect.
_WAIT_SLICE_MS = 1_000
# The SDK often reports that it could not send, before it has read the status with which the service rejected the stream
# (5 of 10 openings, 8 of 10 on a busy machine, measured with SDK 1.10.0): opening it again learns that status.
_OPEN_ATTEMPTS = 8
_OPEN_PAUSE = 0.01


class Stream:
    """An open stream; `send` and `wait` may be called from different threads."""

    def __init__(self, sdk: ZerobusSdk, inner: Any) -> None:
        self._sdk = sdk  # the SDK's runtime lives as long as this object
        self._inner = inner

    def send(self, records: Records) -> int:
        """Send one call; return its offset. It is durable once `wait` has returned True for it.

        Raises:
            StreamFailure: The stream has ended; `wait` for an earlier offset, or `find_cause`, has the true cause.
        """
        try:
            if isinstance(records, pa.RecordBatch):
                return int(self._inner.ingest_batch(records))
            return int(self._inner.ingest_records_offset(records))
        except ZerobusException as error:
            raise translate(error) from None

    def wait(self, offset: int) -> bool:
        """Wait a second at most; return whether the call with this offset, and so all before it, are durable.

        Raises:
            StreamFailure: The stream ended first, or the service acknowledged nothing for a minute.
        """
        started = time.monotonic()
        try:
            self._inner.wait_for_offset(offset)
        except ZerobusException as error:
            # A service that says the same ends the stream, and then each wait fails at once.
            if is_still_waiting(error) and time.monotonic() - started > _WAIT_SLICE_MS / 2000:
                return False
            raise translate(error) from None
        return True

    def find_cause(self, said: StreamFailure) -> StreamFailure:
        """Return why this stream ended, where the SDK still knows it; `said` is how `send` failed."""
        try:
            self._inner.flush()
        except ZerobusException as error:
            return translate(error)
        if said.kind is FailureKind.REJECTED:
            return said  # the SDK itself rejected the call's content; the stream is still open
        return StreamFailure(
            FailureKind.ROTATION, "CLOSED_WHILE_IDLE", f"The stream was closed while nothing was sent ({said})"
        )

    def close(self) -> None:
        """Close a stream that has acknowledged everything; waits a second at most."""
        with suppress(ZerobusException):  # it had ended already, and its cause was reported where it mattered
            self._inner.close()

    def abandon(self) -> None:
        """Drop a stream at once; what it has not acknowledged may or may not reach the table."""
        self._inner = None


def open_stream(spec: StreamSpec, *, endpoint: str, workspace_url: str | None, tokens: TokenSource) -> Stream:
    """Open a stream to the table of `spec`.

    Raises:
        StreamFailure: The service rejected it or could not be reached.
        AuthenticationError: Credentials are missing or rejected by the token endpoint.
        TransientError: The token endpoint could not be reached.
    """
    tokens.headers()  # fetch the token here, where its errors keep their class
    headers = _Headers(tokens)
    sdk = _sdk(endpoint, workspace_url or endpoint, os.getpid())
    for attempt in range(1, _OPEN_ATTEMPTS + 1):
        try:
            return Stream(sdk, _open(sdk, spec, headers))
        except ZerobusException as error:
            if headers.error is not None:
                raise headers.error from None
            if hides_cause(error) and attempt < _OPEN_ATTEMPTS:
                time.sleep(attempt * _OPEN_PAUSE)
                continue
            failure = translate(error)
            failure.while_opening = True
            raise failure from None
    raise AssertionError("unreachable")


def _open(sdk: ZerobusSdk, spec: StreamSpec, headers: HeadersProvider) -> Any:
    if spec.wire_format == "arrow":
        return sdk.create_arrow_stream_with_headers_provider(
            spec.table, spec.arrow_schema, headers, _arrow_options(spec)
        )
    return sdk.create_stream(
        table_properties=_table_properties(spec), headers_provider=headers, options=_record_options(spec)
    )


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
