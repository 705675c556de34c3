"""Records gRPC calls of any service, as bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from beam_zerobus.emulator.recording.recorder import RecordedStream, Recorder

__all__ = ["RecordedContext", "RecordingInterceptor"]

_DETAILS = "grpc-status-details-bin"


class RecordedContext:
    """gRPC's context of a call, with a record of how the call ends.

    Args:
        context: gRPC's own.
    """

    def __init__(self, context: Any) -> None:
        self._context = context
        self._details: bytes | None = None
        self._status: tuple[grpc.StatusCode, str] | None = None
        self._has_failed = False
        self._is_cut = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def note_cut(self) -> None:
        """Note that the server breaks the connection."""
        self._is_cut = True

    def note_failure(self) -> None:
        """Note that the handler raises; gRPC then ends the call with a status of its own."""
        self._has_failed = True

    def set_trailing_metadata(self, metadata: Any) -> None:
        """Set the metadata, as gRPC's own."""
        self._details = dict(metadata).get(_DETAILS)
        self._context.set_trailing_metadata(metadata)

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        """End the call, as gRPC's own."""
        self._status = (code, details)
        self._context.abort(code, details)

    def record_end(self, call: RecordedStream) -> None:
        """Record how the call ended."""
        if self._is_cut:
            call.end("connection", None, None, None)
        elif self._status is not None:
            code, message = self._status
            call.end("server", code.name, message, self._details)
        elif not self._context.is_active():
            call.end("client", None, None, None)
        elif self._has_failed:
            call.end("server", "UNKNOWN", None, None)
        else:
            call.end("server", "OK", "", None)


class RecordingInterceptor(grpc.ServerInterceptor):
    """Records every call of a server.

    Args:
        recorder: Where to.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """Return the handler of a call, which records it."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(
                lambda requests, context: self._stream(handler.stream_stream, method, requests, context)
            )
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                lambda request, context: self._unary(handler.unary_unary, method, request, context)
            )
        return handler

    def _begin(self, method: str, context: Any) -> RecordedStream:
        headers = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
        return self._recorder.stream(context.peer(), method, headers, headers.get("authorization"))

    def _stream(self, serve: Any, method: str, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        call, recorded = self._begin(method, context), RecordedContext(context)
        try:
            for response in serve(_recorded(requests, call), recorded):
                call.response(response)
                yield response
        except Exception:
            recorded.note_failure()
            raise
        finally:
            recorded.record_end(call)

    def _unary(self, serve: Any, method: str, request: bytes, context: Any) -> bytes:
        call, recorded = self._begin(method, context), RecordedContext(context)
        call.message(request)
        call.half_close()
        try:
            response: bytes = serve(request, recorded)
            call.response(response)
            return response
        except Exception:
            recorded.note_failure()
            raise
        finally:
            recorded.record_end(call)


def _recorded(requests: Iterator[bytes], call: RecordedStream) -> Iterator[bytes]:
    for message in requests:
        call.message(message)
        yield message
    call.half_close()
